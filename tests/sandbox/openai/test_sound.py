"""Formats, recognition and speech: the sandbox's own, checked against the standards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sandbox import clips
from sandbox.openai.audio import (
    MODEL_HZ,
    PCM,
    PCMA,
    PCMU,
    PHONE_HZ,
    Sound,
    decode,
    encode,
    stretch,
    to_rate,
)
from sandbox.openai.hearing import loudness
from sandbox.openai.recognition import Recogniser
from sandbox.openai.voice import MS_PER_CHARACTER, Voice, babble, recogniser

SENTENCES = [c for c in clips.load().values() if c.speaker == "person" and c.id != "person.beep"]


def _sound(clip: clips.Clip) -> Sound:
    return np.frombuffer(clip.pcm, dtype="<i2").astype(np.float32) / np.float32(32768)


def _sine(hz: float, rate_hz: int, seconds: float = 0.5) -> Sound:
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def _rms_db(sound: Sound) -> float:
    return float(10 * np.log10(np.mean(np.square(sound)) + 1e-12))


@pytest.mark.parametrize(
    ("format", "code", "sample"),
    # ITU-T G.711, tables 1 and 2, as 16-bit samples.
    [
        (PCMU, 0xFF, 0), (PCMU, 0x80, 32124), (PCMU, 0x00, -32124), (PCMU, 0xFE, 8),
        (PCMA, 0xD5, 8), (PCMA, 0x55, -8), (PCMA, 0xAA, 32256), (PCMA, 0x2A, -32256),
    ],
)  # fmt: skip
def test_companding_follows_g711(format: str, code: int, sample: int) -> None:
    assert round(float(decode(bytes([code]), format)[0]) * 32768) == sample


@pytest.mark.parametrize("format", [PCMU, PCMA])
def test_every_code_survives_decoding_and_encoding(format: str) -> None:
    codes = bytes(c for c in range(256) if format == PCMA or c != 0x7F)

    assert encode(decode(codes, format), format) == codes


def test_silence_is_ff_in_mu_law() -> None:
    assert encode(np.zeros(3, dtype=np.float32), PCMU) == b"\xff\xff\xff"


@pytest.mark.parametrize("hz", [300, 1000, 3000])
def test_speech_band_passes_both_ways(hz: float) -> None:
    there = to_rate(_sine(hz, MODEL_HZ), MODEL_HZ, PHONE_HZ)

    back = to_rate(there, PHONE_HZ, MODEL_HZ)

    assert _rms_db(back[2400:-2400]) == pytest.approx(_rms_db(_sine(hz, MODEL_HZ)), abs=0.5)


def test_what_a_telephone_cannot_carry_is_not_folded_into_the_voice() -> None:
    high = to_rate(_sine(5500, MODEL_HZ), MODEL_HZ, PHONE_HZ)

    assert _rms_db(high[800:-800]) < -60


def test_other_rates_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="16000"):
        to_rate(_sine(300, 16_000), 16_000, MODEL_HZ)


def test_stretching_changes_the_length() -> None:
    assert len(stretch(_sine(300, MODEL_HZ, 1.0), 1.25)) == pytest.approx(19_200, abs=1)


@pytest.mark.parametrize(("level", "likely"), [(1.0, 1.0), (0.01414, 0.5), (0.0, 0.0)])
def test_loudness_runs_from_minus_60_to_minus_20_dbfs(level: float, likely: float) -> None:
    sound = (level * 2 * _sine(500, MODEL_HZ, 0.1)).astype(np.float32)

    windows = list(loudness(encode(sound, PCM), PCM))

    assert windows[0] == pytest.approx(likely, abs=0.02)


@pytest.fixture(scope="module")
def ear() -> Recogniser:
    """A recogniser that knows the people's clips."""
    return recogniser(clips.load())


def _padded(sound: Sound) -> Sound:
    quiet = np.zeros(PHONE_HZ // 3, dtype=np.float32)
    return np.concatenate([quiet, sound, quiet])


def _noisy(sound: Sound) -> Sound:
    noise = np.random.default_rng(1).normal(0, 0.003, len(sound)).astype(np.float32)
    return _padded(sound + noise)


WAYS: dict[str, Callable[[Sound], tuple[bytes, str]]] = {
    "mu-law": lambda s: (encode(_padded(s), PCMU), PCMU),
    "A-law": lambda s: (encode(_padded(s), PCMA), PCMA),
    "24 kHz": lambda s: (encode(to_rate(_padded(s), PHONE_HZ, MODEL_HZ), PCM), PCM),
    "mu-law, then 24 kHz": lambda s: (
        encode(to_rate(decode(encode(_padded(s), PCMU), PCMU), PHONE_HZ, MODEL_HZ), PCM),
        PCM,
    ),
    "without a filter": lambda s: (encode(np.repeat(_padded(s), 3), PCM), PCM),
    "quiet": lambda s: (encode(_padded(s) * np.float32(0.15), PCMU), PCMU),
    "noisy": lambda s: (encode(_noisy(s), PCMU), PCMU),
    "first quarter lost": lambda s: (encode(s[len(s) // 4 :], PCMU), PCMU),
    "last quarter lost": lambda s: (encode(s[: len(s) * 3 // 4], PCMU), PCMU),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_sentence_is_recognised_by_its_sound(ear: Recogniser, way: str) -> None:
    heard = {c.id: ear.transcript(*WAYS[way](_sound(c))) for c in SENTENCES}

    assert heard == {c.id: c.text for c in SENTENCES}


def test_sentences_in_one_turn_are_heard_in_order(ear: Recogniser) -> None:
    known = clips.load()
    ids = ("person.hello", "person.yes_friday", "person.goodbye")
    sound = np.concatenate([_sound(known[i]) for i in ids])

    assert ear.transcript(encode(sound, PCMU), PCMU) == "Hello? Yes, Friday is fine. Goodbye!"


def test_strange_sounds_are_unintelligible(ear: Recogniser) -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, PHONE_HZ).astype(np.float32)
    strange = [noise, _sine(440, PHONE_HZ, 1.0), np.zeros(PHONE_HZ, dtype=np.float32)]

    heard = [ear.transcript(encode(s, PCMU), PCMU) for s in strange]

    assert heard == ["(unintelligible)"] * 3


def test_the_agents_own_voice_is_not_taken_for_a_person(ear: Recogniser) -> None:
    agent = [c for c in clips.load().values() if c.speaker == "agent"]

    heard = {c.id: ear.transcript(encode(_sound(c), PCM), PCM) for c in agent}

    assert set(heard.values()) == {"(unintelligible)"}


def test_broken_off_sentence_is_not_finished(ear: Recogniser) -> None:
    sound = _sound(clips.load()["person.thinks"])

    assert ear.is_finished(encode(sound, PCMU), PCMU)
    assert not ear.is_finished(encode(sound[: len(sound) // 2], PCMU), PCMU)


def test_babble_lasts_65_ms_a_character_and_is_always_the_same() -> None:
    text = "Something nobody has recorded."

    sound = babble(text, "marin")

    assert len(sound) == len(text) * MS_PER_CHARACTER * MODEL_HZ // 1000
    assert np.array_equal(sound, babble(text, "marin"))
    assert not np.array_equal(sound, babble(text, "cedar"))
    assert 0.1 < float(np.abs(sound).max()) <= 0.5


def test_recorded_sentence_is_found_by_its_words() -> None:
    voice = Voice(clips.load())
    clip = clips.load()["agent.goodbye"]

    said = voice.say("thank you -- GOODBYE", format=PCM, voice="marin")

    assert said.audio == clip.pcm
