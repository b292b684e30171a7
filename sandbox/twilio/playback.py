"""The buffer from which the phone plays: what was queued, played, marked and dropped. No I/O.

Times are frames of the call: frame n lasts from n x 20 ms to (n + 1) x 20 ms after the answer.
`frame` is always the next one to be played; the one before it is on its way to the ear, and no
`clear` can call it back.

Source: Twilio, Media Streams WebSocket messages; twilio.md section D.3.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from sandbox.twilio.ulaw import FRAME_BYTES, FRAME_MS, SILENCE

BYTES_PER_MS = 8
LIMIT_BYTES = 10 * 60 * 1000 * BYTES_PER_MS
"""Ten minutes: what is queued beyond is thrown away (31931)."""


@dataclass(slots=True)
class Span:
    """One stretch of audio without a gap, in ms after the answer."""

    name: str | None
    start_ms: float
    end_ms: float


@dataclass(slots=True)
class MarkRecord:
    """What became of one mark."""

    name: str
    sent_ms: int
    echoed_ms: int | None = None
    flushed: bool = False
    """It came back because of a `clear`, before its audio was played."""


@dataclass(slots=True)
class ClearRecord:
    """One `clear` and what it threw away."""

    at_ms: int
    dropped_ms: float


@dataclass(slots=True)
class _Piece:
    """The audio between two marks; it is called after the mark that ends it."""

    name: str | None = None
    spans: list[Span] = field(default_factory=list)

    def rename(self, name: str) -> None:
        self.name = name
        for span in self.spans:
            span.name = name


class Playback:
    """One queue of audio on its way to the person's ear."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.marks: list[MarkRecord] = []
        self.clears: list[ClearRecord] = []
        self.heard_bytes = 0
        self.discarded_bytes = 0
        self._queue: deque[tuple[_Piece, bytearray]] = deque()
        self._queued_bytes = 0
        self._open: _Piece | None = None
        # A mark waits for this many bytes to have left the queue, played or dropped.
        self._added = 0
        self._gone = 0
        self._pending: deque[tuple[int, MarkRecord]] = deque()
        self._last_audio_frame = -1

    @property
    def queued_ms(self) -> float:
        return self._queued_bytes / BYTES_PER_MS

    def media(self, ulaw: bytes) -> bool:
        """Queue audio of any length; False if some was beyond the limit and thrown away."""
        room = LIMIT_BYTES - self._queued_bytes
        kept, lost = ulaw[:room], len(ulaw) - min(len(ulaw), room)
        if kept:
            self._append(kept)
        self.discarded_bytes += lost
        return lost == 0

    def _append(self, ulaw: bytes) -> None:
        if self._open is None:
            self._open = _Piece()
        if self._queue and self._queue[-1][0] is self._open:
            self._queue[-1][1].extend(ulaw)
        else:
            self._queue.append((self._open, bytearray(ulaw)))
        self._queued_bytes += len(ulaw)
        self._added += len(ulaw)

    def mark(self, name: str, frame: int) -> bool:
        """Put a mark behind the audio; True if it must be echoed at once."""
        if self._open is not None:
            self._open.rename(name)
            self._open = None
        record = MarkRecord(name, frame * FRAME_MS)
        self.marks.append(record)
        is_idle = not self._queued_bytes and self._last_audio_frame < frame - 1
        if is_idle:
            record.echoed_ms = frame * FRAME_MS
        else:
            self._pending.append((self._added, record))
        return is_idle

    def clear(self, frame: int) -> list[str]:
        """Throw away what was not played; returns the marks to echo at once, in order."""
        now_ms = frame * FRAME_MS
        self.clears.append(ClearRecord(now_ms, self._queued_bytes / BYTES_PER_MS))
        for end, record in self._pending:
            record.echoed_ms, record.flushed = now_ms, end > self._gone
        names = [record.name for _, record in self._pending]
        self._pending.clear()
        self._queue.clear()
        self._open = None
        self._gone, self._queued_bytes = self._added, 0
        return names

    def due(self, frame: int) -> list[str]:
        """The marks whose audio had been played when `frame` began; each is returned once."""
        names = []
        while self._pending and self._pending[0][0] <= self._gone:
            _, record = self._pending.popleft()
            record.echoed_ms = frame * FRAME_MS
            names.append(record.name)
        return names

    def pull(self, frame: int) -> bytes:
        """Take the audio of one frame: 160 bytes, silence where the queue has run dry."""
        if not self._queued_bytes:
            return SILENCE
        taken = bytearray()
        while self._queue and len(taken) < FRAME_BYTES:
            piece, audio = self._queue[0]
            part = bytes(audio[: FRAME_BYTES - len(taken)])
            del audio[: len(part)]
            if not audio:
                self._queue.popleft()
            self._note(piece, frame, len(taken), len(part))
            taken += part
        self._last_audio_frame = frame
        self._gone += len(taken)
        self.heard_bytes += len(taken)
        self._queued_bytes -= len(taken)
        return bytes(taken).ljust(FRAME_BYTES, b"\xff")

    def _note(self, piece: _Piece, frame: int, offset: int, length: int) -> None:
        start = frame * FRAME_MS + offset / BYTES_PER_MS
        end = start + length / BYTES_PER_MS
        if piece.spans and piece.spans[-1].end_ms == start:
            piece.spans[-1].end_ms = end
        else:
            span = Span(piece.name, start, end)
            piece.spans.append(span)
            self.spans.append(span)

    def segments(self) -> list[tuple[float, float]]:
        """When there was audio at all, whatever it was called."""
        merged: list[tuple[float, float]] = []
        for span in self.spans:
            if merged and merged[-1][1] == span.start_ms:
                merged[-1] = (merged[-1][0], span.end_ms)
            else:
                merged.append((span.start_ms, span.end_ms))
        return merged
