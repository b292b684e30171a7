"""When things happened on a stream, and how long the recipient waited for an answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from calls.core.brief import Brief, TurnDetection


class StreamClock:
    """Maps our monotonic clock to the stream's own, whose zero is its `start`.

    Frames arrive late by a varying delay; the one that was least late sets the clock.
    """

    def __init__(self, now: float, wall: datetime) -> None:
        self._started = now
        self._wall = wall
        self._offset_ms = now * 1000

    def frame_ended(self, end_ms: int, now: float) -> None:
        """A frame that ends at `end_ms` has just arrived."""
        self._offset_ms = min(self._offset_ms, now * 1000 - end_ms)

    def ms(self, now: float) -> int:
        """Milliseconds since the stream's start."""
        return int(now * 1000 - self._offset_ms)

    def iso(self, now: float) -> str:
        """The wall clock's time, UTC."""
        return (self._wall + timedelta(seconds=now - self._started)).isoformat()


@dataclass(slots=True)
class TurnTimer:
    """From the end of the recipient's speech to the agent's first audio."""

    silence_ms: int
    _speech_end_ms: int | None = None

    @classmethod
    def for_brief(cls, brief: Brief) -> TurnTimer:
        """`speech_stopped` comes after the silence that proves it, which `audio_end_ms` includes.

        Source: OpenAI, Realtime API reference, `input_audio_buffer.speech_stopped`.
        """
        is_fixed = brief.turn_detection is TurnDetection.SERVER_VAD
        return cls(brief.vad_silence_ms if is_fixed else 0)

    def speech_stopped(self, audio_end_ms: int) -> int:
        """Note and return when speech really ended, on the same clock as `audio_end_ms`."""
        self._speech_end_ms = audio_end_ms - self.silence_ms
        return self._speech_end_ms

    def answer_sent(self, at_ms: int) -> tuple[int | None, int | None]:
        """The end of the speech that this audio answers, and the latency; once per speech."""
        end, self._speech_end_ms = self._speech_end_ms, None
        return (None, None) if end is None else (end, max(at_ms - end, 0))
