"""How the model speaks: recorded clips, and speech-like sound for every other text."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from sandbox.openai.audio import MODEL_HZ, RATE_HZ, Sound, encode, stretch, to_rate
from sandbox.openai.recognition import Known, Recogniser, known

MS_PER_CHARACTER = 65
_CACHED = 128

# Formants (Hz) of five vowels: enough for a babble with the rhythm and spectrum of speech.
_VOWELS = {"a": (730, 1090), "e": (530, 1840), "i": (270, 2290), "o": (570, 840), "u": (300, 870)}


class ClipLike(Protocol):
    """What the voice needs of a recorded sentence."""

    def __hash__(self) -> int: ...

    @property
    def id(self) -> str: ...
    @property
    def speaker(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def rate_hz(self) -> int: ...
    @property
    def pcm(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something said: the words, and its sound in the session's format."""

    text: str
    audio: bytes


class Voice:
    """Turns texts into audio; a text with a clip of the agent's is played, others are babbled."""

    def __init__(self, clips: Mapping[str, ClipLike]) -> None:
        self._clips = clips
        self._by_text = {plain(c.text): c for c in clips.values() if c.speaker == "agent"}
        self._cache: OrderedDict[tuple[str, str, str, float], bytes] = OrderedDict()

    def text_of(self, clip_id: str) -> str:
        """The words of a clip; raises KeyError for an unknown one."""
        return self._clips[clip_id].text

    def say(
        self, text: str, *, format: str, voice: str, speed: float = 1.0, clip: str | None = None
    ) -> Utterance:
        """Speak `text` (or the clip of that id); raises KeyError for an unknown clip."""
        chosen = self._clips[clip] if clip is not None else self._by_text.get(plain(text))
        key = (chosen.id if chosen else text, voice if chosen is None else "", format, speed)
        if key not in self._cache:
            sound = _recorded(chosen) if chosen else babble(text, voice)
            sound = to_rate(stretch(sound, speed), MODEL_HZ, RATE_HZ[format])
            self._cache[key] = encode(sound, format)
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return Utterance(text, self._cache[key])


def recogniser(clips: Mapping[str, ClipLike]) -> Recogniser:
    """A recogniser that knows every sentence of the people."""
    return Recogniser([_learn(c) for c in clips.values() if c.speaker != "agent"])


def plain(text: str) -> str:
    """A text without case, punctuation and spare spaces."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def babble(text: str, voice: str = "marin") -> Sound:
    """Speech-like sound of about 65 ms a character, the same for the same text and voice."""
    pitch_hz = 95 + hashlib.sha256(voice.encode()).digest()[0] % 130
    syllables = [_syllable(c, pitch_hz, n) for n, c in enumerate(text or " ")]
    return np.concatenate(syllables)


def _syllable(character: str, pitch_hz: float, place: int) -> Sound:
    samples = MODEL_HZ * MS_PER_CHARACTER // 1000
    if not character.isalnum():
        return np.zeros(samples, dtype=np.float32)
    t = np.arange(samples) / MODEL_HZ
    pitch = pitch_hz * (1 + 0.12 * np.sin(place * 0.7))
    first, second = _VOWELS["aeiou"[ord(character) % 5]]
    sound = np.zeros(samples)
    for harmonic in range(1, int(3_400 / pitch)):
        hz = harmonic * pitch
        gain = 1 / (1 + ((hz - first) / 120) ** 2) + 0.5 / (1 + ((hz - second) / 180) ** 2)
        sound += gain * np.sin(2 * np.pi * hz * t)
    swell = np.sin(np.pi * np.arange(samples) / samples) ** 0.5
    return (0.3 * swell * sound / max(float(np.abs(sound).max()), 1e-6)).astype(np.float32)


def _recorded(clip: ClipLike) -> Sound:
    sound = np.frombuffer(clip.pcm, dtype="<i2").astype(np.float32) / np.float32(32768)
    return to_rate(sound, clip.rate_hz, MODEL_HZ)


@lru_cache(maxsize=256)
def _learn(clip: ClipLike) -> Known:
    sound = np.frombuffer(clip.pcm, dtype="<i2").astype(np.float32) / np.float32(32768)
    return known(clip.id, clip.text, sound, clip.rate_hz)
