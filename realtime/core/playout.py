"""What of the agent's speech was sent, played and heard.

Twilio plays queued audio in real time and returns a mark when all audio before it was played.
Between two receipts the clock tells how far playback has come; it can never have passed a mark
that has not come back. A clear flushes the queue and makes every pending mark come back at once:
those receipts prove nothing, so each clear starts a new epoch and old names are ignored.

Source: Twilio, "Media Streams - WebSocket Messages": media, mark, clear.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from realtime.core.media_streams import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, SILENCE

FIRST_MARK_MS = 100
MARK_EVERY_MS = 500
# Receipts that differ by more than this did not come from one uninterrupted playback.
JITTER_S = 0.1


@dataclass(slots=True)
class Item:
    """One audio item of the agent: `start_ms` is its place in this epoch's queue."""

    item_id: str
    response_id: str
    start_ms: int
    sent_ms: int = 0
    generated_ms: float = 0.0
    is_complete: bool = False
    first_sent_at: float = 0.0
    first_heard_at: float | None = None

    @property
    def whole_ms(self) -> int:
        """What was generated, in whole ms; the dust of summed fractions does not cost one."""
        return int(self.generated_ms + 1e-6)


@dataclass(frozen=True, slots=True)
class Cut:
    """An item that was stopped: `heard_ms` of the `generated_ms` so far reached the ear."""

    item_id: str
    heard_ms: int
    generated_ms: int
    is_complete: bool = False

    @property
    def was_cut(self) -> bool:
        """Whether anything of it was, or would have been, left to hear."""
        return not self.is_complete or self.heard_ms < self.generated_ms


@dataclass(frozen=True, slots=True)
class Piece:
    """Next on the wire: whole frames of mu-law, then a mark if `mark` is not empty."""

    ulaw: bytes
    mark: str = ""


@dataclass(slots=True)
class _Mark:
    name: str
    at_ms: int


