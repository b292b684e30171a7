"""How the model hears: the input buffer, who is speaking, and which sentence that was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sandbox.openai.audio import BYTES_PER_MS, RATE_HZ, decode

WINDOW_MS = 20
_ONSET_WINDOWS = 3
"""A click is not speech: so many windows in a row must be loud."""
_HYSTERESIS = 0.15
"""Speech goes on down to this much below the threshold, as with Silero's detector."""
_KEEP_MS = 60_000

# The longest that semantic_vad waits for more, and what it waits after a finished sentence.
# Source: OpenAI, Realtime VAD guide (8, 4 and 2 s); the shorter waits are ours.
SEMANTIC_MAX_MS = {"low": 8_000, "medium": 4_000, "auto": 4_000, "high": 2_000}
SEMANTIC_DONE_MS = {"low": 1_500, "medium": 800, "auto": 800, "high": 500}


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Someone began to speak; `start_ms` is back-dated by the padding."""

    start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The turn is over; `end_ms` includes the silence that ended it."""

    start_ms: int
    end_ms: int


Heard = SpeechStarted | SpeechStopped


@dataclass(frozen=True, slots=True)
class Detection:
    """The settings of `turn_detection` that the ear needs."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_ms: int = 500
    patience_ms: int = 0
    """How long to wait instead for someone who has broken off in mid-sentence; 0: no longer."""

    @classmethod
    def of(cls, settings: dict[str, Any] | None) -> Detection | None:
        """Read the session's `turn_detection`; None means that the client commits by hand."""
        if settings is None:
            return None
        if settings["type"] == "semantic_vad":
            eagerness = settings["eagerness"]
            return cls(
                silence_ms=SEMANTIC_DONE_MS[eagerness], patience_ms=SEMANTIC_MAX_MS[eagerness]
            )
        return cls(
            settings["threshold"], settings["prefix_padding_ms"], settings["silence_duration_ms"]
        )


@dataclass
class Ear:
    """The input audio buffer of one session, with its voice activity detector.

    Positions are milliseconds of audio ever appended, which is how the API counts them.
    """

    format: str
    detection: Detection | None
    is_finished: Callable[[bytes, str], bool]
    """Tells `semantic_vad` whether a sentence was said to its end."""
    appended_bytes: int = 0
    speaking_since_ms: int | None = None
    _buffer: bytearray = field(default_factory=bytearray)
    _base: int = 0  # appended bytes that stand before the buffer
    _unheard: bytearray = field(default_factory=bytearray)
    _heard_ms: int = 0
    _turn_end_ms: int = 0  # where the last turn ended; no later one begins before
    _loud: int = 0
    _quiet_ms: int = 0
    _is_patient: bool = False
    _offset_ms: float = 0.0  # audio that was appended in an earlier format

    @property
    def position_ms(self) -> int:
        """How much audio has been appended in all."""
        return int(self._offset_ms + self.appended_bytes / BYTES_PER_MS[self.format])

    @property
    def buffered_ms(self) -> float:
        """How much of it waits to be committed."""
        return len(self._buffer) / BYTES_PER_MS[self.format]

    def configure(self, format: str, detection: Detection | None) -> None:
        """Take on new settings; a changed format empties the buffer, it could not be mixed."""
        if format != self.format:
            self._offset_ms += self.appended_bytes / BYTES_PER_MS[self.format]
            self.format = format
            self.appended_bytes = self._base = 0
            self._buffer.clear()
            self._unheard.clear()
            self._heard_ms = int(self._offset_ms)
        if detection != self.detection:
            self.detection = detection
            self._forget_speech()

    def append(self, data: bytes) -> list[Heard]:
        """Add audio; return what the detector noticed in it, in order."""
        self._trim()  # only now: the turns in the last piece have been taken
        self._buffer += data
        self.appended_bytes += len(data)
        if self.detection is None:
            self._heard_ms = self.position_ms
            return []
        self._unheard += data
        return self._listen(self.detection)

    def clear(self) -> None:
        """Drop what has not been committed."""
        self._base = self.appended_bytes
        self._buffer.clear()
        self._forget_speech()

    def take(self, start_ms: int | None = None, end_ms: int | None = None) -> bytes:
        """Remove and return the uncommitted audio, or the part between two positions."""
        start = self._index(start_ms) if start_ms is not None else 0
        end = self._index(end_ms) if end_ms is not None else len(self._buffer)
        taken = bytes(self._buffer[start:end])
        del self._buffer[:end]
        self._base += end
        if end_ms is None:
            self._forget_speech()
        return taken

    def _index(self, position_ms: int) -> int:
        per_ms = BYTES_PER_MS[self.format]
        index = int((position_ms - self._offset_ms) * per_ms) - self._base
        return min(max(0, index), len(self._buffer))

    def _trim(self) -> None:
        extra = len(self._buffer) - _KEEP_MS * BYTES_PER_MS[self.format]
        if extra > 0:
            del self._buffer[:extra]
            self._base += extra

    def _forget_speech(self) -> None:
        self.speaking_since_ms = None
        self._loud = self._quiet_ms = 0
        self._is_patient = False

    def _listen(self, detection: Detection) -> list[Heard]:
        size = WINDOW_MS * BYTES_PER_MS[self.format]
        whole = len(self._unheard) - len(self._unheard) % size
        if not whole:
            return []
        chunk = bytes(self._unheard[:whole])
        del self._unheard[:whole]
        heard: list[Heard] = []
        for likely in loudness(chunk, self.format):
            self._heard_ms += WINDOW_MS
            noticed = self._notice(float(likely), detection)
            if noticed is not None:
                heard.append(noticed)
        return heard

    def _notice(self, likely: float, detection: Detection) -> Heard | None:
        if self.speaking_since_ms is None:
            self._loud = self._loud + 1 if likely >= detection.threshold else 0
            if self._loud < _ONSET_WINDOWS:
                return None
            onset = self._heard_ms - self._loud * WINDOW_MS
            floor = int(self._offset_ms + self._base / BYTES_PER_MS[self.format])
            floor = max(floor, self._turn_end_ms)
            self.speaking_since_ms = max(floor, onset - detection.prefix_padding_ms)
            self._loud = self._quiet_ms = 0
            return SpeechStarted(self.speaking_since_ms)
        if likely >= detection.threshold - _HYSTERESIS:
            self._quiet_ms = 0
            self._is_patient = False
            return None
        self._quiet_ms += WINDOW_MS
        if self._quiet_ms < (detection.patience_ms if self._is_patient else detection.silence_ms):
            return None
        if detection.patience_ms and not self._is_patient:
            begin, now = self._index(self.speaking_since_ms), self._index(self._heard_ms)
            so_far = self._buffer[begin:now]
            if not self.is_finished(bytes(so_far), self.format):
                self._is_patient = True
                return None
        stopped = SpeechStopped(self.speaking_since_ms, self._heard_ms)
        self._turn_end_ms = self._heard_ms
        self._forget_speech()
        return stopped


def loudness(data: bytes, format: str) -> Iterable[float]:
    """For each window of 20 ms how surely it is speech: 0 at -60 dBFS, 0.5 at -40, 1 at -20."""
    sound = decode(data, format).reshape(-1, RATE_HZ[format] * WINDOW_MS // 1000)
    power = np.mean(np.square(sound), axis=1) + 1e-12
    likely: list[float] = np.clip((10 * np.log10(power) + 60) / 40, 0.0, 1.0).tolist()
    return likely
