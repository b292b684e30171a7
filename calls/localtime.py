"""What time it is where a person is, as far as we know."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from calls.core import phones


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
