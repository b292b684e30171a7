"""What an open call page shows, as JSON: asked for again and again, by the call's revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from statistics import median
from typing import Any
from uuid import UUID

from django.db.models import Prefetch
from django.utils import timezone
from django.utils.text import capfirst

from calls import localtime, words
from calls.core.lifecycle import Status
from calls.core.pricing import MILLION_TOKENS, MINUTE, Basis
from calls.models import Call, CallEvent, DialingPause, Turn
from calls.services import costs

_TURN_FIELDS = (
    "item_id", "position", "speaker", "text", "heard_chars", "started_ms", "ended_ms",
    "latency_sent_ms", "latency_heard_ms", "interrupted", "is_final",
)  # fmt: skip
MAX_EVENTS = 500
_LEAST_SHOWN = Decimal("0.0001")


def unchanged(call: Call) -> dict[str, Any]:
    """What a page is told that has seen everything already."""
    return {"revision": call.revision, "status": call.status, "is_live": not call.state.is_terminal}


def snapshot(call: Call) -> dict[str, Any]:
    """Everything a call page shows.

    The revision is read before the rest: what is newer than it is sent once more, never missed.
    """
    state = call.state
    problem = words.problem_of(call)
    return {
        **unchanged(call),
        "status_label": state.label,
        "tone": words.tone_of(state),
        "started_at": _iso(call.created_at),
        "answered_at": _iso(call.answered_at),
        "ended_at": _iso(call.ended_at),
        "duration_s": call.duration_s,
        "end_reason_label": words.reason_label(call.end_reason),
        "error": asdict(problem) if problem else None,
        "hints": _hints(call),
        "hang_up_requested": call.hangup_requested_at is not None,
        "hang_up_label": _hang_up_label(call),
        "nothing_said": _nothing_said(call),
        "facts": _facts(call),
        "turns": [_turn(turn) for turn in call.turns.all()],
        "events": [_event(event, call.end_reason) for event in _events(call)],
        "cost": _cost(call),
    }


def load(call_id: UUID) -> Call | None:
    """The call with all that a snapshot needs, in a fixed number of queries."""
    return (
        Call.objects.select_related("agent", "recipient", "requested_by", "hangup_requested_by")
        .prefetch_related(Prefetch("turns", Turn.objects.order_by("generation", "position", "id")))
        .filter(pk=call_id)
        .first()
    )


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _turn(turn: Turn) -> dict[str, Any]:
    return {name: getattr(turn, name) for name in _TURN_FIELDS}


def _events(call: Call) -> list[CallEvent]:
    events = [e for e in call.events.order_by("at", "id")[:MAX_EVENTS] if words.is_told(e)]
    # Twilio's times are whole seconds: within one, the order of arrival is the better story.
    return sorted(events, key=lambda e: (e.at.replace(microsecond=0), e.pk))


def _event(event: CallEvent, end_reason: str) -> dict[str, Any]:
    text, tone = words.describe(event, end_reason)
    return {
        "id": event.pk,
        "at": event.at.isoformat(),
        "time": f"{timezone.localtime(event.at):%H:%M:%S}",
        "kind": event.kind,
        "text": text,
        "tone": tone,
        "note": event.note,
        "data": words.details(event),
    }


def _hang_up_label(call: Call) -> str:
    if call.hangup_requested_at is not None:
        return "Hanging up…"
    return "Cancel the call" if call.state is Status.QUEUED else "Hang up"


def _hints(call: Call) -> list[str]:
    """What staff should know while they wait."""
    hints = []
    if call.state is Status.QUEUED:
        hints += _why_it_waits(call)
    if call.state is Status.UNKNOWN:
        hints.append(
            "Twilio was asked to dial and the answer was lost. The number is not dialled again"
            " before Twilio has told us what became of the call."
        )
        if call.end_detail:
            hints.append(call.end_detail)
    if call.answered_by.startswith("machine"):
        hints.append("Twilio believes that an answering machine picked up.")
    if call.end_is_guess:
        hints.append("Twilio never reported the end of this call: its status is our conclusion.")
    return hints


def _why_it_waits(call: Call) -> list[str]:
    if DialingPause.objects.filter(lifted_at__isnull=True).exists():
        return ["Dialling is paused: this call waits until it is resumed."]
    if call.not_before > timezone.now():
        return [f"Will not be dialled before {localtime.stamp(call.not_before)}."]
    return []


def _nothing_said(call: Call) -> str:
    if call.state.is_terminal:
        return "Nothing was said in this call."
    return "What is said appears here as soon as the person answers."


def _facts(call: Call) -> list[tuple[str, str]]:
    facts = [
        ("Status", call.state.label),
        ("How it ended", words.reason_label(call.end_reason)),
        ("Answered by", capfirst(words.answered_by(call.answered_by))),
        ("Hung up by", str(call.hangup_requested_by or "")),
        ("Model", str(call.brief.get("model", ""))),
        ("Voice", capfirst(str(call.brief.get("voice", "")))),
        ("Answer time", _typical_latency(call.turns.all())),
        ("Twilio id", call.twilio_sid or ""),
    ]
    return [(name, value) for name, value in facts if value]


def _typical_latency(turns: Sequence[Turn] | Any) -> str:
    """The median time from the end of the person's speech to the agent's first audible word."""
    known = [t.latency_heard_ms for t in turns if t.latency_heard_ms is not None]
    return f"{median(known) / 1000:.1f} s (median)" if known else ""


def _cost(call: Call) -> dict[str, Any]:
    lines = costs.lines(call)
    return {
        "lines": [_cost_line(line) for line in lines],
        "totals": _totals(lines),
        "note": "" if lines else _no_costs(call),
    }


def _no_costs(call: Call) -> str:
    return "This call cost nothing." if call.state.is_terminal else "Nothing has cost anything yet."


def _totals(lines: list[costs.CostLine]) -> list[tuple[str, str]]:
    """What is billed and what is reckoned, apart; then both together."""
    totals = []
    for basis, label in ((Basis.FINAL, "Billed"), (Basis.ESTIMATE, "Estimated")):
        amounts = [line.amount for line in lines if line.basis is basis and line.amount is not None]
        if amounts:
            totals.append((label, money(sum(amounts, Decimal(0)))))
    if len(totals) > 1:
        totals.append(("Together", money(costs.total(lines).amount)))
    return totals


def _cost_line(line: costs.CostLine) -> dict[str, str]:
    amount = "no price" if line.amount is None else money(line.amount)
    basis = line.reason or ("final" if line.basis is Basis.FINAL else "estimate")
    return {
        "part": line.part,
        "quantity": _quantity(line),
        "amount": amount,
        "basis_label": basis,
    }


def _quantity(line: costs.CostLine) -> str:
    counted = _counted(line.quantity, line.unit)
    if line.unit_price is None:
        return counted
    per = "a million" if line.unit == MILLION_TOKENS else f"a {line.unit}"
    return f"{counted}, ${plain(line.unit_price)} {per}"


def _counted(quantity: Decimal, unit: str) -> str:
    if unit == MILLION_TOKENS:
        return f"{plain(quantity)} tokens"
    if unit == MINUTE and quantity % 1:
        return f"{quantity * 60:,.1f} seconds"
    return f"{plain(quantity)} {unit}{'' if quantity == 1 else 's'}"


def plain(number: Decimal) -> str:
    """A number without trailing zeros and exponents, thousands apart."""
    return f"{number:,.4f}".rstrip("0").rstrip(".")


def money(amount: Decimal) -> str:
    """US dollars: cents, and as many digits more as a small amount needs."""
    if 0 < amount < _LEAST_SHOWN:
        return f"<${_LEAST_SHOWN}"
    digits = 2 if amount == 0 or abs(amount) >= 1 else 4
    return f"${amount:,.{digits}f}"
