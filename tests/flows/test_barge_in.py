"""Who talks over the agent is heard at once, and the model learns what was really heard."""

from __future__ import annotations

import pytest

from tests.flows.calling import an_agent, call_person, model_session, wait_for_end
from tests.worlds import World

pytestmark = pytest.mark.timeout(120)

LONG = (
    "Let me explain: your appointment is on Friday at ten, in our office on the second floor,"
    " and it takes about half an hour."
)
FRAME_MS = 20


@pytest.mark.parametrize("audio_format", ["audio/pcm", "audio/pcmu"])
def test_what_the_model_is_told_is_what_the_phone_played(world: World, audio_format: str) -> None:
    """[C22] To one frame, by the phone's own ledger, for speech over each of two sentences."""
    script = [
        {"say_over_agent": "person.wait", "after_ms": 1300},
        {"wait_for_agent": True, "timeout_s": 1.0},
        {"say_over_agent": "person.wait", "after_ms": 2100},
        {"pause_s": 1.5},
        {"hang_up": True},
    ]
    world.sandbox.script({"say": LONG}, {"say": LONG}, {"say": "Of course, go ahead."})
    call = call_person(world, "talks", agent=an_agent(audio_format=audio_format), script=script)

    wait_for_end(call)

    ledger = world.sandbox.ledger(call.twilio_sid or "")
    truncations = model_session(world)["truncations"]
    clears = [clear for clear in ledger["clears"] if clear["dropped_ms"] > 0]
    assert len(truncations) == len(clears) >= 2
    starts = [segment["from_ms"] for segment in ledger["agent_segments"]]
    for truncation, clear in zip(truncations, clears, strict=True):
        start = max(at for at in starts if at <= clear["at_ms"])
        assert abs(truncation["audio_end_ms"] - (clear["at_ms"] - start)) <= FRAME_MS
        turn = call.turns.get(item_id=truncation["item_id"])
        assert turn.interrupted
        assert turn.heard_ms == truncation["audio_end_ms"]
        assert turn.text == LONG
        assert 0 < (turn.heard_chars or 0) < len(LONG)
    assert not model_session(world)["errors"]
