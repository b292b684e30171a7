"""Who may open a stream on a call: one token, one socket, one minute, one generation."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.utils import timezone

from calls.core.lifecycle import EndReason, Status
from calls.models import Call, QuarantinedEvent, Turn
from calls.services import streams
from calls.services.streams import OpenedStream, RefusedStream
from calls.signing import STREAM_PATH
from tests.realtime.rows import a_call

pytestmark = pytest.mark.django_db


def open_stream(call: Call, token: str, **changes: Any) -> OpenedStream | RefusedStream:
    values: dict[str, Any] = {
        "call_sid": call.twilio_sid,
        "account_sid": settings.TWILIO_ACCOUNT_SID,
        "stream_sid": f"MZ{uuid.uuid4().hex}",
        "token": token,
        **changes,
    }
    return streams.open_stream(**values)


def offered() -> tuple[Call, str]:
    call = a_call(status=Status.IN_PROGRESS)
    token = streams.offer(call)
    assert token is not None
    return call, token


def lose(call: Call, token: str) -> None:
    """The stream is opened, and lost after a while."""
    opened = open_stream(call, token)
    assert isinstance(opened, OpenedStream)
    Call.objects.filter(pk=call.pk).update(stream_opened_at=timezone.now() - timedelta(seconds=30))
    streams.close_stream(opened.call_id, opened.generation)


def resumed(call: Call) -> str | None:
    return streams.offer_resume(Call.objects.get(pk=call.pk))


def why(result: OpenedStream | RefusedStream) -> str:
    assert isinstance(result, RefusedStream)
    return result.why


def test_a_token_opens_one_stream() -> None:
    """[C4] Single use."""
    call, token = offered()

    first, second = open_stream(call, token), open_stream(call, token)

    assert isinstance(first, OpenedStream)
    assert first.call_id == str(call.pk)
    assert why(second) == "token used before"


def test_asking_twice_for_the_twiml_mints_nothing_new() -> None:
    """[B4] A replayed or repeated request gets the same token, and only while it is unused."""
    call, token = offered()

    repeated = [streams.offer(Call.objects.get(pk=call.pk)) for _ in range(50)]
    open_stream(call, token)
    after_use = streams.offer(Call.objects.get(pk=call.pk))

    assert set(repeated) == {token}
    assert after_use is None


def test_a_token_is_good_for_a_minute() -> None:
    """[C4] Expired."""
    call, token = offered()

    with time_machine.travel(timezone.now() + timedelta(seconds=61)):
        refused = open_stream(call, token)
        repeated = streams.offer(Call.objects.get(pk=call.pk))

    assert why(refused) == "token expired"
    assert repeated is None


def test_a_token_is_of_no_use_for_another_call() -> None:
    """[C4] Bound to its call."""
    _, token = offered()
    other, _ = offered()

    assert why(open_stream(other, token)) == "wrong token"


@pytest.mark.parametrize("token", ["", "x", "é", "0" * 64, "A" * 5000])
def test_a_wrong_token_opens_nothing(token: str) -> None:
    """[C4] Whatever it looks like; the attempt is on the timeline."""
    call, _ = offered()

    refused = open_stream(call, token)

    assert why(refused) == "wrong token"
    assert call.events.get(kind="stream.refused").data == {"why": "wrong token"}
    assert Call.objects.get(pk=call.pk).stream_opened_at is None


def test_unknown_finished_and_foreign_calls_get_no_stream() -> None:
    """[C3] Nobody to talk to."""
    call, token = offered()
    foreign = open_stream(call, token, account_sid="AC" + "9" * 32)
    unknown = open_stream(call, token, call_sid="CA" + "9" * 32)
    Call.objects.filter(pk=call.pk).update(status=Status.COMPLETED)
    finished = open_stream(call, token)

    assert [why(r) for r in (foreign, unknown, finished)] == [
        "another account",
        "unknown call",
        "call is over",
    ]
    stray = QuarantinedEvent.objects.get()
    assert (stray.path, stray.params["callSid"]) == (STREAM_PATH, "CA" + "9" * 32)


@pytest.mark.parametrize(
    "over",
    [
        {"status": Status.COMPLETED},
        {"status": Status.CANCELED},
        {"hangup_requested_at": timezone.now()},
        {"conversation_ended_at": timezone.now()},
    ],
)
def test_a_call_that_is_over_is_offered_no_stream(over: dict[str, Any]) -> None:
    """[B19] TwiML asked for too late."""
    call = a_call(**over)

    assert streams.offer(call) is None
    assert Call.objects.get(pk=call.pk).stream_generation == 0


def test_a_lost_stream_is_offered_again_with_what_was_said() -> None:
    call, token = offered()
    open_stream(call, token)
    said = [("agent", "Hello, this is Ada.", 5), ("recipient", "Yes?", None), ("agent", "I", 0)]
    for position, (speaker, text, heard) in enumerate(said):
        Turn.objects.create(
            call=call,
            item_id=f"i{position}",
            position=position,
            speaker=speaker,
            text=text,
            heard_chars=heard,
            started_ms=position,
        )
    streams.close_stream(str(call.pk), 1)

    again = streams.offer_resume(Call.objects.get(pk=call.pk))
    assert again is not None
    opened = open_stream(call, again)

    assert again != token
    assert isinstance(opened, OpenedStream)
    assert opened.generation == 2
    assert opened.history == (("agent", "Hello"), ("recipient", "Yes?"))


def test_the_old_token_is_of_no_use_after_a_resume() -> None:
    """[C4] Bound to its generation."""
    call, token = offered()
    lose(call, token)
    streams.offer_resume(Call.objects.get(pk=call.pk))

    assert why(open_stream(call, token)) == "wrong token"


def test_a_call_comes_back_three_times_at_most() -> None:
    call, token = offered()
    offers = []
    for generation in range(1, 6):
        open_stream(call, token)
        Call.objects.filter(pk=call.pk).update(
            stream_opened_at=timezone.now() - timedelta(seconds=30)
        )
        streams.close_stream(str(call.pk), generation)
        token = streams.offer_resume(Call.objects.get(pk=call.pk)) or ""
        offers.append(bool(token))

    assert offers == [True, True, True, False, False]


def test_two_quick_failures_end_the_call() -> None:
    call, token = offered()
    offers = []
    for generation in (1, 2):
        open_stream(call, token)
        streams.close_stream(str(call.pk), generation)
        token = streams.offer_resume(Call.objects.get(pk=call.pk)) or ""
        offers.append(bool(token))

    assert offers == [True, False]


def test_a_call_that_ends_between_question_and_answer_gets_no_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """[C4] Staff hang up at the very moment in which the stream is let in."""
    call, token = offered()
    brief, row = streams._brief, Call.objects.filter(pk=call.pk)

    def hung_up_meanwhile(call: Call) -> Any:
        row.update(hangup_requested_at=timezone.now())
        return brief(call)

    monkeypatch.setattr(streams, "_brief", hung_up_meanwhile)

    assert why(open_stream(call, token)) == "call is over"
    assert Call.objects.get(pk=call.pk).stream_opened_at is None


@pytest.mark.parametrize("brief", [{}, {"agent": "Ada"}, {"opening": {"kind": "sings"}}, []])
def test_an_unreadable_brief_ends_the_call_and_uses_up_no_token(brief: Any) -> None:
    """Another stream would not help it."""
    call, token = offered()
    Call.objects.filter(pk=call.pk).update(brief=brief)

    refused = open_stream(call, token)

    call.refresh_from_db()
    assert why(refused) == "unreadable brief"
    assert (call.stream_opened_at, call.end_reason) == (None, EndReason.INTERNAL_ERROR)


def test_asking_again_to_resume_mints_nothing_new() -> None:
    """[B4] While the stream that was offered may still come."""
    call, token = offered()
    lose(call, token)

    tokens = {resumed(call) for _ in range(50)}

    assert tokens == {streams.stream_token(call, 2)}
    assert Call.objects.get(pk=call.pk).stream_generation == 2


def test_a_stream_that_never_comes_is_offered_anew_a_few_times() -> None:
    """Each is awaited for ten seconds; then the call is given up."""
    call, _ = offered()
    generations = []

    for seconds in range(0, 60, 5):
        with time_machine.travel(timezone.now() + timedelta(seconds=seconds)):
            token = resumed(call)
        generations.append(Call.objects.get(pk=call.pk).stream_generation if token else None)

    assert generations == [1, 1, 2, 2, 3, 3, 4, 4, None, None, None, None]


def test_a_stream_whose_end_was_not_noted_is_closed_when_twilio_asks() -> None:
    """Its process was killed: only after the end of a stream does Twilio ask."""
    call, token = offered()
    open_stream(call, token)

    again = resumed(call)

    assert again == streams.stream_token(call, 2)
    assert call.events.filter(key="stream.closed.1").count() == 1


def test_streams_that_die_quickly_unnoticed_end_the_call() -> None:
    """A process that is killed twice counts as two quick failures."""
    call, token = offered()
    offers = []
    for _ in range(2):
        open_stream(call, token)
        token = resumed(call) or ""
        offers.append(bool(token))

    assert offers == [True, False]


def test_a_stream_is_superseded_once_its_successor_is_open() -> None:
    """A request for one, that nobody follows up, ends no conversation."""
    call, token = offered()
    open_stream(call, token)
    before = streams.is_superseded(str(call.pk), 1)
    again = resumed(call)
    offered_only = streams.is_superseded(str(call.pk), 1)

    open_stream(call, again or "")

    assert (before, offered_only) == (False, False)
    assert streams.is_superseded(str(call.pk), 1)
    assert not streams.is_superseded(str(call.pk), 2)


def test_the_late_end_of_an_old_stream_leaves_the_new_one_alone() -> None:
    call, token = offered()
    open_stream(call, token)
    open_stream(call, resumed(call) or "")

    streams.close_stream(str(call.pk), 1)

    assert Call.objects.get(pk=call.pk).stream_closed_at is None
    assert call.events.filter(kind="stream.closed").count() == 1


def test_history_leaves_out_what_nobody_is_known_to_have_heard() -> None:
    """The process was killed while the agent spoke: its last marks are not known."""
    call, token = offered()
    lose(call, token)
    turns = [
        ("recipient", "Is it Friday?", None, False),
        ("agent", "It is Saturday.", None, True),
        ("agent", "Nobody heard this.", None, False),
        ("agent", "Half of this", 4, False),
    ]
    for position, (speaker, text, heard, is_final) in enumerate(turns):
        Turn.objects.create(
            call=call,
            item_id=f"i{position}",
            position=position,
            speaker=speaker,
            text=text,
            heard_chars=heard,
            is_final=is_final,
            started_ms=position,
        )

    opened = open_stream(call, resumed(call) or "")

    assert isinstance(opened, OpenedStream)
    assert [text for _, text in opened.history] == ["Is it Friday?", "It is Saturday.", "Half"]
