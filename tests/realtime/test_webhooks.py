"""What Twilio is told when a call is answered, and when its stream has ended."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import time_machine
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from calls.core.lifecycle import EndReason, Status
from calls.models import Call, QuarantinedEvent
from calls.services import streams
from calls.signing import sign
from tests.realtime.rows import a_call

pytestmark = pytest.mark.django_db


def post(path: str, call: Call | None, *, secret: str | None = None, **fields: Any) -> Any:
    """A signed webhook as Twilio sends it."""
    stream = fields.pop("stream", None)
    query = "" if call is None else f"?call={call.token}"
    query += "" if stream is None else f"&stream={stream}"
    params = {
        "CallSid": call.twilio_sid if call else "CA" + "0" * 32,
        "AccountSid": settings.TWILIO_ACCOUNT_SID,
        "CallStatus": "in-progress",
        **fields,
    }
    url = f"{settings.PUBLIC_BASE_URL}{path}{query}"
    signature = sign(url, params, secret or settings.TWILIO_AUTH_TOKEN)
    return Client().post(
        f"{path}{query}",
        "&".join(f"{k}={v}" for k, v in params.items()),
        content_type="application/x-www-form-urlencoded",
        headers={"X-Twilio-Signature": signature},
    )


def verbs(response: HttpResponse) -> list[ET.Element]:
    assert response["Content-Type"].startswith("text/xml")
    return list(ET.fromstring(response.content))  # noqa: S314  (our own document)


def names(response: HttpResponse) -> list[str]:
    return [verb.tag for verb in verbs(response)]


def test_an_answered_call_is_connected_to_a_stream_that_may_be_resumed() -> None:
    call = a_call()

    answer = post("/api/twilio/voice", call)

    connect, redirect = verbs(answer)
    (stream,) = connect
    parameters = {p.get("name"): p.get("value") for p in stream}
    assert stream.get("url") == "ws://127.0.0.1:8000/api/twilio/_ws/stream"
    assert parameters["callSid"] == call.twilio_sid
    assert parameters["token"] == streams.stream_token(call, 1)
    assert redirect.text is not None
    assert redirect.text.endswith(f"/api/twilio/resume?call={call.token}&stream=1")
    call.refresh_from_db()
    assert (call.status, call.answered_at is not None) == (Status.IN_PROGRESS, True)


def test_the_stream_is_encrypted_where_the_public_address_is(settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://calls.example.test"

    answer = post("/api/twilio/voice", a_call())

    stream = verbs(answer)[0][0]
    assert stream.get("url") == "wss://calls.example.test/api/twilio/_ws/stream"


def test_a_replayed_answer_gets_the_same_token_and_opens_nothing_new() -> None:
    """[B4] Until the token is used; then the call is simply over for whoever replays."""
    call = a_call()
    first = post("/api/twilio/voice", call).content

    again = post("/api/twilio/voice", call).content
    Call.objects.filter(pk=call.pk).update(stream_opened_at="2026-11-23T10:00:00Z")
    late = post("/api/twilio/voice", call)

    assert again == first
    assert names(late) == ["Hangup"]


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELED, Status.FAILED])
def test_a_call_that_is_over_is_hung_up(status: Status) -> None:
    """[B19] Never a stream."""
    assert names(post("/api/twilio/voice", a_call(status=status))) == ["Hangup"]


def test_an_unsigned_request_changes_nothing() -> None:
    """[B1] 403, without detail."""
    call = a_call()

    answer = post("/api/twilio/voice", call, secret="another")

    assert (answer.status_code, answer.content) == (403, b"")
    assert Call.objects.get(pk=call.pk).stream_generation == 0


def test_a_request_for_an_unknown_call_is_kept_aside() -> None:
    """[B10] 404 without detail."""
    answer = post("/api/twilio/voice", None)

    assert (answer.status_code, answer.content) == (404, b"")
    assert QuarantinedEvent.objects.count() == 1


def test_the_first_word_from_twilio_may_be_the_answer() -> None:
    """[B9] The token binds a SID that we never got to save."""
    call = a_call(status=Status.DIALING, twilio_sid=None)
    call.twilio_sid = f"CA{uuid.uuid4().hex}"

    post("/api/twilio/voice", call)

    stored = Call.objects.get(pk=call.pk)
    assert (stored.twilio_sid, stored.status) == (call.twilio_sid, Status.IN_PROGRESS)


def streaming(**fields: Any) -> Call:
    call = a_call(status=Status.IN_PROGRESS, **fields)
    token = streams.offer(call)
    assert token is not None
    streams.open_stream(
        call_sid=call.twilio_sid or "",
        account_sid=settings.TWILIO_ACCOUNT_SID,
        stream_sid="MZ" + uuid.uuid4().hex,
        token=token,
    )
    return call


def test_a_lost_stream_is_resumed() -> None:
    call = streaming()
    streams.close_stream(str(call.pk), 1)

    answer = post("/api/twilio/resume", call)

    assert names(answer) == ["Connect", "Redirect"]
    assert Call.objects.get(pk=call.pk).stream_generation == 2


def test_a_repeated_request_gets_the_same_stream_after_a_moment() -> None:
    """A stream that cannot connect must not spin."""
    call = streaming()
    post("/api/twilio/resume", call)

    again = post("/api/twilio/resume", call)

    assert names(again) == ["Pause", "Connect", "Redirect"]
    parameters = {p.get("name"): p.get("value") for p in verbs(again)[1][0]}
    assert parameters["token"] == streams.stream_token(call, 2)


def test_a_captured_request_to_resume_is_of_no_use_once_the_call_goes_on() -> None:
    """[B4] However often and however late it is sent again: no new token, and the call lives on."""
    call = streaming()
    post("/api/twilio/resume", call, stream=1)
    call.refresh_from_db()
    opened = streams.open_stream(
        call_sid=call.twilio_sid or "",
        account_sid=settings.TWILIO_ACCOUNT_SID,
        stream_sid="MZ" + uuid.uuid4().hex,
        token=streams.stream_token(call, 2),
    )
    assert isinstance(opened, streams.OpenedStream)
    before = Call.objects.filter(pk=call.pk).values().get()

    answers = []
    for minute in range(8):
        with time_machine.travel(timezone.now() + timedelta(minutes=minute)):
            answers.append(names(post("/api/twilio/resume", call, stream=1)))

    assert answers == [["Hangup"]] * 8
    assert Call.objects.filter(pk=call.pk).values().get() == before
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        lost = post("/api/twilio/resume", call, stream=2)
    assert names(lost) == ["Connect", "Redirect"]


@pytest.mark.parametrize("status", ["completed", "ringing", "failed"])
def test_only_a_call_in_progress_is_resumed(status: str) -> None:
    call = streaming()

    answer = post("/api/twilio/resume", call, CallStatus=status)

    assert names(answer) == ["Hangup"]
    assert Call.objects.get(pk=call.pk).stream_generation == 1


def test_a_call_that_staff_hang_up_is_not_resumed() -> None:
    call = streaming()
    Call.objects.filter(pk=call.pk).update(hangup_requested_at="2026-11-23T10:00:00Z")

    assert names(post("/api/twilio/resume", call)) == ["Hangup"]


def test_a_finished_conversation_is_hung_up() -> None:
    call = streaming()
    Call.objects.filter(pk=call.pk).update(
        conversation_ended_at="2026-11-23T10:00:00Z", end_reason=EndReason.AGENT_ENDED
    )

    assert names(post("/api/twilio/resume", call)) == ["Hangup"]


def test_a_failure_of_ours_is_apologised_for() -> None:
    call = streaming()
    Call.objects.filter(pk=call.pk).update(
        conversation_ended_at="2026-11-23T10:00:00Z", end_reason=EndReason.MODEL_FAILED
    )

    assert names(post("/api/twilio/resume", call)) == ["Say", "Hangup"]


def test_a_stream_that_is_lost_too_often_ends_with_an_apology_and_its_reason() -> None:
    call = streaming()
    Call.objects.filter(pk=call.pk).update(stream_generation=streams.MAX_GENERATIONS)

    answer = post("/api/twilio/resume", call)

    assert names(answer) == ["Say", "Hangup"]
    assert Call.objects.get(pk=call.pk).end_reason == EndReason.STREAM_LOST


def test_the_fallback_needs_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """[B21] Valid TwiML, whatever is down."""

    def away(*_: Any, **__: Any) -> None:
        raise AssertionError("asked the database")

    monkeypatch.setattr(connection, "cursor", away)
    monkeypatch.setattr(connection, "connect", away)

    answer = post("/api/twilio/fallback", None)

    assert names(answer) == ["Say", "Hangup"]


def test_recipient_text_never_reaches_the_twiml() -> None:
    """[B20, A24] Nothing of the recipient's is in the document, so nothing can break out of it."""
    call = a_call()
    call.recipient.name = '"/><Dial>+1900</Dial>'
    call.recipient.save()

    answer = post("/api/twilio/voice", call)

    assert names(answer) == ["Connect", "Redirect"]
    assert b"1900" not in answer.content


@pytest.mark.parametrize("event", ["stream-started", "stream-stopped", "stream-error"])
def test_stream_reports_are_on_the_timeline_once(event: str) -> None:
    call = streaming()
    fields = {"StreamSid": "MZ" + "1" * 32, "StreamEvent": event}

    answers = [post("/api/twilio/stream-status", call, **fields) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [204] * 3
    assert call.events.filter(kind=f"twilio.{event}").count() == 1


@pytest.mark.parametrize("path", ["voice", "resume", "fallback", "stream-status"])
def test_only_posts_are_answered(path: str) -> None:
    """[F4] A GET changes nothing."""
    assert Client().get(f"/api/twilio/{path}").status_code == 405
