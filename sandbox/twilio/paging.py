"""Lists of the REST API: pages and filters by date."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from sandbox.twilio.errors import ApiError

MAX_PAGE = 1000


def page(request: web.Request, name: str, found: list[dict[str, Any]]) -> web.Response:
    """One page of what was found, with the addresses of its neighbours; raises ApiError."""
    try:
        size = min(MAX_PAGE, max(1, int(request.query.get("PageSize", 50))))
        number = max(0, int(request.query.get("Page", 0)))
    except ValueError:
        raise ApiError(20001, "Invalid parameter PageSize or Page") from None
    start = number * size

    def uri(of: int) -> str:
        others = [(k, v) for k, v in request.query.items() if k not in ("Page", "PageSize")]
        query = urlencode([*others, ("PageSize", size), ("Page", of)])
        return f"{request.path}?{query}"

    return web.json_response(
        {
            name: found[start : start + size],
            "page": number,
            "page_size": size,
            "start": start,
            "end": max(start, min(start + size, len(found)) - 1),
            "uri": uri(number),
            "first_page_uri": uri(0),
            "previous_page_uri": uri(number - 1) if number else None,
            "next_page_uri": uri(number + 1) if start + size < len(found) else None,
        }
    )


def is_within(query: Mapping[str, str], name: str, when: datetime | None) -> bool:
    """Compare with `Name`, `Name<` (at or before) and `Name>` (at or after), days or instants."""
    for key, not_before, not_after in ((name, 1, 1), (f"{name}<", 0, 1), (f"{name}>", 1, 0)):
        text = query.get(key)
        if not text:
            continue
        low, high = _instants(name, text)
        at = when.replace(microsecond=0) if when else None
        if at is None or (not_before and at < low) or (not_after and at > high):
            return False
    return True


def _instants(name: str, text: str) -> tuple[datetime, datetime]:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(20001, f"Invalid parameter {name}: '{text}' is not a date") from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    is_day = len(text) == 10
    return when, when.replace(hour=23, minute=59, second=59) if is_day else when
