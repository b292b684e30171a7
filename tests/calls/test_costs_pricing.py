"""The arithmetic of prices: minutes, tokens, days."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.core import pricing
from calls.core.pricing import Basis, CostLine, Rate, Rates, Tokens

DAY = date(2026, 11, 23)
MODEL = "gpt-realtime-2.1"


def rate(
    item: str, amount: str, unit: str = pricing.MILLION_TOKENS, valid_from: date = DAY
) -> Rate:
    return Rate(item, unit, Decimal(amount), valid_from)


BIG = {
    "audio_in": "32",
    "audio_in_cached": "0.40",
    "audio_out": "64",
    "text_in": "4",
    "text_in_cached": "0.40",
    "text_out": "24",
    "image_in": "5",
    "image_in_cached": "0.50",
}
MINI = {
    "audio_in": "10",
    "audio_in_cached": "0.30",
    "audio_out": "20",
    "text_in": "0.60",
    "text_in_cached": "0.06",
    "text_out": "2.40",
}
RATES = Rates(
    [
        *(rate(f"{MODEL}.{kind}", amount) for kind, amount in BIG.items()),
        *(rate(f"{MODEL}-mini.{kind}", amount) for kind, amount in MINI.items()),
    ]
)


def cost_of(tokens: Tokens, model: str = MODEL) -> Decimal:
    return pricing.total(pricing.token_lines(tokens, model, RATES, DAY)).amount


@pytest.mark.parametrize(
    ("seconds", "minutes"),
    [
        (0, 0),
        (0.2, 1),
        (Decimal(61), 2),
        (Decimal(60), 1),
        (1, 1),
        (60, 1),
        (60.001, 2),
        (61, 2),
        (300, 5),
        (-3, 0),
    ],
)
def test_a_minute_counts_once_it_has_begun(seconds: float | Decimal, minutes: int) -> None:
    assert pricing.started_minutes(seconds) == minutes


@pytest.mark.parametrize(
    ("tokens", "model", "dollars"),
    [
        (Tokens(audio_in=600), MODEL, "0.0192"),
        (Tokens(audio_in=600, cached_audio_in=600), MODEL, "0.00024"),
        (Tokens(audio_out=1200), MODEL, "0.0768"),
        (Tokens(audio_in=600), f"{MODEL}-mini", "0.0060"),
        (Tokens(audio_in=600, cached_audio_in=600), f"{MODEL}-mini", "0.00018"),
        (Tokens(audio_out=1200), f"{MODEL}-mini", "0.0240"),
    ],
)
def test_a_spoken_minute_costs_what_the_price_list_says(
    tokens: Tokens, model: str, dollars: str
) -> None:
    assert cost_of(tokens, model) == Decimal(dollars)


def test_cached_tokens_are_a_part_of_the_input_and_not_counted_twice() -> None:
    tokens = Tokens(
        text_in=1000,
        cached_text_in=400,
        audio_in=2000,
        cached_audio_in=1500,
        image_in=100,
        cached_image_in=100,
        text_out=50,
        audio_out=160,
    )

    lines = pricing.token_lines(tokens, MODEL, RATES, DAY)

    assert {line.part: (int(line.quantity), line.amount) for line in lines} == {
        f"{MODEL}, text in": (600, Decimal("0.0024")),
        f"{MODEL}, text in, cached": (400, Decimal("0.00016")),
        f"{MODEL}, audio in": (500, Decimal("0.016")),
        f"{MODEL}, audio in, cached": (1500, Decimal("0.0006")),
        f"{MODEL}, image in, cached": (100, Decimal("0.00005")),
        f"{MODEL}, text out": (50, Decimal("0.0012")),
        f"{MODEL}, audio out": (160, Decimal("0.01024")),
    }


def test_more_cached_than_read_never_makes_a_negative_amount() -> None:
    lines = pricing.token_lines(Tokens(audio_in=10, cached_audio_in=25), MODEL, RATES, DAY)

    assert [(line.part, int(line.quantity)) for line in lines] == [
        (f"{MODEL}, audio in, cached", 10)
    ]


@pytest.mark.parametrize(
    ("model", "cached", "dollars"),
    [
        (MODEL, True, "0.31"),
        (MODEL, False, "1.90"),
        (f"{MODEL}-mini", True, "0.10"),
        (f"{MODEL}-mini", False, "0.57"),
    ],
)
def test_five_minutes_of_conversation_cost_what_the_worked_example_says(
    model: str, cached: bool, dollars: str
) -> None:
    tokens = pricing.expected_tokens(300, 1500, cached=cached)

    # The example rounds, and says so.
    assert cost_of(tokens, model) == pytest.approx(Decimal(dollars), rel=Decimal("0.03"))


def test_a_price_counts_from_its_day_on_and_past_calls_keep_theirs() -> None:
    rates = Rates(
        [
            rate("x", "2", valid_from=date(2026, 12, 1)),
            rate("x", "1", valid_from=date(2026, 11, 1)),
        ]
    )

    found = {day: rates.find("x", day) for day in (date(2026, 11, 30), date(2026, 12, 1))}

    assert [found_rate.amount for found_rate in found.values() if found_rate] == [1, 2]


def test_before_the_first_known_price_the_first_one_counts() -> None:
    early = Rates([rate("x", "1")]).find("x", date(2020, 1, 1))

    assert early is not None
    assert early.amount == 1


def test_a_dated_snapshot_costs_what_its_model_costs() -> None:
    lines = pricing.token_lines(Tokens(text_out=1), f"{MODEL}-2026-05-06", RATES, DAY)

    assert [line.unit_price for line in lines] == [Decimal(24)]


def test_an_unknown_model_has_lines_without_an_amount_that_say_what_to_add() -> None:
    lines = pricing.token_lines(Tokens(text_out=7), "gpt-next", RATES, DAY)

    assert [(line.amount, line.unit_price) for line in lines] == [(None, None)]
    assert lines[0].reason == "There is no price for gpt-next.text_out. Add one under Prices."
    assert pricing.total(lines).unpriced == ("gpt-next, text out",)


def test_a_price_for_the_wrong_unit_is_named_and_not_used() -> None:
    line = pricing.priced("Recording", "r", 2, pricing.MINUTE, rate("r", "1", unit="call"))

    assert line.amount is None
    assert "per call" in line.reason


def test_the_nearest_prefix_of_the_number_sets_the_price_of_a_minute() -> None:
    rates = Rates(
        [
            rate("twilio.voice", "0.014", pricing.MINUTE),
            rate("twilio.voice.+44", "0.016", pricing.MINUTE),
            rate("twilio.voice.+447", "0.03", pricing.MINUTE),
        ]
    )

    amounts = [
        found.amount
        for number in ("+14155550101", "+442079460000", "+447700900123")
        if (found := rates.find_voice(number, DAY))
    ]

    assert amounts == [Decimal("0.014"), Decimal("0.016"), Decimal("0.03")]


def test_transcription_is_billed_by_the_second_where_the_vendor_reports_seconds() -> None:
    rates = Rates([rate("t.minute", "0.0045", pricing.MINUTE)])

    lines = pricing.transcription_lines(Tokens(), Decimal(90), "t", rates, DAY)

    assert [line.amount for line in lines] == [Decimal("0.00675")]


def test_transcription_is_billed_by_tokens_where_they_have_a_price() -> None:
    rates = Rates([rate("t.audio_in", "6"), rate("t.text_out", "10")])

    lines = pricing.transcription_lines(
        Tokens(audio_in=1000, text_out=100), Decimal(0), "t", rates, DAY
    )

    assert [line.amount for line in lines] == [Decimal("0.006"), Decimal("0.001")]


def test_transcribed_tokens_count_as_time_where_only_time_has_a_price() -> None:
    rates = Rates([rate("t.minute", "0.0045", pricing.MINUTE)])

    lines = pricing.transcription_lines(Tokens(audio_in=1200), Decimal(0), "t", rates, DAY)

    assert [(int(line.quantity), line.amount) for line in lines] == [(2, Decimal("0.0090"))]


def test_a_total_is_final_only_if_every_line_is() -> None:
    estimate = pricing.priced("a", "a", 1, pricing.CALL, rate("a", "2", pricing.CALL))
    final = pricing.billed(estimate, Decimal("1.5"), "bill")

    totals = [pricing.total(lines) for lines in ([estimate, final], [final], [])]

    assert [(t.amount, t.basis) for t in totals] == [
        (Decimal("3.5"), Basis.ESTIMATE),
        (Decimal("1.5"), Basis.FINAL),
        (0, Basis.ESTIMATE),
    ]


COUNTS = st.integers(0, 10**9)


@given(st.builds(Tokens, *[COUNTS] * 8), st.builds(Tokens, *[COUNTS] * 8))
def test_two_responses_cost_as_much_as_their_sum_where_nothing_is_cached(
    one: Tokens, other: Tokens
) -> None:
    one, other = (
        Tokens(t.text_in, t.audio_in, t.image_in, text_out=t.text_out, audio_out=t.audio_out)
        for t in (one, other)
    )

    assert cost_of(one + other) == cost_of(one) + cost_of(other)


@given(st.builds(Tokens, *[COUNTS] * 8))
def test_every_token_read_is_billed_once(tokens: Tokens) -> None:
    lines: list[CostLine] = pricing.token_lines(tokens, MODEL, RATES, DAY)

    assert sum(line.quantity for line in lines) == (
        tokens.text_in + tokens.audio_in + tokens.image_in + tokens.text_out + tokens.audio_out
    )
