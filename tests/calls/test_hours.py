"""When people may be called, in their own local time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from calls.core.hours import Verdict, Window, may_call

WEEKDAYS, SUNDAYS = Window.parse("09:00-20:00"), Window.parse("12:00-20:00")
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
ZONES = sorted(available_timezones() - {"Factory", "localtime"})
# Two days around each change of clocks in these zones, and the zones with odd offsets.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, 0, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, 0, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, 0, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, 0, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 6, 1, 0, 0, tzinfo=UTC)),
    ("Pacific/Chatham", datetime(2026, 9, 26, 14, 0, tzinfo=UTC)),
    ("Pacific/Kiritimati", datetime(2026, 6, 7, 0, 0, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, 0, tzinfo=UTC)),
]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("09:00-20:00", (540, 1200)), ("00:00-24:00", (0, 1440)), ("closed", (0, 0))],
)
def test_hours_are_written_like_this(text: str, minutes: tuple[int, int]) -> None:
    window = Window.parse(text)

    assert (window.start_min, window.end_min) == minutes


@pytest.mark.parametrize(
    "text", ["", "9-20", "09:00", "20:00-09:00", "09:00-09:00", "09:60-10:00", "00:00-24:01", "-"]
)
def test_other_spellings_of_hours_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        Window.parse(text)


@pytest.mark.parametrize(
    ("local", "allowed"),
    [
        ((23, 8, 59), False),  # Monday
        ((23, 9, 0), True),
        ((23, 19, 59), True),
        ((23, 20, 0), False),
        ((28, 19, 59), True),  # Saturday
        ((29, 11, 59), False),  # Sunday
        ((29, 12, 0), True),
        ((29, 20, 0), False),
    ],
)
def test_sunday_has_hours_of_its_own(local: tuple[int, int, int], allowed: bool) -> None:
    day, hour, minute = local
    now = datetime(2026, 11, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin"))

    assert may_call(now.astimezone(UTC), ["Europe/Berlin"], WEEKDAYS, SUNDAYS).allowed is allowed


def test_a_number_that_may_lie_in_several_zones_needs_all_of_them() -> None:
    both = ["America/New_York", "America/Los_Angeles"]
    nine_in_new_york = MONDAY.replace(hour=14)

    verdict = may_call(nine_in_new_york, both, WEEKDAYS, SUNDAYS)

    assert not verdict.allowed
    assert verdict.reason == (
        "has 06:00 now (America/Los_Angeles); calls are allowed from 09:00 to 20:00"
    )
    assert verdict.next_allowed == MONDAY.replace(hour=17)


@pytest.mark.parametrize("zones", [[], ["Mars/Olympus"], ["Europe/Berlin", "x"], ["../etc/passwd"]])
def test_where_the_zone_is_not_known_nobody_is_called(zones: list[str]) -> None:
    verdict = may_call(MONDAY.replace(hour=12), zones, WEEKDAYS, SUNDAYS)

    assert verdict == Verdict(False, "has no known time zone: set one")


def test_where_no_hour_is_common_there_is_no_next_time() -> None:
    zones = ["Pacific/Auckland", "Europe/London"]
    office = Window.parse("09:00-10:00")

    verdict = may_call(MONDAY, zones, office, Window.parse("closed"))

    assert (verdict.allowed, verdict.next_allowed) == (False, None)


def test_closed_on_sundays_the_next_time_is_monday() -> None:
    sunday = datetime(2026, 11, 29, 15, 0, tzinfo=UTC)

    verdict = may_call(sunday, ["Europe/London"], WEEKDAYS, Window.parse("closed"))

    assert verdict.next_allowed == datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
    assert verdict.reason == (
        "has 15:00 now (Europe/London); calls are allowed at no time on Sundays"
    )


@effort(max_examples=1500, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    now=st.integers(0, 18 * 365 * 1440).map(lambda m: MONDAY.replace(2020) + timedelta(minutes=m)),
    start=st.integers(0, 1439),
    length=st.integers(1, 1440),
)
def test_nobody_is_ever_called_outside_the_local_hours(
    zone: str, now: datetime, start: int, length: int
) -> None:
    """[A18, R19] Over all zones; the clock on the person's wall decides."""
    window = Window(start, min(start + length, 1440))
    wall = now.astimezone(ZoneInfo(zone)).strftime("%H:%M")

    verdict = may_call(now, [zone], window, window)

    assert verdict.allowed is (_clock(window.start_min) <= wall < _clock(window.end_min))


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_around_a_change_of_clocks_the_wall_clock_decides(zone: str, change: datetime) -> None:
    """[A18] The hour that is missing, the hour that comes twice, offsets of 30 and 45 minutes."""
    night = Window.parse("01:30-03:15")

    for minute in range(-2 * 1440, 2 * 1440, 7):
        now = change + timedelta(minutes=minute)
        wall = now.astimezone(ZoneInfo(zone)).strftime("%H:%M")
        assert may_call(now, [zone], night, night).allowed is ("01:30" <= wall < "03:15")


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_the_next_time_is_an_allowed_one_and_there_is_none_before(
    zone: str, change: datetime
) -> None:
    """[A18]"""
    for minute in range(-1440, 1440, 97):
        now = change + timedelta(minutes=minute)
        verdict = may_call(now, [zone], WEEKDAYS, SUNDAYS)
        if verdict.allowed:
            continue
        following = verdict.next_allowed
        assert following is not None
        assert may_call(following, [zone], WEEKDAYS, SUNDAYS).allowed
        step = now
        while step < following - timedelta(minutes=5):
            assert not may_call(step, [zone], WEEKDAYS, SUNDAYS).allowed
            step += timedelta(minutes=5)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
