"""How long a conversation may be silent, and how long it may last."""

from __future__ import annotations

from enum import Enum, auto

WARN_BEFORE_END_S = 30.0


class Due(Enum):
    """What time has brought."""

    NOTHING = auto()
    WARNING = auto()
    TIME_IS_UP = auto()
    NUDGE = auto()
    NOBODY_THERE = auto()


class Patience:
    """Asks once into a silence, then gives up; warns before the time is up. Times in seconds."""

    def __init__(self, silence_s: float, ends_at: float) -> None:
        self._silence_s = silence_s
        self._ends_at = ends_at
        self._quiet_since: float | None = None
        self._has_asked = False
        self._has_warned = False

    def person_spoke(self) -> None:
        """There is somebody."""
        self._quiet_since = None
        self._has_asked = False

    def due(self, now: float, *, is_quiet: bool) -> Due:
        """What is to be done now; `is_quiet`: nobody speaks, and nothing is about to be said."""
        if now >= self._ends_at:
            return Due.TIME_IS_UP
        if not self._has_warned and now >= self._ends_at - WARN_BEFORE_END_S:
            self._has_warned = True
            return Due.WARNING
        return self._silence(now, is_quiet=is_quiet)

    def _silence(self, now: float, *, is_quiet: bool) -> Due:
        if not is_quiet:
            self._quiet_since = None
            return Due.NOTHING
        if self._quiet_since is None:
            self._quiet_since = now
        if now - self._quiet_since < self._silence_s:
            return Due.NOTHING
        self._quiet_since = None
        if self._has_asked:
            return Due.NOBODY_THERE
        self._has_asked = True
        return Due.NUDGE
