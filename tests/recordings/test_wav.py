"""WAV files: what they hold, whatever their header says."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recordings.core import wav
from recordings.core.wav import NotWav
from tests.recordings.fake_twilio import Samples, tone, wav_of

TALK = wav_of(tone(300, 1.0), tone(900, 1.0, peak=3000))


def with_size(data: bytes, size: int) -> bytes:
    """The file with another length of its data in the header."""
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


def test_a_file_tells_channels_rate_and_duration() -> None:
    found = wav.read(io.BytesIO(TALK))

    assert (found.channels, found.rate_hz, found.duration_ms, found.frames) == (2, 8000, 1000, 8000)
    assert not found.is_cut_off


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF - 36, 100, 4000])
def test_a_wrong_size_in_the_header_is_not_believed(size: int) -> None:
    found = wav.read(io.BytesIO(with_size(TALK, size)))

    assert found.duration_ms == 1000
    assert not found.is_cut_off


def test_a_file_that_ends_before_its_header_says_is_cut_off() -> None:
    found = wav.read(io.BytesIO(TALK[:-400]))

    assert found.is_cut_off
    assert found.duration_ms == 987


def test_chunks_around_the_audio_are_no_audio() -> None:
    note = b"LIST" + struct.pack("<I", 5) + b"hello" + b"\0"
    data_at = TALK.index(b"data")
    file = io.BytesIO(TALK[:data_at] + note + TALK[data_at:] + note)

    found = wav.read(file)

    assert found.frames == 8000
    assert np.array_equal(wav.split(file, found)[0], tone(300, 1.0))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "HTML or XML"),
        (b' {"code": 20404}', "JSON"),
        (b"ID3\x04" + bytes(20), "MP3"),
        (b"\xff\xfb\x90\x00" + bytes(20), "MP3"),
        (b"RIFF\0\0\0\0AVI " + bytes(20), "unknown data"),
        (TALK[:20], "does not say how"),
        (TALK[:44], "without audio"),
        (TALK[:46], "without audio"),
        (TALK[:36], "without audio"),
        (TALK[:20] + struct.pack("<H", 7) + TALK[22:], "not 16 bit PCM"),
        (TALK[:22] + struct.pack("<H", 6) + TALK[24:], "6 channels"),
        (TALK[:22] + struct.pack("<H", 0) + TALK[24:], "0 channels"),
        (TALK[:24] + struct.pack("<I", 0) + TALK[28:], "without a sample rate"),
        (TALK[:12] + TALK[36:], "does not say how"),
        (TALK[:12] + b"junk\0\0\0\0" * 100, "too many parts"),
    ],
)
def test_what_is_no_playable_wav_is_refused_with_the_reason(data: bytes, problem: str) -> None:
    """[E4] HTML, errors, MP3 and odd codings never pass for a recording."""
    with pytest.raises(NotWav, match=problem):
        wav.read(io.BytesIO(data))


@given(st.binary(max_size=200), st.integers(0, 60))
def test_no_bytes_make_the_reader_fail_in_another_way(noise: bytes, keep: int) -> None:
    file = io.BytesIO(TALK[:keep] + noise)

    try:
        found = wav.read(file)
        wav.peaks(file, found)
    except NotWav:
        return

    assert found.frames * found.frame_bytes <= keep + len(noise)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 12])
def test_mended_sizes_are_what_any_player_reads(size: int) -> None:
    file = io.BytesIO(with_size(TALK, size))

    wav.mend_sizes(file, wav.read(file))

    file.seek(0)
    with wave.open(file, "rb") as player:
        assert player.getnframes() == 8000
    assert file.getvalue() == TALK


def test_swapped_channels_are_the_same_sound_on_the_other_side() -> None:
    left, right = tone(300, 9.0), tone(900, 9.0)
    file = io.BytesIO(wav_of(left, right))

    wav.swap_channels(file, wav.read(file))

    found = wav.split(file, wav.read(file))
    assert np.array_equal(found[0], right)
    assert np.array_equal(found[1], left)


def test_one_channel_cannot_be_swapped() -> None:
    file = io.BytesIO(wav_of(tone(300, 0.1)))

    with pytest.raises(ValueError, match="two channels"):
        wav.swap_channels(file, wav.read(file))


def test_peaks_show_when_each_voice_speaks() -> None:
    silence = np.zeros(8000, np.int16)
    left = np.concatenate([tone(300, 1.0, peak=32_767), silence])
    right = np.concatenate([silence, tone(300, 1.0, peak=3_276)])
    file = io.BytesIO(wav_of(left, right))

    found = wav.peaks(file, wav.read(file), steps=8)

    assert found == [[100, 100, 100, 100, 0, 0, 0, 0], [0, 0, 0, 0, 10, 10, 10, 10]]


def test_the_faintest_sound_is_not_drawn_as_silence() -> None:
    left = np.zeros(8000, np.int16)
    left[4000] = -1
    file = io.BytesIO(wav_of(left, np.zeros(8000, np.int16)))

    found = wav.peaks(file, wav.read(file), steps=2)

    assert found == [[0, 1], [0, 0]]


@given(st.integers(1, 300_000), st.integers(1, 1500))
def test_there_are_never_more_peaks_than_steps_and_none_is_missed(frames: int, steps: int) -> None:
    left: Samples = np.zeros(frames, np.int16)
    left[-1] = 32_767
    file = io.BytesIO(wav_of(left, left))
    header = wav.read(file)

    found = wav.peaks(file, header, steps=steps)

    assert 1 <= len(found[0]) <= steps
    assert found[0][-1] == 100
    assert (len(found[0]) - 1) * wav.step_frames(header, steps=steps) < frames


def test_the_loudest_sample_counts_on_either_side() -> None:
    right = np.zeros(800, np.int16)
    right[7] = -32_768
    file = io.BytesIO(wav_of(np.zeros(800, np.int16), right))

    assert wav.loudest(file, wav.read(file)) == 32_768
