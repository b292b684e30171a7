"""Our side of Twilio's REST API. Nothing else imports `twilio.rest`.

Every request opens a connection of its own: one that Twilio had quietly closed would leave us
with a request whose outcome nobody knows, and for a call that is the worst there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from django.conf import settings
from twilio.base.exceptions import TwilioException
from twilio.rest import Client

from calls.core.brief import Brief
from calls.models import Call
from calls.signing import CALL_SID, public_url
from calls.twilio_http import (
    CONNECT_TIMEOUT_S,
    GatewayError,
    OutcomeUnknown,
    Rejected,
    Throttled,
    TwilioHttp,
)

__all__ = ["CONNECT_TIMEOUT_S", "GatewayError", "OutcomeUnknown", "Rejected", "Throttled"]

MAX_LISTED: Final = 200
ALREADY_OVER: Final = frozenset({21220, 20404})
# What Twilio may still allow a conversation after we should have ended it ourselves.
TIME_LIMIT_MARGIN_S: Final = 30


@dataclass(frozen=True, slots=True)
class TwilioCall:
    """A call as Twilio shows it; `status` is Twilio's word, `price` what it cost, positive."""

    sid: str
    status: str
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: int | None
    price: Decimal | None
    price_unit: str
    answered_by: str


@dataclass(frozen=True, slots=True)
class TwilioRecording:
    """A recording as Twilio shows it; `error_code` says why its status is `failed` or `absent`."""

    sid: str
    call_sid: str
    status: str
    channels: int | None
    duration_s: int | None
    error_code: str
    created_at: datetime | None


# --- Calls --------------------------------------------------------------------------------------
def dial(call: Call) -> str:
    """Ask Twilio to place the call, and return its SID.

    Raises:
        Throttled: no call was created; try later.
        Rejected: no call was created, and none ever would be.
        OutcomeUnknown: the person's phone may be ringing.

    Source: Twilio, Call resource, "Create a Call". It has no idempotency key.
    """
    parameters = _call_parameters(call)
    with _classified():
        sid = str(_client().calls.create(**parameters).sid)
    if not re.fullmatch(CALL_SID, sid):
        raise OutcomeUnknown("the answer holds no call SID")
    return sid


def hang_up(sid: str) -> bool:
    """End a call in whatever state it is; False if it was over already.

    Raises:
        Throttled, OutcomeUnknown, Rejected: it may still be live.
    """
    try:
        with _classified():
            _client().calls(sid).update(status="completed")
    except Rejected as exc:
        if exc.code in ALREADY_OVER or exc.http_status == 404:
            return False
        raise
    return True


def fetch_call(sid: str) -> TwilioCall | None:
    """What Twilio knows about the call now, or None if it knows no such call.

    Raises:
        Throttled, OutcomeUnknown, Rejected: no answer.
    """
    try:
        with _classified():
            return _read_call(_client().calls(sid).fetch())
    except Rejected as exc:
        if exc.http_status == 404:
            return None
        raise


def find_calls(to: str, from_: str, since: datetime) -> list[TwilioCall]:
    """Calls between two numbers created at or after `since`, newest first.

    The list is not filtered by start time at Twilio: a call that waits there has none yet. One
    without a time of creation is included, because it may well be new.

    Raises:
        Throttled, OutcomeUnknown, Rejected: no answer.
    """
    found = []
    with _classified():
        for entry in _client().calls.stream(to=to, from_=from_, limit=MAX_LISTED, page_size=50):
            call = _read_call(entry)
            if call.created_at is not None and call.created_at < since:
                break
            found.append(call)
    return found


def _call_parameters(call: Call) -> dict[str, Any]:
    token = call.token
    brief = Brief.from_json(call.brief)
    parameters = {
        "to": call.to_number,
        "from_": call.from_number,
        "url": public_url("twilio-voice", call_token=token),
        "method": "POST",
        "fallback_url": public_url("twilio-fallback"),
        "fallback_method": "POST",
        "status_callback": public_url("twilio-status", call_token=token, retries=True),
        "status_callback_method": "POST",
        "status_callback_event": ["initiated", "ringing", "answered", "completed"],
        "timeout": settings.RING_TIMEOUT_S,
        # The backstop: the conversation ends itself before, politely.
        "time_limit": brief.max_duration_s + TIME_LIMIT_MARGIN_S,
        "record": True,
        "recording_channels": "dual",
        # The default would cut silence off the start, and shift the transcript against the audio.
        "trim": "do-not-trim",
        "recording_status_callback": public_url(
            "twilio-recording-status", call_token=token, retries=True
        ),
        "recording_status_callback_method": "POST",
        # Unlike the other list: one value, separated by spaces.
        "recording_status_callback_event": ["in-progress completed absent"],
    }
    if settings.ANSWERING_MACHINE_DETECTION:
        # Synchronous detection would keep the person waiting in silence for some seconds.
        parameters |= {
            "machine_detection": "Enable",
            "async_amd": "true",
            "async_amd_status_callback": public_url("twilio-amd", call_token=token, retries=True),
            "async_amd_status_callback_method": "POST",
        }
    return parameters


