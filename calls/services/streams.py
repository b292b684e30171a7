"""Which stream may speak on a call: offered by a token, opened once, fenced by generation.

A stream is offered in TwiML with a token that is bound to the call and its generation, is good
for a minute and opens one socket. The token is derived, not stored: a repeated request for the
same TwiML gets the same token and mints nothing new.
"""

from __future__ import annotations

import hmac
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from calls.core.brief import Brief
from calls.core.lifecycle import TERMINAL, EndReason
from calls.models import Call, CallEvent, Turn
from calls.services import progress
from calls.signing import STREAM_PATH

logger = logging.getLogger(__name__)

TOKEN_LIFETIME = timedelta(seconds=60)
MAX_GENERATIONS = 4
# A stream that was offered is awaited this long before the next one is. Twilio opens one within a
# second, so that only a repeated request finds it still unopened.
REPEAT_FOR = timedelta(seconds=10)
# Two streams that ended this soon after they were opened: something is broken, not unlucky.
QUICK_FAILURE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class OpenedStream:
    """What the conversation needs; `history` is (speaker, heard text), oldest first."""

    call_id: str
    brief: Brief
    generation: int
    connected_at: datetime
    history: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RefusedStream:
    """Why a stream was not let in; for the log, never for the peer."""

    why: str


def stream_token(call: Call, generation: int) -> str:
    """The secret that lets one stream of this call in."""
    message = f"stream:{call.id.hex}:{generation}".encode()
    return hmac.new(settings.SECRET_KEY.encode(), message, sha256).hexdigest()


def offer(call: Call) -> str | None:
    """The first stream's token, or None when this call gets no stream (any more)."""
    return _offer(call, from_generation=0)


def offer_resume(call: Call, *, after: int | None = None) -> str | None:
    """A token for a call whose stream was lost, or None when it has to end.

    `after` is the generation of the lost stream (default: the current one). Asked again before its
    successor is opened: the same token; later it is old news, and mints nothing. Whoever asks after
    the current one says that it is lost, also where we have not noticed; its successor, once
    opened, fences it off.
    """
    with transaction.atomic():
        locked = Call.objects.select_for_update().get(pk=call.pk)
        generation = locked.stream_generation
        call.stream_generation = generation
        if generation < 1 or not may_talk(locked):
            return None
        if _is_awaited(locked, REPEAT_FOR):
            return stream_token(locked, generation)
        if after is not None and is_old_news(locked, after):
            return None
        if locked.stream_opened_at is not None:
            _note_closed(locked)
        if generation >= MAX_GENERATIONS or _failed_quickly_twice(locked):
            return None
        token = _offer(locked, from_generation=generation)
        call.stream_generation = locked.stream_generation
        return token


def _offer(call: Call, *, from_generation: int) -> str | None:
    now = timezone.now()
    generation = from_generation + 1
    offered = (
        _talking()
        .filter(pk=call.pk, stream_generation=from_generation)
        .update(
            stream_generation=generation,
            connected_at=Coalesce("connected_at", Value(now)),
            stream_offered_at=now,
            stream_opened_at=None,
            stream_closed_at=None,
            stream_sid="",
            revision=F("revision") + 1,
        )
    )
    if offered:
        call.stream_generation = generation
        return stream_token(call, generation)
    # Asked again: the same token, while it is fresh and unused.
    call.refresh_from_db()
    is_same = call.stream_generation == generation and may_talk(call)
    if not is_same or not _is_awaited(call, TOKEN_LIFETIME):
        return None
    return stream_token(call, generation)


def _is_awaited(call: Call, lifetime: timedelta) -> bool:
    """Whether the current stream was offered only now, and not opened yet."""
    return (
        call.stream_opened_at is None
        and call.stream_offered_at is not None
        and timezone.now() < call.stream_offered_at + lifetime
    )


def is_old_news(call: Call, generation: int) -> bool:
    """Whether the call has left the stream of this `generation` behind."""
    return generation < call.stream_generation


def is_superseded(call_id: str, generation: int) -> bool:
    """Whether a newer stream speaks on the call."""
    return Call.objects.filter(
        pk=call_id, stream_generation__gt=generation, stream_opened_at__isnull=False
    ).exists()


def may_talk(call: Call) -> bool:
    """Whether this call may (still) become a conversation."""
    return (
        call.state not in TERMINAL
        and call.conversation_ended_at is None
        and call.hangup_requested_at is None
    )


def _talking() -> QuerySet[Call]:
    """The same as a question to the database, for the moment of a change."""
    return Call.objects.filter(
        conversation_ended_at__isnull=True, hangup_requested_at__isnull=True
    ).exclude(status__in=TERMINAL)


