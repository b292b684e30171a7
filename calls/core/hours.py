"""May this person be called at this instant? Decided in the local time of the person.

Where a number may lie in several zones, all of them must allow it; where the zone is not known,
nobody is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAY_MIN = 24 * 60
_SUNDAY = 6
# A week holds every rule; the days beside it hold every zone's date.
_DAYS_AHEAD = range(-1, 9)


@dataclass(frozen=True, slots=True)
class Window:
    """Part of a day in minutes since midnight, the end excluded; empty if calls are forbidden."""

    start_min: int
    end_min: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `09:00-20:00`, `00:00-24:00` or `closed`.

        Raises:
            ValueError: it is written otherwise, or ends before it begins.
        """
        if text == "closed":
            return cls(0, 0)
        start, _, end = text.partition("-")
        window = cls(_minutes(start), _minutes(end))
        if not 0 <= window.start_min < window.end_min <= _DAY_MIN:
            raise ValueError(f"{text}: write hours like 09:00-20:00, or closed")
        return window

    def holds(self, local: datetime) -> bool:
        """Whether the local time lies within."""
        return self.start_min <= local.hour * 60 + local.minute < self.end_min

    def __str__(self) -> str:
        if self.start_min == self.end_min:
            return "at no time"
        return f"from {_clock(self.start_min)} to {_clock(self.end_min)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call is allowed; if not, `reason` completes "The person …".

    `next_allowed` is the next instant (UTC) at which it would be, None if there is none within a
    week.
    """

    allowed: bool
    reason: str = ""
    next_allowed: datetime | None = None


def may_call(
    now: datetime, zones: Iterable[str], weekday_hours: Window, sunday_hours: Window
) -> Verdict:
    """Decide whether a person who may be in any of `zones` can be called at `now`.

    `weekday_hours` count from Monday to Saturday.
    """
    known = _known(zones)
    if not known:
        return Verdict(False, "has no known time zone: set one")
    closed = [zone for zone in known if not _open(now, zone, weekday_hours, sunday_hours)]
    if not closed:
        return Verdict(True)
    local = now.astimezone(closed[0])
    window = _window(local, weekday_hours, sunday_hours)
    reason = f"has {local:%H:%M} now ({closed[0].key}); calls are allowed {window}"
    if local.weekday() == _SUNDAY:
        reason += " on Sundays"
    return Verdict(False, reason, _next(now, known, weekday_hours, sunday_hours))


def _known(zones: Iterable[str]) -> list[ZoneInfo]:
    try:
        return [ZoneInfo(name) for name in zones]
    except (ZoneInfoNotFoundError, ValueError):
        return []


def _window(local: datetime, weekday_hours: Window, sunday_hours: Window) -> Window:
    return sunday_hours if local.weekday() == _SUNDAY else weekday_hours


def _open(now: datetime, zone: ZoneInfo, weekday_hours: Window, sunday_hours: Window) -> bool:
    local = now.astimezone(zone)
    return _window(local, weekday_hours, sunday_hours).holds(local)


def _next(
    now: datetime, zones: list[ZoneInfo], weekday_hours: Window, sunday_hours: Window
) -> datetime | None:
    # All are open from an instant on at which one of them opens.
    openings = sorted(
        opening
        for zone in zones
        for opening in _openings(now, zone, weekday_hours, sunday_hours)
        if opening > now
    )
    for instant in openings:
        if all(_open(instant, zone, weekday_hours, sunday_hours) for zone in zones):
            return instant
    return None


def _openings(
    now: datetime, zone: ZoneInfo, weekday_hours: Window, sunday_hours: Window
) -> Iterator[datetime]:
    today = now.astimezone(zone).date()
    for days in _DAYS_AHEAD:
        midnight = datetime.combine(today + timedelta(days=days), time(), zone)
        window = _window(midnight, weekday_hours, sunday_hours)
        if window.start_min < window.end_min:
            local = datetime.combine(
                midnight.date(), time(window.start_min // 60, window.start_min % 60), zone
            )
            yield local.astimezone(UTC)


def _minutes(text: str) -> int:
    hour, _, minute = text.partition(":")
    if not (hour.isdecimal() and minute.isdecimal() and int(minute) < 60):
        raise ValueError(f"{text}: write a time like 09:00")
    return int(hour) * 60 + int(minute)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