def _read_call(entry: Any) -> TwilioCall:
    return TwilioCall(
        sid=str(entry.sid),
        status=str(entry.status or ""),
        created_at=_utc(entry.date_created),
        started_at=_utc(entry.start_time),
        ended_at=_utc(entry.end_time),
        duration_s=_whole(entry.duration),
        price=_money(entry.price),
        price_unit=str(entry.price_unit or "")[:3],
        answered_by=str(entry.answered_by or "")[:24],
    )


# --- Recordings ---------------------------------------------------------------------------------
def list_recordings(call_sid: str) -> list[TwilioRecording]:
    """The recordings of a call.

    Raises:
        Throttled, OutcomeUnknown, Rejected: no answer.
    """
    with _classified():
        found = _client().recordings.list(call_sid=call_sid, limit=20)
        return [_read_recording(entry) for entry in found]


def fetch_recording(sid: str) -> TwilioRecording | None:
    """What Twilio knows about a recording, or None if it knows no such recording.

    Raises:
        Throttled, OutcomeUnknown, Rejected: no answer.
    """
    try:
        with _classified():
            return _read_recording(_client().recordings(sid).fetch())
    except Rejected as exc:
        if exc.http_status == 404:
            return None
        raise


def delete_recording(sid: str) -> bool:
    """Delete a recording at Twilio; False if it was gone already.

    Raises:
        Throttled, OutcomeUnknown, Rejected: it may still be there.
    """
    try:
        with _classified():
            _client().recordings(sid).delete()
    except Rejected as exc:
        if exc.http_status == 404:
            return False
        raise
    return True


def recording_media_url(sid: str) -> str:
    """The address of a recording's stereo WAV: built from its SID, never taken from a callback."""
    account = settings.TWILIO_ACCOUNT_SID
    base = settings.TWILIO_BASE_URL.rstrip("/")
    return f"{base}/2010-04-01/Accounts/{account}/Recordings/{sid}.wav?RequestedChannels=2"


def media_auth() -> tuple[str, str]:
    """User name and password for Twilio's REST API and media."""
    if settings.TWILIO_API_KEY and settings.TWILIO_API_SECRET:
        return settings.TWILIO_API_KEY, settings.TWILIO_API_SECRET
    return settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKEN


def _read_recording(entry: Any) -> TwilioRecording:
    return TwilioRecording(
        sid=str(entry.sid),
        call_sid=str(entry.call_sid or ""),
        status=str(entry.status or ""),
        channels=_whole(entry.channels),
        duration_s=_whole(entry.duration),
        error_code="" if entry.error_code is None else str(entry.error_code)[:16],
        created_at=_utc(entry.date_created),
    )


# --- Reading ----------------------------------------------------------------------------------
def _client() -> Client:
    username, password = media_auth()
    return Client(username, password, settings.TWILIO_ACCOUNT_SID, http_client=TwilioHttp())


@contextmanager
def _classified() -> Iterator[None]:
    """An answer that the SDK cannot read is an answer that was lost."""
    try:
        yield
    except GatewayError:
        raise
    except (
        TwilioException,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
    ) as exc:
        raise OutcomeUnknown(f"unreadable answer: {type(exc).__name__}") from exc


def _utc(value: datetime | str | None) -> datetime | None:
    # The SDK hands on what it cannot read as a date.
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _whole(value: object) -> int | None:
    text = str(value)
    return int(text) if re.fullmatch(r"\d{1,9}", text) else None


def _money(value: object) -> Decimal | None:
    if value in (None, ""):
        return None
    try:
        price = abs(Decimal(str(value)))
    except InvalidOperation:
        return None
    return price if price.is_finite() and price < 100_000 else None
