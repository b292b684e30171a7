"""What a session wants done, collected in order until its shell takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from calls.core.facts import Fact, Happened
from realtime.core.effects import Effect, Record, ToModel

MAX_ENTRIES = 500


class Outbox:
    """Effects in order; numbers the entries of the call's timeline."""

    def __init__(self, call_id: str, generation: int, iso: Callable[[float], str]) -> None:
        self._call_id = call_id
        self._generation = generation
        self._iso = iso
        self._effects: list[Effect] = []
        self._entries = 0

    def add(self, effects: Iterable[Effect]) -> None:
        """More to do, after what is there."""
        self._effects += effects

    def send(self, text: str) -> None:
        """Tell the model."""
        self._effects.append(ToModel(text))

    def record(self, fact: Fact | None) -> None:
        """Write a fact down, if there is one."""
        if fact is not None:
            self._effects.append(Record(fact))

    def happened(self, kind: str, now: float, **data: str) -> None:
        """An entry of the timeline. A flood is no story: the first 500 are kept."""
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            return
        key = f"{self._generation}.{self._entries}.{kind}"
        self.record(Happened(self._call_id, key, kind, self._iso(now), dict(data)))

    def take(self) -> list[Effect]:
        """Everything collected since the last time."""
        effects, self._effects = self._effects, []
        return effects
