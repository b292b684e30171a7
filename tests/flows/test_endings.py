"""Every way in which a conversation ends: the record says why, and nothing stays open.

The calls of one world are placed together and looked at one by one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from calls.core.lifecycle import EndReason, Status
from calls.models import Call, DialingPause
from tests.flows.calling import (
    INSTRUCTIONS,
    an_agent,
    call_person,
    model_sessions,
    transcript,
    wait_for_end,
    wait_for_talk,
)
from tests.servers import wait_until
from tests.worlds import World

pytestmark = pytest.mark.timeout(180)

SORRY = "We are sorry, a technical problem ended this call. Goodbye."


def scripted(world: World, kind: str, *responses: dict[str, object]) -> Call:
    """A call whose model answers with these responses first."""
    story = uuid.uuid4().hex
    world.sandbox.script(*responses, match=story)
    return call_person(world, kind, agent=an_agent(instructions=f"{INSTRUCTIONS} ({story})"))


def faulty(world: World, kind: str, where: str, what: str, number: str, **options: Any) -> Call:
    """A call to a number for which something goes wrong once."""
    fault = {"where": where, "what": what, "times": 1, "call": number}
    world.sandbox.control("POST", "faults", fault)
    return call_person(world, kind, number=number, **options)


# Somebody who does not speak into the gap: the bridging sentence is for those who wait.
PATIENT = [
    {"pause_s": 9.0},
    {"say": "person.thanks_goodbye"},
    {"wait_for_agent": True, "timeout_s": 8.0},
    {"pause_s": 3.0},
    {"hang_up": True},
]


STORIES: dict[str, Callable[[World], Call]] = {
    "goodbye": lambda w: call_person(w, "talks"),
    "bare hang-up": lambda w: scripted(
        w, "silent", {"tool": {"name": "end_call", "arguments": {}}}
    ),
    "staff": lambda w: call_person(w, "silent", agent=an_agent(silence_s=60)),
    "duration": lambda w: call_person(w, "silent", agent=an_agent(max_duration_s=34, silence_s=60)),
    "model gone": lambda w: scripted(
        w, "silent", {"say": "Hello there.", "disconnect": {"code": 1011}}
    ),
    # To people who do not speak into it: a response that is interrupted neither fails nor acts.
    "one failure": lambda w: scripted(w, "silent", {"fail": "server_error"}),
    "bad tool": lambda w: scripted(
        w, "silent", {"tool": {"name": "format_disk", "arguments": "{"}}
    ),
    "lost stream": lambda w: faulty(
        w, "talks", "stream", "reset:2", "+14155587001", script=PATIENT
    ),
    "no stop": lambda w: faulty(w, "hangs-up", "stream", "no-stop", "+14155587002"),
    # The last: from then on nobody is dialled.
    "no money": lambda w: scripted(w, "silent", {"fail": "insufficient_quota"}),
}


def test_every_ending(world: World, subtests: pytest.Subtests) -> None:
    """[C8, C20, D2, D14] The record tells why a conversation ended, and both legs are let go."""
    staff = world.login()
    calls = {name: place(world) for name, place in STORIES.items()}
    wait_for_talk(calls["staff"])
    staff.post(f"/calls/{calls['staff'].pk}/hang-up")
    for call in calls.values():
        wait_for_end(call, timeout_s=90)

    for name, check in CHECKS.items():
        with subtests.test(name):
            check(world, calls[name])
    with subtests.test("nothing stays open"):
        wait_until(
            lambda: not [s for s in model_sessions(world) if s["open"]],
            what="the model's sockets to close",
        )


def _goodbye(world: World, call: Call) -> None:
    """Heard to its end before the line is cut."""
    last = call.turns.last()
    assert last is not None
    assert call.end_reason == EndReason.AGENT_ENDED
    assert (last.text, last.heard_ms) == ("Thank you, goodbye!", last.generated_ms)


def _bare_hang_up(world: World, call: Call) -> None:
    """An agent that only hangs up says goodbye all the same."""
    assert call.end_reason == EndReason.AGENT_ENDED
    assert "goodbye" in transcript(call)[-1][1].lower()


def _staff(world: World, call: Call) -> None:
    assert (call.status, call.end_reason) == (Status.COMPLETED, EndReason.STAFF_HUNG_UP)


def _duration(world: World, call: Call) -> None:
    """Warned half a minute before, then a polite end."""
    assert call.events.filter(kind="duration.warned").count() == 1
    assert call.end_reason == EndReason.MAX_DURATION
    assert transcript(call)[-1] == ("agent", "I am sorry, our time is up. Goodbye.")


def _no_money(world: World, call: Call) -> None:
    assert call.end_reason == EndReason.MODEL_FAILED
    assert call.error_code == "insufficient_quota"
    assert "run out of funds" in call.end_detail
    assert _apologies(world, call) == [SORRY]


def _model_gone(world: World, call: Call) -> None:
    assert call.end_reason == EndReason.MODEL_FAILED
    assert "1011" in call.end_detail
    assert _apologies(world, call) == [SORRY]


def _one_failure(world: World, call: Call) -> None:
    """A response that fails once is asked for again."""
    assert call.end_reason == EndReason.SILENCE
    assert transcript(call)[0][1].startswith("Hi, I am Ada")
    assert call.events.filter(kind="model.response_failed").count() == 1


def _bad_tool(world: World, call: Call) -> None:
    """The model is told, and goes on."""
    assert call.end_reason == EndReason.SILENCE
    called = call.events.filter(kind="tool.called").first()
    assert called is not None
    assert called.data["tool"] == "format_disk"


def _lost_stream(world: World, call: Call) -> None:
    """Resumed where it stopped, with one bridging sentence."""
    assert call.end_reason == EndReason.AGENT_ENDED
    assert call.stream_generation == 2
    said = [text for _, text in transcript(call)]
    assert said[0].startswith("Hi, I am Ada")
    assert any(text.startswith("Sorry, I lost you") for text in said)


def _no_stop(world: World, call: Call) -> None:
    assert call.end_reason == EndReason.RECIPIENT_HUNG_UP


CHECKS: dict[str, Callable[[World, Call], None]] = {
    "goodbye": _goodbye,
    "bare hang-up": _bare_hang_up,
    "staff": _staff,
    "duration": _duration,
    "no money": _no_money,
    "model gone": _model_gone,
    "one failure": _one_failure,
    "bad tool": _bad_tool,
    "lost stream": _lost_stream,
    "no stop": _no_stop,
}


def test_a_wrong_key_is_no_mystery(world: World) -> None:
    """[D2] The vendor says so in-band, after the upgrade; so does the record."""
    fault = {"where": "openai.connect", "what": "error:invalid_api_key", "times": 1}
    world.sandbox.control("POST", "openai/faults", fault)
    call = call_person(world, "silent")

    wait_for_end(call)

    assert (call.end_reason, call.error_code) == (EndReason.MODEL_FAILED, "invalid_api_key")
    assert DialingPause.objects.filter(lifted_at=None, error_code="openai.invalid_api_key").exists()
    assert len(model_sessions(world)) <= 1
    assert _apologies(world, call) == [SORRY]


def _apologies(world: World, call: Call) -> list[Any]:
    """What was said to the person by TwiML."""
    segments = world.sandbox.ledger(call.twilio_sid or "")["agent_segments"]
    return [segment["text"] for segment in segments if segment["source"] == "say"]