class Playout:
    """The bookkeeping of one stream's queue. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._epoch = 0
        self._reset()

    def _reset(self) -> None:
        self._epoch += 1
        self._count = 0
        self._queued_ms = 0  # sent in this epoch
        self._marks: deque[_Mark] = deque()
        self._next_mark_ms = FIRST_MARK_MS
        self._proven_ms = 0
        self._proven_at = 0.0
        # When the queue's first millisecond would have been played, had it all played in one go.
        self._origin = 0.0
        self._is_origin_proven = False
        self._items: list[Item] = []
        self._rest = b""

    # -- sending ---------------------------------------------------------------------------------
    def send(
        self, item_id: str, response_id: str, ulaw: bytes, generated_ms: float, now: float
    ) -> list[Piece]:
        """Queue audio of an item, `generated_ms` long at the model; any number of bytes."""
        item = self._items[-1] if self._items else None
        if item is None or item.item_id != item_id:
            item = self._begin(item_id, response_id, now)
        item.generated_ms += generated_ms
        item.is_complete = False  # else what follows its end would never be confirmed
        data = self._rest + ulaw
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        return self._pieces(item, data[:whole], now)

    def complete(self, item_id: str, ulaw: bytes, now: float) -> list[Piece]:
        """The item is whole; `ulaw` is its tail. Pads the last frame with silence and marks it."""
        item = self._items[-1] if self._items else None
        if item is None or item.item_id != item_id or item.is_complete:
            return []
        item.is_complete = True
        data = self._rest + ulaw
        self._rest = b""
        if len(data) % FRAME_BYTES:
            data += SILENCE * (FRAME_BYTES - len(data) % FRAME_BYTES)
        pieces = self._pieces(item, data, now)
        if not (self._marks and self._marks[-1].at_ms == self._queued_ms) and item.sent_ms:
            pieces.append(Piece(b"", self._mark()))
        return pieces

    def _begin(self, item_id: str, response_id: str, now: float) -> Item:
        if self._rest:
            # The last item was not completed: what is left of it must not shift this one.
            self._rest = b""
        item = Item(item_id, response_id, self._queued_ms)
        self._items.append(item)
        self._next_mark_ms = self._queued_ms + FIRST_MARK_MS
        self._forget_heard(now)
        return item

    def _pieces(self, item: Item, data: bytes, now: float) -> list[Piece]:
        if not data:
            return []
        if self.unplayed_ms(now) <= 0:
            # Nothing is queued: this audio starts to play as it arrives.
            self._proven_ms, self._proven_at = self._queued_ms, now
            self._origin = now - self._queued_ms / 1000
            self._is_origin_proven = False
        if not item.sent_ms:
            item.first_sent_at = now
        pieces = []
        while data:
            room = max(self._next_mark_ms - self._queued_ms, 0) * BYTES_PER_MS
            room = max(room - room % FRAME_BYTES, FRAME_BYTES)
            head, data = data[:room], data[room:]
            length_ms = len(head) // BYTES_PER_MS
            self._queued_ms += length_ms
            item.sent_ms += length_ms
            if self._queued_ms >= self._next_mark_ms:
                pieces.append(Piece(head, self._mark()))
            else:
                pieces.append(Piece(head))
        return pieces

    def _mark(self) -> str:
        self._count += 1
        name = f"e{self._epoch}-{self._count}"
        self._marks.append(_Mark(name, self._queued_ms))
        self._next_mark_ms = self._queued_ms + MARK_EVERY_MS
        return name

    # -- receipts --------------------------------------------------------------------------------
    def played(self, name: str, now: float) -> list[Item]:
        """A mark came back; returns the items that have thereby begun to be heard, in order.

        Names of an earlier epoch, repeated and invented ones are ignored. A mark that was lost
        is passed over: a later one proves more.
        """
        if not any(mark.name == name for mark in self._marks):
            return []
        while True:
            mark = self._marks.popleft()
            if mark.name == name:
                break
        self._proven_ms, self._proven_at = mark.at_ms, now
        self._learn_origin(now - mark.at_ms / 1000)
        begun = []
        for item in self._items:
            if item.first_heard_at is None and item.start_ms < mark.at_ms:
                behind_s = (mark.at_ms - item.start_ms) / 1000
                item.first_heard_at = max(now - behind_s, item.first_sent_at)
                begun.append(item)
        return begun

    def _learn_origin(self, seen: float) -> None:
        """Of the receipts of one run, the least late one tells best; a jump is a new run."""
        is_jitter = abs(seen - self._origin) < JITTER_S
        if self._is_origin_proven and is_jitter:
            self._origin = min(self._origin, seen)
        else:
            self._origin, self._is_origin_proven = seen, True

    # -- questions -------------------------------------------------------------------------------
    def position_ms(self, now: float) -> int:
        """How far playback has come in this epoch's queue: proven by marks, then by the clock."""
        # Audio behind the last mark (too little to be worth one yet) runs by the clock alone.
        limit = self._marks[0].at_ms if self._marks else self._queued_ms
        # Floor, but not by the dust of binary fractions.
        by_clock = int((now - self._origin) * 1000 + 1e-6)
        return max(self._proven_ms, min(by_clock, limit))

    def unplayed_ms(self, now: float) -> int:
        """Audio that is still to be played."""
        return self._queued_ms - self.position_ms(now)

    def is_proven_idle(self) -> bool:
        """Every mark has come back, and the last item ends with one."""
        return not self._marks and not self._rest and self._proven_ms >= self._queued_ms

    def overdue_s(self, now: float) -> float:
        """How long the oldest mark is overdue; negative while it is not."""
        if not self._marks:
            return -1.0
        return (now - self._proven_at) - (self._marks[0].at_ms - self._proven_ms) / 1000

    def heard_ms(self, item: Item, now: float) -> int:
        """Of this item: the frame being played counts; never more than was generated."""
        position_ms = self.position_ms(now) - item.start_ms
        whole_ms = -(-position_ms // FRAME_MS) * FRAME_MS
        return max(min(whole_ms, item.sent_ms, item.whole_ms), 0)

    def responses(self) -> set[str]:
        """The responses whose audio is, or may still be, on its way to the ear."""
        return {item.response_id for item in self._items}

    def items_of(self, response_id: str) -> list[str]:
        """Items of a response that are not complete yet."""
        return [
            item.item_id
            for item in self._items
            if item.response_id == response_id and not item.is_complete
        ]

    def finished(self, now: float) -> list[Item]:
        """Take out the complete items that were proven to be heard to their end."""
        done = [
            item
            for item in self._items
            if item.is_complete and item.start_ms + item.sent_ms <= self._proven_ms
        ]
        if done:
            self._items = [item for item in self._items if item not in done]
        return done

    # -- interruption ----------------------------------------------------------------------------
    def cut(self, now: float) -> list[Cut]:
        """Stop everything: what was heard of each unfinished item, in order. Starts an epoch."""
        cuts = [
            Cut(item.item_id, self.heard_ms(item, now), item.whole_ms, item.is_complete)
            for item in self._items
        ]
        self._reset()
        return cuts

    def _forget_heard(self, now: float) -> None:
        # Bounded: a conversation has few items in flight, but a mark may never come back.
        if len(self._items) > 64:
            del self._items[0]
