"""Which recorded sentence a piece of audio holds, told by its sound alone.

The fingerprint is the course of 16 band energies over time. A clip is found wherever it stands in
the audio, whole or cut at either end, after mu-law and resampling; loudness does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sandbox.openai.audio import PHONE_HZ, RATE_HZ, Sound, decode, to_rate

Print = NDArray[np.float32]

UNINTELLIGIBLE = "(unintelligible)"
HOP_MS = 10
_HOP = PHONE_HZ * HOP_MS // 1000
_FRAME = 256
_BANDS = 16
_RANGE = 1e-3  # 30 dB below the loudest moment everything is silence
_ALIKE = 0.78
_SHORTEST = 20  # frames; less is a click or a breath
_WHOLE = 0.93  # of a clip; beyond that only an echo is missing
_LEAST_SHARE = 0.4  # of a clip that must have been heard


@dataclass(frozen=True, slots=True)
class Known:
    """A sentence that the model can recognise."""

    id: str
    text: str
    print: Print


@dataclass(frozen=True, slots=True)
class Match:
    """A sentence that was heard: where (frames of 10 ms), how surely, and whether to its end."""

    known: Known
    start: int
    end: int
    score: float
    to_its_end: bool


def known(id: str, text: str, sound: Sound, rate_hz: int) -> Known:
    """Learn a sentence."""
    return Known(id, text, fingerprint(_trimmed(to_rate(sound, rate_hz, PHONE_HZ))))


def fingerprint(sound: Sound) -> Print:
    """Sound at 8 kHz to frames x bands of log energy, each band around its own mean."""
    if len(sound) < _FRAME:
        return np.zeros((0, _BANDS), dtype=np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(sound, _FRAME)[::_HOP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(_FRAME), axis=1)) ** 2
    energy = spectrum @ _filters().T
    level = np.log(energy + _RANGE * energy.max() + 1e-9)
    centred: Print = (level - level.mean(axis=0)).astype(np.float32)
    return centred


class Recogniser:
    """Recognises the sentences it was taught."""

    def __init__(self, sentences: Sequence[Known]) -> None:
        self._sentences = [s for s in sentences if len(s.print)]

    def recognise(self, data: bytes, format: str) -> list[Match]:
        """Return the known sentences in a turn, in the order they were spoken."""
        sound = to_rate(decode(data, format), RATE_HZ[format], PHONE_HZ)
        start, end = _active(sound)
        return self._search(sound[start:end], start // _HOP, depth=3)

    def transcript(self, data: bytes, format: str) -> str:
        """Return what was said, or "(unintelligible)"."""
        matches = self.recognise(data, format)
        return " ".join(m.known.text for m in matches) or UNINTELLIGIBLE

    def is_finished(self, data: bytes, format: str) -> bool:
        """Whether the person seems to have said it all: no sentence broke off in the middle."""
        matches = self.recognise(data, format)
        return not matches or matches[-1].to_its_end

    def _search(self, sound: Sound, offset: int, depth: int) -> list[Match]:
        heard = fingerprint(sound)
        if len(heard) < _SHORTEST or not depth:
            return []
        found = [m for s in self._sentences if (m := _best(heard, s)) is not None]
        if not found:
            return []
        # Of two that fit, the one that explains more of what was heard is meant.
        best = max(found, key=lambda m: m.score * min(1.0, (m.end - m.start) / len(heard) + 0.5))
        before, after = sound[: best.start * _HOP], sound[best.end * _HOP :]
        return [
            *self._search(before, offset, depth - 1),
            replace(best, start=offset + best.start, end=offset + best.end),
            *self._search(after, offset + best.end, depth - 1),
        ]


def _best(heard: Print, sentence: Known) -> Match | None:
    """The place where a sentence fits best, if it fits anywhere."""
    n, m = len(heard), len(sentence.print)
    size = 1 << (n + m - 1).bit_length()
    # Correlation of all bands at once; position k means that the clip begins at k - (m - 1).
    product = np.fft.rfft(heard, size, axis=0) * np.fft.rfft(sentence.print[::-1], size, axis=0)
    dot = np.fft.irfft(product.sum(axis=1), size)[: n + m - 1]
    begin = np.arange(n + m - 1) - (m - 1)
    low, high = np.maximum(begin, 0), np.minimum(begin + m, n)
    ours, theirs = _energy(heard), _energy(sentence.print)
    norm = np.sqrt((ours[high] - ours[low]) * (theirs[high - begin] - theirs[low - begin])) + 1e-6
    enough = (high - low) >= max(_SHORTEST, _LEAST_SHARE * m)
    score = np.where(enough, dot / norm, -1.0)
    k = int(np.argmax(score))
    if score[k] < _ALIKE:
        return None
    to_its_end = high[k] - begin[k] >= _WHOLE * m
    return Match(sentence, int(low[k]), int(high[k]), float(score[k]), bool(to_its_end))


def _energy(print: Print) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.square(print).sum(axis=1, dtype=np.float64))])


def _active(sound: Sound) -> tuple[int, int]:
    """Where the audible part begins and ends, in samples."""
    whole = len(sound) - len(sound) % _HOP
    if not whole:
        return 0, 0
    power = np.mean(np.square(sound[:whole].reshape(-1, _HOP)), axis=1)
    loud = np.flatnonzero(power > max(float(power.max()) * _RANGE, 1e-6))
    if not len(loud):
        return 0, 0
    return int(loud[0]) * _HOP, (int(loud[-1]) + 1) * _HOP


def _trimmed(sound: Sound) -> Sound:
    start, end = _active(sound)
    return sound[start:end]


@lru_cache(maxsize=1)
def _filters() -> NDArray[np.float32]:
    """Triangles on a mel-like scale, 200 to 3400 Hz: what a telephone lets through."""

    def mel(hz: float) -> float:
        return float(np.log10(1 + hz / 700))

    points = 700 * (10 ** np.linspace(mel(200), mel(3400), _BANDS + 2) - 1)
    hz = np.arange(_FRAME // 2 + 1) * PHONE_HZ / _FRAME
    low, mid, high = points[:-2, None], points[1:-1, None], points[2:, None]
    return np.clip(
        np.minimum((hz - low) / (mid - low), (high - hz) / (high - mid)), 0, None
    ).astype(np.float32)
