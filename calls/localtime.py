"""Times as staff read them: theirs, and what time it is where a person is."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.formats import date_format

from calls.core import phones


def stamp(at: datetime) -> str:
    """A moment as staff read it everywhere, in their zone, such as `23 Nov 2026, 14:05 UTC`."""
    return date_format(timezone.localtime(at), "DATETIME_FORMAT")


def clock(seconds: int) -> str:
    """A duration, such as `1:05`."""
    return f"{seconds // 60}:{seconds % 60:02}"


def zones_of(phone: str, zone: str) -> tuple[str, ...]:
    """The recipient's own zone, else all that the number may be in; empty if nothing is known."""
    if zone:
        return (zone,)
    try:
        return phones.zones(phone)
    except phones.BadNumber:
        return ()


def describe(now: datetime, phone: str, zone: str) -> str:
    """Such as `14:05 Mon (Europe/Berlin)`, or the span over several candidate zones."""
    zones = zones_of(phone, zone)
    if not zones:
        return "local time unknown: set a time zone"
    here = sorted(now.astimezone(ZoneInfo(z)).replace(tzinfo=None) for z in zones)
    if len(zones) == 1:
        return f"{here[0]:%H:%M %a} ({zones[0]})"
    if here[0] == here[-1]:
        return f"{here[0]:%H:%M %a} ({zones[0]} and {len(zones) - 1} more)"
    return f"{here[0]:%H:%M %a} to {here[-1]:%H:%M %a} ({len(zones)} possible time zones)"