def _failed_quickly_twice(call: Call) -> bool:
    ends = list(
        call.events.filter(kind="stream.closed")
        .order_by("-at", "-id")
        .values_list("data", flat=True)[:2]
    )
    limit_ms = QUICK_FAILURE.total_seconds() * 1000
    return len(ends) == 2 and all(data.get("lived_ms", limit_ms) < limit_ms for data in ends)


def open_stream(
    *, call_sid: str, account_sid: str, stream_sid: str, token: str
) -> OpenedStream | RefusedStream:
    """Let a stream in, once. The refused are recorded and use up nothing.

    A call whose brief nobody can read ends here: another stream would not help it.
    """
    call = Call.objects.filter(twilio_sid=call_sid).first()
    if call is None:
        fields = {"callSid": call_sid, "accountSid": account_sid, "streamSid": stream_sid}
        progress.quarantine(STREAM_PATH, fields)
        return RefusedStream("unknown call")
    why = _why_not(call, account_sid, token)
    if why:
        return _refuse(call, stream_sid, why)
    brief = _brief(call)
    if brief is None:
        return _refuse(call, stream_sid, "unreadable brief")
    with transaction.atomic():
        why = _open(call, stream_sid)
        if why:
            return _refuse(call, stream_sid, why)
        generation = call.stream_generation
        history = _history(call) if generation > 1 else ()
    return OpenedStream(
        str(call.pk), brief, generation, call.connected_at or timezone.now(), history
    )


def _why_not(call: Call, account_sid: str, token: str) -> str:
    if account_sid != settings.TWILIO_ACCOUNT_SID:
        return "another account"
    expected = stream_token(call, call.stream_generation)
    if not hmac.compare_digest(expected.encode(), token.encode("utf-8", "replace")):
        return "wrong token"
    offered_at = call.stream_offered_at
    if offered_at is None or timezone.now() > offered_at + TOKEN_LIFETIME:
        return "token expired"
    return "" if may_talk(call) else "call is over"


def _brief(call: Call) -> Brief | None:
    """What the conversation is told; the call ends here if nobody can read it."""
    try:
        return Brief.from_json(call.brief)
    except (KeyError, TypeError, ValueError, AttributeError):
        logger.exception("call %s: the brief is unreadable", call.pk)
        detail = "The call's instructions are unreadable."
        progress.end_conversation(call.pk, EndReason.INTERNAL_ERROR, detail, timezone.now())
        return None


def _open(call: Call, stream_sid: str) -> str:
    """Use up the token; why that was not possible, or nothing."""
    generation = call.stream_generation
    opened = (
        _talking()
        .filter(pk=call.pk, stream_generation=generation, stream_opened_at__isnull=True)
        .update(stream_opened_at=timezone.now(), stream_sid=stream_sid, revision=F("revision") + 1)
    )
    if not opened:
        call.refresh_from_db()
        return "token used before" if may_talk(call) else "call is over"
    CallEvent.objects.get_or_create(
        call=call,
        key=f"stream.opened.{generation}",
        defaults={"kind": "stream.opened", "data": {"stream_sid": stream_sid}},
    )
    return ""


def close_stream(call_id: str, generation: int) -> None:
    """Note the end of a stream; what follows is decided when Twilio asks."""
    call = Call.objects.filter(pk=call_id, stream_generation=generation).first()
    if call is not None:  # else it was noted when its successor was offered
        _note_closed(call)


def _note_closed(call: Call) -> None:
    now = timezone.now()
    generation = call.stream_generation
    Call.objects.filter(
        pk=call.pk, stream_generation=generation, stream_closed_at__isnull=True
    ).update(stream_closed_at=now, revision=F("revision") + 1)
    lived = now - (call.stream_opened_at or now)
    CallEvent.objects.get_or_create(
        call=call,
        key=f"stream.closed.{generation}",
        defaults={
            "kind": "stream.closed",
            "data": {"lived_ms": int(lived.total_seconds() * 1000)},
        },
    )


def _refuse(call: Call, stream_sid: str, why: str) -> RefusedStream:
    CallEvent.objects.get_or_create(
        call=call,
        key=f"stream.refused.{stream_sid}",
        defaults={"kind": "stream.refused", "data": {"why": why}},
    )
    return RefusedStream(why)


def _history(call: Call) -> tuple[tuple[str, str], ...]:
    """What was really said: of the agent's turns, the part that was heard."""
    said = []
    for turn in call.turns.all():
        text = turn.text
        if turn.speaker == Turn.AGENT and turn.heard_chars is not None:
            text = text[: turn.heard_chars]
        elif turn.speaker == Turn.AGENT and not turn.is_final:
            continue  # nobody got to say what of it was heard
        if text.strip():
            said.append((turn.speaker, text))
    return tuple(said)
