"""Writes down what a conversation reports: turns, usage, events, its end.

Every fact may come twice, and after a later one: applying it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any

from django.db import transaction
from django.db.models import F

from calls import live
from calls.core.facts import ConversationEnded, Fact, Happened, TokensUsed, TurnSaid
from calls.core.lifecycle import EndReason
from calls.core.model_errors import explain
from calls.models import Call, CallEvent, Turn, Usage
from calls.services import costs, placing, progress, streams

MAX_TEXT_CHARS = 20_000
MAX_INTEGER = 2**31 - 1
MAX_SMALL_INTEGER = 2**15 - 1
MAX_SECONDS = 9_999_999.0
_SIGNED = {"started_ms", "ended_ms", "latency_sent_ms", "latency_heard_ms"}


def record(facts: Iterable[Fact]) -> None:
    """Apply facts in order, in one transaction.

    Facts of a call that does not exist (any more) are dropped: there is nothing to tell of it.
    """
    batch = list(facts)
    with transaction.atomic():
        known = {
            str(pk)
            for pk in Call.objects.filter(pk__in={fact.call_id for fact in batch}).values_list(
                "pk", flat=True
            )
        }
        for fact in _latest_turns(f for f in batch if f.call_id in known):
            _apply(fact)
        for call_id in known:
            Call.objects.filter(pk=call_id).update(revision=F("revision") + 1)
            live.hint_on_commit(call_id)
        _reckon_anew({f.call_id for f in batch if isinstance(f, TokensUsed)})


def _reckon_anew(call_ids: Iterable[str]) -> None:
    """Store the cost of calls that have ended already: the journal may have been held up."""
    ended = Call.objects.filter(pk__in=call_ids, ended_at__isnull=False)
    for call_id in ended.values_list("pk", flat=True):
        costs.refresh_estimate(call_id)


def _latest_turns(facts: Iterable[Fact]) -> list[Fact]:
    """Of several reports of one turn in a batch, the last is enough; a final one stays."""
    latest: dict[object, Fact] = {}
    for index, fact in enumerate(facts):
        key: object = (fact.call_id, fact.item_id) if isinstance(fact, TurnSaid) else index
        before = latest.get(key)
        if isinstance(before, TurnSaid) and isinstance(fact, TurnSaid):
            if before.is_final and not fact.is_final:
                continue
            del latest[key]
        latest[key] = fact
    return list(latest.values())


def _apply(fact: Fact) -> None:
    match fact:
        case TurnSaid():
            _save_turn(fact)
        case TokensUsed():
            _save_usage(fact)
        case Happened():
            _save_event(fact)
        case ConversationEnded():
            _end(fact)


def _end(fact: ConversationEnded) -> None:
    """Store why it ended; a fault that every other call would meet stops dialling."""
    if streams.is_superseded(fact.call_id, fact.generation):
        return  # a stream that the call has left behind: its successor talks on
    fault = explain(fact.error_code)
    detail = clean(fact.detail if fault is None else str(fault))
    at = datetime.fromisoformat(fact.at)
    is_news = progress.end_conversation(fact.call_id, EndReason(fact.reason), detail, at)
    if not is_news or not fact.error_code:
        return
    code = clean(fact.error_code, 64)
    Call.objects.filter(pk=fact.call_id, error_code="").update(error_code=code)
    if fault is not None and fault.stops_dialling:
        placing.pause_dialling(f"openai.{code}"[:64], str(fault))


def clean(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Text that every database takes: no NUL, no lone surrogates, bounded."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:limit]


def bounded(value: int, least: int = 0, most: int = MAX_INTEGER) -> int:
    """A number that its column takes: the vendor's are not ours to trust."""
    return min(max(value, least), most)


def _bounded_values(fact: TurnSaid | TokensUsed) -> dict[str, Any]:
    """The fact's fields; every whole number within its column's range."""
    return {
        name: bounded(value, -MAX_INTEGER if name in _SIGNED else 0)
        if isinstance(value, int) and not isinstance(value, bool)
        else value
        for name, value in asdict(fact).items()
    }


def _save_turn(fact: TurnSaid) -> None:
    values = _bounded_values(fact)
    call_id, item_id = values.pop("call_id"), clean(values.pop("item_id"), 64)
    values["text"] = clean(fact.text)
    values["speaker"] = clean(fact.speaker, 10)
    values["generation"] = bounded(fact.generation, most=MAX_SMALL_INTEGER)
    turn, is_new = Turn.objects.get_or_create(
        call_id=call_id, item_id=item_id, defaults={**values, "revision": 1}
    )
    if is_new:
        return
    if turn.is_final and not fact.is_final:
        return  # an older report, replayed after a crash
    Turn.objects.filter(pk=turn.pk).update(**values, revision=F("revision") + 1)


def _save_usage(fact: TokensUsed) -> None:
    values = _bounded_values(fact)
    values["seconds"] = _seconds(fact.seconds)
    values["model"], values["status"] = clean(fact.model, 80), clean(fact.status, 16)
    key = {
        "call_id": values.pop("call_id"),
        "kind": clean(values.pop("kind"), 16),
        "usage_id": clean(values.pop("usage_id"), 80),
    }
    Usage.objects.get_or_create(**key, defaults=values)


def _seconds(value: float | None) -> Decimal | None:
    if value is None or not isfinite(value):
        return None
    return Decimal(str(round(min(max(value, 0.0), MAX_SECONDS), 3)))


def _save_event(fact: Happened) -> None:
    CallEvent.objects.get_or_create(
        call_id=fact.call_id,
        key=clean(fact.key, 120),
        defaults={
            "kind": clean(fact.kind, 40),
            "at": datetime.fromisoformat(fact.at),
            "data": {clean(key, 60): clean(str(value), 500) for key, value in fact.data.items()},
        },
    )
