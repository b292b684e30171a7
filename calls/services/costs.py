"""What a call has cost, and what one is likely to cost; all amounts are US dollars."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from calls import live
from calls.core import pricing
from calls.core.pricing import CostLine, Rate, Rates, Tokens, Total
from calls.models import Agent, Call, Price, Usage

__all__ = ["CostLine", "Total", "estimate_per_call", "lines", "refresh_estimate", "total"]

TRANSCRIPTION = "transcription"
_LOW_S = 60
# English text: four characters to a token, roughly. Only the estimate beforehand uses it.
_CHARS_PER_TOKEN = 4
_STORED = Decimal("0.00001")
_MOST_STORED = Decimal("99999.99999")


def lines(call: Call, *, now: datetime | None = None) -> list[CostLine]:
    """The parts of a call's cost, so far; a call that was not answered costs nothing.

    Quantities are the vendors' own counts; prices are those of our list on the day of the call,
    but for the connection, whose price Twilio tells after the call.
    """
    day = (call.answered_at or call.created_at).date()
    rates = _rates()
    return [
        *_twilio_lines(call, now or timezone.now(), rates, day),
        *_model_lines(call.usage.all(), rates, day),
    ]


def total(lines: Iterable[CostLine]) -> Total:
    """The sum of a call's lines."""
    return pricing.total(lines)


def estimate_per_call(agent: Agent) -> tuple[Decimal, Decimal]:
    """What one answered call is likely to cost at least (a minute) and at most, in whole cents.

    The most is a conversation of the maximum duration in which nothing is served from the cache.
    """
    rates, day = _rates(), timezone.now().date()
    instruction_tokens = len(agent.instructions) // _CHARS_PER_TOKEN + 1
    sums = []
    for seconds, cached in (
        (min(_LOW_S, agent.max_duration_s), True),
        (agent.max_duration_s, False),
    ):
        minutes = pricing.started_minutes(seconds)
        tokens = pricing.expected_tokens(seconds, instruction_tokens, cached=cached)
        parts = [
            pricing.priced("", "", minutes, pricing.MINUTE, rates.find(item, day))
            for item in (pricing.VOICE, pricing.STREAM, pricing.RECORDING)
        ]
        if settings.ANSWERING_MACHINE_DETECTION:
            rate = rates.find(pricing.DETECTION, day)
            parts.append(pricing.priced("", "", 1, pricing.CALL, rate))
        parts += pricing.token_lines(tokens, agent.model, rates, day)
        parts += pricing.transcription_lines(
            Tokens(), Decimal(seconds), settings.OPENAI_TRANSCRIPTION_MODEL, rates, day
        )
        sums.append(pricing.total(parts).amount.quantize(Decimal("0.01")))
    return sums[0], sums[1]


def refresh_estimate(call_id: UUID | str) -> bool:
    """Store the call's cost as known now; return whether it changed."""
    call = Call.objects.filter(pk=call_id).first()
    if call is None:
        return False
    amount = min(total(lines(call)).amount.quantize(_STORED), _MOST_STORED)
    changed = (
        Call.objects.filter(pk=call_id)
        .exclude(estimated_cost=amount)
        .update(estimated_cost=amount, revision=F("revision") + 1)
    )
    if changed:
        live.hint_on_commit(call_id)
    return bool(changed)


def _rates() -> Rates:
    return Rates(
        Rate(price.item, price.unit, price.amount, price.valid_from, price.source)
        for price in Price.objects.all()
    )


def _twilio_lines(call: Call, now: datetime, rates: Rates, day: date) -> list[CostLine]:
    if call.answered_at is None and not call.duration_s:
        return []
    seconds = _talked_s(call, now)
    minutes = pricing.started_minutes(seconds)
    found = [_voice_line(call, minutes, rates, day)]
    for part, item, count in (
        ("Media stream", pricing.STREAM, _stream_minutes(call, minutes)),
        ("Recording", pricing.RECORDING, _recorded_minutes(call, minutes)),
    ):
        if count:
            found.append(pricing.priced(part, item, count, pricing.MINUTE, rates.find(item, day)))
    if call.answered_by or settings.ANSWERING_MACHINE_DETECTION:
        item = pricing.DETECTION
        found.append(
            pricing.priced("Machine detection", item, 1, pricing.CALL, rates.find(item, day))
        )
    return found


def _voice_line(call: Call, minutes: int, rates: Rates, day: date) -> CostLine:
    rate = rates.find_voice(call.to_number, day)
    line = pricing.priced("Phone connection", pricing.VOICE, minutes, pricing.MINUTE, rate)
    if call.twilio_price is None or call.twilio_price_unit not in {"", "USD"}:
        # A bill in another currency cannot be added up with the rest: the estimate stands.
        return line
    return pricing.billed(line, abs(call.twilio_price), "Twilio's bill")


def _talked_s(call: Call, now: datetime) -> float:
    """Twilio's own count once the call is over; until then, the time since the answer."""
    if call.duration_s is not None:
        return call.duration_s
    if call.answered_at is None:
        return 0
    return max(0.0, ((call.ended_at or now) - call.answered_at).total_seconds())


def _stream_minutes(call: Call, minutes: int) -> int:
    # One that was offered and never opened costs nothing; those before it did.
    opened = call.stream_generation - (call.stream_opened_at is None)
    # Each further stream of the same call begins a minute of its own.
    return minutes + opened - 1 if opened > 0 else 0


def _recorded_minutes(call: Call, minutes: int) -> int:
    # Reached by the reverse accessor: recordings stand above calls.
    recordings = list(call.recordings.all())
    if not recordings:
        return minutes  # every call is recorded; the file has not arrived yet
    return sum(
        minutes if r.duration_ms is None else pricing.started_minutes(Decimal(r.duration_ms) / 1000)
        for r in recordings
        if r.status != "absent"
    )


def _model_lines(usage: Iterable[Usage], rates: Rates, day: date) -> list[CostLine]:
    tokens: dict[tuple[bool, str], Tokens] = {}
    seconds: dict[tuple[bool, str], Decimal] = {}
    for row in usage:
        key = (row.kind == TRANSCRIPTION, row.model)
        tokens[key] = tokens.get(key, Tokens()) + _tokens(row)
        seconds[key] = seconds.get(key, Decimal(0)) + (row.seconds or 0)
    found: list[CostLine] = []
    for (is_transcription, model), used in sorted(tokens.items(), key=lambda entry: entry[0]):
        if is_transcription:
            spoken = seconds[is_transcription, model]
            found += pricing.transcription_lines(used, spoken, model, rates, day)
        else:
            found += pricing.token_lines(used, model, rates, day)
    return found


def _tokens(row: Usage) -> Tokens:
    return Tokens(
        text_in=row.text_in,
        audio_in=row.audio_in,
        image_in=row.image_in,
        cached_text_in=row.cached_text_in,
        cached_audio_in=row.cached_audio_in,
        cached_image_in=row.cached_image_in,
        text_out=row.text_out,
        audio_out=row.audio_out,
    )
