"""One call, end to end: from staff's button to the transcript, the recording and the cost."""

from __future__ import annotations

import array
import io
import wave
from itertools import pairwise

import pytest

from calls.core.lifecycle import EndReason, Status
from calls.models import Call
from recordings.models import RecordingStatus
from tests.flows.calling import (
    an_agent,
    call_person,
    model_session,
    transcript,
    wait_for_end,
    wait_for_recording,
)
from tests.worlds import World

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("audio_format", ["audio/pcm", "audio/pcmu"])
def test_a_person_talks_with_the_agent_and_the_record_is_there(
    world: World, audio_format: str
) -> None:
    """[E16, F10] Left is the person, right the agent: by the content of the file, not by its label.

    And no process has told a secret on the way.
    """
    call = call_person(world, "talks", agent=an_agent(audio_format=audio_format))

    wait_for_end(call)
    recording = wait_for_recording(call)

    assert (call.status, call.end_reason) == (Status.COMPLETED, EndReason.AGENT_ENDED)
    assert transcript(call) == [
        ("agent", "Hi, I am Ada, an AI assistant. Is Friday fine?"),
        ("recipient", "Yes, Friday is fine."),
        ("agent", "Great, see you on Friday. Anything else?"),
        ("recipient", "No thank you, goodbye!"),
        ("agent", "Thank you, goodbye!"),
    ]
    _check_times(call)
    assert recording.status == RecordingStatus.READY, recording.problem
    listened = world.login().get(f"/calls/{call.pk}/recording")
    assert listened.status_code == 200
    _check_channels(call, listened.content)
    assert call.usage.filter(kind="response").count() >= 3
    session = model_session(world)
    assert session["session"]["audio"]["input"]["format"]["type"] == audio_format
    assert not session["open"]
    assert not session["errors"]
    assert world.told_secrets() == []


def _check_times(call: Call) -> None:
    turns = list(call.turns.all())
    assert all(turn.is_final for turn in turns)
    assert all(a.started_ms < b.started_ms for a, b in pairwise(turns))
    answers = [turn for turn in turns[1:] if turn.speaker == "agent"]
    for turn in answers:
        # The person's silence of 500 ms has to be proven before the model may answer.
        sent_ms, heard_ms = turn.latency_sent_ms, turn.latency_heard_ms
        assert sent_ms is not None
        assert heard_ms is not None
        assert 500 <= sent_ms <= heard_ms
        assert turn.heard_ms == turn.generated_ms


def _check_channels(call: Call, data: bytes) -> None:
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        samples = array.array("h", file.readframes(file.getnframes()))
    left, right = samples[0::2], samples[1::2]
    turns = list(call.turns.all())
    for turn in turns:
        # Inside each turn, away from its edges, one channel speaks and the other is silent.
        start, end = turn.started_ms + 400, (turn.ended_ms or 0) - 200
        person, agent = _power(left, start, end), _power(right, start, end)
        speaker, other = (person, agent) if turn.speaker == "recipient" else (agent, person)
        assert speaker > 300, (turn, start, end, person, agent)
        assert other < 30, (turn, start, end, person, agent)


def _power(samples: array.array[int], start_ms: int, end_ms: int) -> float:
    part = samples[start_ms * 8 : end_ms * 8]
    return float((sum(s * s for s in part) / max(len(part), 1)) ** 0.5)
