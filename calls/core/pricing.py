"""Minutes and tokens to US dollars: what a call costs, line by line.

Source: Twilio, Voice pricing (voice, streams and recordings by the started minute, detection by the
call); OpenAI, model pages (tokens by the million; cached tokens are a part of the input tokens).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Self

MINUTE = "minute"
CALL = "call"
MILLION_TOKENS = "1M tokens"

VOICE = "twilio.voice"
STREAM = "twilio.stream"
RECORDING = "twilio.recording"
DETECTION = "twilio.amd"

# What a conversation is reckoned to be before it takes place: turns of 14 seconds.
# Source: OpenAI, Realtime, "Managing costs": 1 token per 100 ms heard, 1 per 50 ms spoken.
_TURN_S = 14
_HEARD_PER_TURN = 60
_SPOKEN_PER_TURN = 160
_WRITTEN_PER_TURN = 30
HEARD_PER_MINUTE = 600

# OpenAI names a dated snapshot after its model, and bills both alike.
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class Basis(StrEnum):
    """Whether an amount is reckoned from list prices, or stands on the vendor's bill."""

    ESTIMATE = "estimate"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Rate:
    """What one unit costs, in US dollars, from a day on."""

    item: str
    unit: str
    amount: Decimal
    valid_from: date
    source: str = ""


