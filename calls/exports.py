"""Calls as CSV, for spreadsheets: nothing in it is ever taken for a formula."""

from __future__ import annotations

import csv
import io
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from calls import words
from calls.models import Call

MAX_ROWS = 50_000
COLUMNS = [
    "id", "person", "number", "agent", "status", "asked for at", "answered at", "ended at",
    "duration in seconds", "how it ended", "details", "error code", "estimated cost in USD",
    "billed by Twilio", "Twilio id",
]  # fmt: skip
# Source: OWASP, "CSV Injection".
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def calls_as_csv(calls: QuerySet[Call]) -> str:
    """One line per call, in the order of the query."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for call in calls.select_related("agent", "recipient").iterator(chunk_size=1000):
        writer.writerow([inert(value) for value in _row(call)])
    return out.getvalue()


def inert(value: object) -> object:
    """Texts that a spreadsheet would compute get an apostrophe in front; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    is_formula = value.lstrip(" ").startswith(_FORMULA_STARTS) or value.startswith(_FORMULA_STARTS)
    return f"'{value}" if is_formula else value


def _row(call: Call) -> list[object]:
    return [
        str(call.pk),
        call.recipient.name,
        call.to_number,
        call.agent.name,
        call.state.label,
        _iso(call.created_at),
        _iso(call.answered_at),
        _iso(call.ended_at),
        call.duration_s,
        words.reason_label(call.end_reason),
        call.end_detail,
        call.error_code,
        call.estimated_cost,
        call.twilio_price,
        call.twilio_sid or "",
    ]


def _iso(at: datetime | None) -> str:
    return timezone.localtime(at).isoformat(timespec="seconds") if at else ""
