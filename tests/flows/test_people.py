"""Whoever is called, the call ends as it should and says so."""

from __future__ import annotations

from typing import Any

import pytest

from calls.core.lifecycle import EndReason, Status
from calls.models import Call
from tests.flows.calling import an_agent, call_person, model_sessions, transcript, wait_for_end
from tests.worlds import World

pytestmark = pytest.mark.timeout(180)

ENDS: dict[str, tuple[Status, EndReason]] = {
    "busy": (Status.BUSY, EndReason.NOT_REACHED),
    "no-answer": (Status.NO_ANSWER, EndReason.NOT_REACHED),
    "invalid": (Status.FAILED, EndReason.NOT_REACHED),
    "rejects": (Status.NO_ANSWER, EndReason.NOT_REACHED),
    "voicemail": (Status.COMPLETED, EndReason.VOICEMAIL),
    "hangs-up": (Status.COMPLETED, EndReason.RECIPIENT_HUNG_UP),
    "silent": (Status.COMPLETED, EndReason.SILENCE),
    "talks-over": (Status.COMPLETED, EndReason.AGENT_ENDED),
    "presses-keys": (Status.COMPLETED, EndReason.AGENT_ENDED),
}


def test_every_kind_of_person_is_dealt_with(world: World) -> None:
    """All at once: the calls share one process and do not disturb each other."""
    agent = an_agent(silence_s=3)
    options: dict[str, dict[str, Any]] = {"no-answer": {"ring_s": 3}}
    calls = {kind: call_person(world, kind, agent=agent, **options.get(kind, {})) for kind in ENDS}

    for call in calls.values():
        wait_for_end(call, timeout_s=120)

    found = {kind: (Status(call.status), call.end_reason) for kind, call in calls.items()}
    assert found == ENDS
    _check_stories(calls)
    assert not [session for session in model_sessions(world) if session["open"]]


def _check_stories(calls: dict[str, Call]) -> None:
    for kind in ("busy", "no-answer", "invalid", "rejects"):
        assert transcript(calls[kind]) == []
        assert calls[kind].answered_at is None
    assert calls["silent"].events.filter(kind="silence.nudged").count() == 1
    pressed = calls["presses-keys"].events.filter(kind="key.pressed")
    assert [event.data["digit"] for event in pressed] == ["1", "9", "#"]
    last = calls["hangs-up"].turns.last()
    assert last is not None
    assert last.interrupted
    assert 0 < (last.heard_ms or 0) < (last.generated_ms or 0)