@dataclass(frozen=True, slots=True)
class CostLine:
    """One part of a call's cost in US dollars; without an `amount`, `reason` says why."""

    part: str
    quantity: Decimal
    unit: str
    unit_price: Decimal | None
    amount: Decimal | None
    basis: Basis
    reason: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of the lines that have an amount; `unpriced` names those that have none."""

    amount: Decimal
    basis: Basis
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens by kind; `*_in` are totals, of which `cached_*` are a part."""

    text_in: int = 0
    audio_in: int = 0
    image_in: int = 0
    cached_text_in: int = 0
    cached_audio_in: int = 0
    cached_image_in: int = 0
    text_out: int = 0
    audio_out: int = 0

    def __add__(self, other: Self) -> Tokens:
        return Tokens(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Rates:
    """A price list; each item may have several rates, one from each of several days."""

    def __init__(self, rates: Iterable[Rate]) -> None:
        self._by_item: dict[str, list[Rate]] = {}
        for rate in sorted(rates, key=lambda r: r.valid_from):
            self._by_item.setdefault(rate.item, []).append(rate)

    def find(self, item: str, day: date) -> Rate | None:
        """The rate of `item` on `day`; before the first one was noted, the first."""
        known = self._by_item.get(item)
        if not known:
            return None
        begun = [rate for rate in known if rate.valid_from <= day]
        return begun[-1] if begun else known[0]

    def find_model(self, model: str, kind: str, day: date) -> Rate | None:
        """The rate of one kind of token of a model, or of the model that it is a snapshot of."""
        return self.find(f"{model}.{kind}", day) or self.find(
            f"{_SNAPSHOT.sub('', model)}.{kind}", day
        )

    def find_voice(self, to_number: str, day: date) -> Rate | None:
        """The rate for a minute to `to_number`: of its longest prefix in the list, or any number's.

        `twilio.voice.+4477` goes before `twilio.voice.+44`, and that before `twilio.voice`.
        """
        for length in range(len(to_number), 1, -1):
            rate = self.find(f"{VOICE}.{to_number[:length]}", day)
            if rate is not None:
                return rate
        return self.find(VOICE, day)


def started_minutes(seconds: float | Decimal) -> int:
    """Whole minutes, the last one begun: 61 seconds are 2, none are 0."""
    return max(0, math.ceil(seconds / 60))


def priced(part: str, item: str, quantity: Decimal | int, unit: str, rate: Rate | None) -> CostLine:
    """A line at list price; a rate that is missing, or for another unit, leaves it without one."""
    quantity = Decimal(quantity)
    if rate is None:
        reason = f"There is no price for {item}. Add one under Prices."
        return CostLine(part, quantity, unit, None, None, Basis.ESTIMATE, reason)
    if rate.unit != unit:
        reason = f"The price of {item} is per {rate.unit}, but it is used by {unit}. Correct it."
        return CostLine(part, quantity, unit, None, None, Basis.ESTIMATE, reason, rate.source)
    units = quantity / 1_000_000 if unit == MILLION_TOKENS else quantity
    return CostLine(
        part, quantity, unit, rate.amount, units * rate.amount, Basis.ESTIMATE, source=rate.source
    )


def billed(line: CostLine, amount: Decimal, source: str) -> CostLine:
    """The line as the vendor's bill has it, in place of the estimate."""
    return CostLine(line.part, line.quantity, line.unit, None, amount, Basis.FINAL, source=source)


def token_lines(tokens: Tokens, model: str, rates: Rates, day: date) -> list[CostLine]:
    """A line for each kind of token that was used."""
    return [
        priced(
            f"{model}, {label}",
            f"{model}.{kind}",
            quantity,
            MILLION_TOKENS,
            rates.find_model(model, kind, day),
        )
        for kind, label, quantity in _kinds(tokens)
        if quantity
    ]


def _kinds(tokens: Tokens) -> Iterator[tuple[str, str, int]]:
    for kind in ("text", "audio", "image"):
        total: int = getattr(tokens, f"{kind}_in")
        # More cached than there was would make the rest negative.
        cached = min(total, getattr(tokens, f"cached_{kind}_in"))
        yield f"{kind}_in", f"{kind} in", total - cached
        yield f"{kind}_in_cached", f"{kind} in, cached", cached
    yield "text_out", "text out", tokens.text_out
    yield "audio_out", "audio out", tokens.audio_out


def transcription_lines(
    tokens: Tokens, seconds: Decimal, model: str, rates: Rates, day: date
) -> list[CostLine]:
    """Transcribing is billed by the second, or by the token, as the model has it.

    Where tokens were reported but the list has only a price per minute, audio tokens count as time.
    """
    per_minute = rates.find_model(model, MINUTE, day)
    if per_minute is not None and rates.find_model(model, "audio_in", day) is None:
        seconds += Decimal(tokens.audio_in * 60) / HEARD_PER_MINUTE
        tokens = Tokens()
    lines = token_lines(tokens, model, rates, day)
    if seconds:
        item = f"{model}.{MINUTE}"
        lines.append(priced(f"{model}, transcription", item, seconds / 60, MINUTE, per_minute))
    return lines


def total(lines: Iterable[CostLine]) -> Total:
    """The sum; final only if every line is."""
    lines = list(lines)
    is_final = bool(lines) and all(line.basis is Basis.FINAL for line in lines)
    return Total(
        sum((line.amount for line in lines if line.amount is not None), Decimal(0)),
        Basis.FINAL if is_final else Basis.ESTIMATE,
        tuple(line.part for line in lines if line.amount is None),
    )


def expected_tokens(seconds: int, instruction_tokens: int, *, cached: bool) -> Tokens:
    """What a conversation of this length is likely to use.

    Every response reads the instructions and all that was said again; `cached`: at the cheaper
    rate, as far as it was there before.
    """
    turns = max(1, seconds // _TURN_S)
    heard = _HEARD_PER_TURN * turns * (turns + 1) // 2
    reread = _SPOKEN_PER_TURN * turns * (turns - 1) // 2
    new = _HEARD_PER_TURN * turns
    return Tokens(
        text_in=turns * instruction_tokens,
        audio_in=heard + reread,
        cached_text_in=(turns - 1) * instruction_tokens if cached else 0,
        cached_audio_in=heard + reread - new if cached else 0,
        text_out=_WRITTEN_PER_TURN * turns,
        audio_out=_SPOKEN_PER_TURN * turns,
    )
