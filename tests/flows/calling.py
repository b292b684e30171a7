"""Places calls the way staff do, in a running world, and waits for what becomes of them."""

from __future__ import annotations

import itertools
import re
import uuid
from dataclasses import dataclass
from typing import Any

from calls.core.lifecycle import Status
from calls.models import Agent, Call, Recipient
from recordings.models import Recording, RecordingStatus
from tests.servers import wait_until
from tests.worlds import World

_numbers = itertools.count(1_000)

INSTRUCTIONS = "You are Ada. Confirm the appointment of {{ name }} on Friday at ten."
DONE = (RecordingStatus.READY, RecordingStatus.ABSENT, RecordingStatus.REJECTED)


def an_agent(**fields: Any) -> Agent:
    """An agent of this test's own."""
    values = {"name": f"Ada {uuid.uuid4().hex[:6]}", "instructions": INSTRUCTIONS, **fields}
    return Agent.objects.create(**{"tools": ["end_call"], **values})


def call_person(
    world: World, kind: str, *, agent: Agent | None = None, number: str = "", **options: Any
) -> Call:
    """Someone of this kind has a phone; a member of staff calls them. Returns the call."""
    phone = number or f"+1415558{next(_numbers)}"
    world.sandbox.person(phone, kind, **options)
    recipient = Recipient.objects.create(name="Bo Lee", phone=phone)
    agent = agent or an_agent()
    staff = world.login()
    page = staff.get(f"/calls/new?recipients={recipient.pk}&agent={agent.pk}").text
    found = re.search(r'name="request_key" value="([^"]+)"', page)
    assert found, page
    answer = staff.post(
        "/calls/new", recipients=str(recipient.pk), agent=str(agent.pk), request_key=found[1]
    )
    assert re.search(r"/calls/[0-9a-f-]{36}/$", answer.url), (answer.url, answer.text[:2000])
    return Call.objects.get(recipient=recipient)


def wait_for_status(call: Call, *statuses: Status, timeout_s: float = 30) -> Call:
    """The call once it is in one of these statuses."""

    def arrived() -> bool:
        call.refresh_from_db()
        return call.state in statuses

    wait_until(arrived, what=f"{statuses} of {call.pk}", timeout_s=timeout_s)
    return call


def wait_for_end(call: Call, *, timeout_s: float = 60) -> Call:
    """The call once it is over."""

    def ended() -> bool:
        call.refresh_from_db()
        return call.state.is_terminal

    wait_until(ended, what=f"the end of {call.pk}", timeout_s=timeout_s)
    return call


def wait_for_talk(call: Call, *, timeout_s: float = 30) -> Call:
    """The call once the agent's first words are on record."""
    wait_until(call.turns.exists, what=f"the first words of {call.pk}", timeout_s=timeout_s)
    call.refresh_from_db()
    return call


def wait_for_recording(call: Call, *, timeout_s: float = 60) -> Recording:
    """The call's recording once it is as it will stay."""

    def found() -> Recording | None:
        return Recording.objects.filter(call=call, status__in=DONE).first()

    recording: Recording = wait_until(
        found, what=f"the recording of {call.pk}", timeout_s=timeout_s
    )
    return recording


def transcript(call: Call) -> list[tuple[str, str]]:
    """(speaker, text), in order."""
    return [(turn.speaker, turn.text) for turn in call.turns.all()]


@dataclass(frozen=True)
class Heard:
    """What a phone played between `start_ms` and `end_ms`, on the stream's clock."""

    start_ms: float
    end_ms: float


def played(world: World, call: Call) -> list[Heard]:
    """The agent's sound in the phone's ledger, one entry per stretch."""
    segments = world.sandbox.ledger(call.twilio_sid or "")["agent_segments"]
    return [Heard(s["from_ms"], s["to_ms"]) for s in segments if s["source"] == "stream"]


def model_session(world: World) -> dict[str, Any]:
    """The model's record of its newest session."""
    found: dict[str, Any] = world.sandbox.control("GET", "openai/sessions/last")
    return found


def model_sessions(world: World) -> list[dict[str, Any]]:
    """Every session since the last reset."""
    found: list[dict[str, Any]] = world.sandbox.control("GET", "openai/sessions")["sessions"]
    return found
