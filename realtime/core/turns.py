"""The transcript as it grows: who said what, when, and how much of it was heard."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from calls.core.facts import TurnSaid

AGENT = "agent"
RECIPIENT = "recipient"


def heard_chars(text: str, heard_ms: int, generated_ms: int) -> int:
    """How much of `text` was heard: in proportion to the audio, cut back to whole words."""
    if generated_ms <= 0 or heard_ms <= 0:
        return 0
    if heard_ms >= generated_ms:
        return len(text)
    end = len(text) * heard_ms // generated_ms
    return max(text.rfind(" ", 0, end + 1), 0)


@dataclass(slots=True)
class _Open:
    fact: TurnSaid
    speech_end_ms: int | None = None
    late_ms: float = 0.0


class Turns:
    """Turns by item, in the order in which they began. Returns facts; remembers only open turns."""

    MAX_OPEN = 64
    MAX_CLOSED = 64

    def __init__(self, call_id: str, generation: int, origin_ms: int, first_position: int) -> None:
        self._call_id = call_id
        self._generation = generation
        self._origin_ms = origin_ms
        self._position = first_position
        self._open: dict[str, _Open] = {}
        self._closed: deque[str] = deque(maxlen=self.MAX_CLOSED)

    def begin(self, item_id: str, speaker: str, started_ms: int) -> TurnSaid:
        """A speaker begins; `started_ms` on the stream's clock. Repeating it changes nothing."""
        known = self._open.get(item_id)
        if known is not None:
            return known.fact
        while len(self._open) >= self.MAX_OPEN:
            # A turn whose end never came: it stays as it was last reported.
            self._open.pop(next(iter(self._open)))
        self._position += 1
        fact = TurnSaid(
            self._call_id,
            item_id,
            self._position,
            speaker,
            "",
            self._origin_ms + started_ms,
            generation=self._generation,
        )
        self._open[item_id] = _Open(fact)
        return fact

    def knows(self, item_id: str) -> bool:
        """Whether the item has been reported, and perhaps been closed since."""
        return item_id in self._open or item_id in self._closed

    def recipient_stopped(self, item_id: str, ended_ms: int) -> TurnSaid | None:
        return self._change(item_id, ended_ms=self._origin_ms + ended_ms)

    def recipient_said(self, item_id: str, text: str | None) -> TurnSaid | None:
        """The transcription arrived, or failed (None). Ends the turn."""
        fact = self._change(item_id, text=text or "", is_final=True)
        if self._open.pop(item_id, None) is not None:
            self._closed.append(item_id)
        return fact

    def agent_text(self, item_id: str, text: str) -> TurnSaid | None:
        """All text of the item so far."""
        return self._change(item_id, text=text)

    def text_of(self, item_id: str) -> str:
        known = self._open.get(item_id)
        return known.fact.text if known else ""

    def agent_sent(
        self, item_id: str, speech_end_ms: int | None, latency_ms: int | None
    ) -> TurnSaid | None:
        """The item's first audio left, as the answer to speech that ended then."""
        known = self._open.get(item_id)
        if known is None:
            return None
        known.speech_end_ms = speech_end_ms
        return self._change(item_id, latency_sent_ms=latency_ms)

    def agent_heard(self, item_id: str, at_ms: int) -> TurnSaid | None:
        """The item's first audio was played."""
        known = self._open.get(item_id)
        if known is None:
            return None
        end = known.speech_end_ms
        return self._change(
            item_id,
            started_ms=self._origin_ms + at_ms,
            latency_heard_ms=None if end is None else max(at_ms - end, 0),
        )

    def agent_ended(
        self, item_id: str, heard_ms: int, generated_ms: int, *, was_cut: bool
    ) -> TurnSaid | None:
        """The item was heard to its end, or cut off at `heard_ms`."""
        known = self._open.get(item_id)
        if known is None:
            return None
        return self._change(
            item_id,
            heard_ms=heard_ms,
            generated_ms=generated_ms,
            ended_ms=known.fact.started_ms + heard_ms,
            interrupted=was_cut,
            is_final=True,
        )

    def agent_late(self, item_id: str, length_ms: float) -> TurnSaid | None:
        """Audio of an item that was cut: generated, never played. Its text is on record too."""
        known = self._open.get(item_id)
        if known is None or not known.fact.is_final or known.fact.generated_ms is None:
            return None
        known.late_ms += length_ms
        whole = int(known.late_ms + 1e-6)
        known.late_ms -= whole
        return self._change(item_id, generated_ms=known.fact.generated_ms + whole)

    def is_unheard(self, item_id: str) -> bool:
        """Whether the item has ended without a sound."""
        known = self._open.get(item_id)
        return known is not None and known.fact.is_final and known.fact.heard_ms == 0

    def unfinished(self, speaker: str) -> list[str]:
        """Turns that have begun and not ended."""
        return [
            item_id
            for item_id, known in self._open.items()
            if known.fact.speaker == speaker and not known.fact.is_final
        ]

    def _change(self, item_id: str, **values: object) -> TurnSaid | None:
        known = self._open.get(item_id)
        if known is None:
            return None
        fact = replace(known.fact, **values)  # type: ignore[arg-type]
        if fact.heard_ms is not None and fact.generated_ms is not None:
            count = heard_chars(fact.text, fact.heard_ms, fact.generated_ms)
            fact = replace(fact, heard_chars=count)
        if fact == known.fact:
            return None
        known.fact = fact
        return fact
