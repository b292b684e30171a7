"""The audio itself says where in the stream one is, after any conversion."""

from __future__ import annotations

import audioop
import base64
from itertools import islice, pairwise

import pytest

from bench import script
from bench.script import PCM, PCMU
from realtime.core.audio import PhoneDecoder


def _person(frames: int) -> bytes:
    pulses = set(script.pulse_frames(frames))
    loud = [i in pulses or i - 1 in pulses for i in range(frames)]
    return b"".join(
        base64.b64decode(script.PULSE_FRAME if is_loud else script.SILENT_FRAME) for is_loud in loud
    )


def test_pulses_are_found_at_the_sample_where_they_begin() -> None:
    listener = script.Listener(PCMU, quiet_ms=100)

    audio = _person(200)
    for start in range(0, len(audio), 37):
        listener.hear(audio[start : start + 37])

    assert listener.onsets == [frame * 160 for frame in script.pulse_frames(200)]


def test_pulses_are_found_behind_a_filter_as_much_later_as_it_delays() -> None:
    listener = script.Listener(PCM, quiet_ms=100)

    listener.hear(PhoneDecoder().decode(_person(200)))

    delays_ms = [
        onset / script.PCM_BYTES_PER_MS - frame * script.FRAME_MS
        for onset, frame in zip(listener.onsets, script.pulse_frames(200), strict=True)
    ]
    assert delays_ms == pytest.approx([1.35] * len(delays_ms), abs=0.1)


@pytest.mark.parametrize("audio_format", [PCM, PCMU])
def test_a_reply_begins_with_its_only_head_and_is_as_long_as_it_says(audio_format: str) -> None:
    pieces = [base64.b64decode(delta.audio) for delta in script.deltas(4000, audio_format)]
    listener = script.Listener(audio_format, quiet_ms=40)

    for piece in pieces:
        listener.hear(piece)

    assert listener.onsets == [0]
    assert listener.position == 4000 * script.BYTES_PER_MS[audio_format]


def test_silence_is_silent_and_the_distances_of_pulses_differ() -> None:
    distances = [b - a for a, b in pairwise(script.pulse_frames(999))]

    assert audioop.max(audioop.ulaw2lin(base64.b64decode(script.SILENT_FRAME), 2), 2) == 0
    assert len(set(distances)) > 10
    assert min(distances) * script.FRAME_MS > 2 * script.FRAME_MS * script.PULSE_FRAMES


def test_calls_begin_at_different_turns_of_the_same_conversation() -> None:
    first, second = list(islice(script.turns(0), 4)), list(islice(script.turns(1), 4))

    assert first[1:] == second[:3]
    assert any(turn.cut_after_ms for turn in first)
