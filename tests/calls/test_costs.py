"""What staff see of a call's cost, and what is stored of it."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps

from calls.core.lifecycle import Status
from calls.core.pricing import Basis
from calls.models import Agent, Call, Price, Recipient, Usage
from calls.services import costs

pytestmark = pytest.mark.django_db
ANSWERED = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
MODEL = "gpt-realtime-2.1"
prices = importlib.import_module("calls.migrations.0002_prices")


@pytest.fixture(autouse=True)
def _list_prices() -> None:
    """Those that the migration loads; a test before this one may have emptied the tables."""
    prices.load(apps, None)


def make_agent(**fields: Any) -> Agent:
    return Agent.objects.create(
        **{"name": f"Agent {uuid4()}", "instructions": "Be brief. " * 600, **fields}
    )


def make_call(**fields: Any) -> Call:
    values = {
        "agent": fields.pop("agent", None) or make_agent(),
        "recipient": Recipient.objects.create(name="Ann", phone=f"+1{uuid4().int % 10**10:010}"),
        "request_key": str(uuid4()),
        "to_number": "+14155550101",
        "from_number": "+14155550100",
        "status": Status.COMPLETED.value,
        "answered_at": ANSWERED,
        "stream_opened_at": ANSWERED,
        "stream_generation": 1,
        "duration_s": 300,
        **fields,
    }
    return Call.objects.create(**values)


def amounts(call: Call, **options: Any) -> dict[str, Decimal | None]:
    return {line.part: line.amount for line in costs.lines(call, **options)}


def use(call: Call, usage_id: str, **fields: Any) -> None:
    Usage.objects.create(
        call=call, usage_id=usage_id, **{"kind": "response", "model": MODEL, **fields}
    )


def test_five_minutes_recorded_and_streamed_cost_what_twilio_s_example_says(settings: Any) -> None:
    settings.ANSWERING_MACHINE_DETECTION = False
    call = make_call(duration_s=300)

    found = amounts(call)

    assert found == {
        "Phone connection": Decimal("0.0700"),
        "Media stream": Decimal("0.0220"),
        "Recording": Decimal("0.0125"),
    }
    assert costs.total(costs.lines(call)).amount == Decimal("0.1045")


def test_machine_detection_is_paid_by_the_call(settings: Any) -> None:
    settings.ANSWERING_MACHINE_DETECTION = False

    assert amounts(make_call(answered_by="human"))["Machine detection"] == Decimal("0.0075")


def test_a_call_that_nobody_answered_costs_nothing() -> None:
    call = make_call(
        answered_at=None, stream_opened_at=None, duration_s=0, status=Status.NO_ANSWER.value
    )

    assert costs.lines(call) == []


def test_a_call_under_way_is_reckoned_up_to_now() -> None:
    call = make_call(duration_s=None, status=Status.IN_PROGRESS.value)

    found = amounts(call, now=ANSWERED + timedelta(seconds=61))

    assert found["Phone connection"] == Decimal("0.0280")


def test_twilio_s_own_price_replaces_the_estimate_of_the_connection() -> None:
    call = make_call(twilio_price=Decimal("0.03"), twilio_price_unit="USD")

    line = costs.lines(call)[0]

    assert (line.part, line.amount, line.basis) == ("Phone connection", Decimal("0.03"), "final")
    assert costs.total(costs.lines(call)).basis is Basis.ESTIMATE


def test_a_bill_in_another_currency_is_not_added_to_dollars() -> None:
    call = make_call(twilio_price=Decimal("0.03"), twilio_price_unit="EUR")

    line = costs.lines(call)[0]

    assert (line.amount, line.basis) == (Decimal("0.0700"), "estimate")


def test_a_resumed_call_pays_for_each_stream() -> None:
    call = make_call(stream_generation=3)

    assert amounts(call)["Media stream"] == Decimal("0.0308")


def test_a_stream_that_was_offered_and_never_came_is_not_paid_for_but_those_before_it_are() -> None:
    lost = make_call(stream_generation=2, stream_opened_at=None)
    never = make_call(stream_generation=1, stream_opened_at=None)

    assert amounts(lost)["Media stream"] == Decimal("0.0220")
    assert "Media stream" not in amounts(never)


@pytest.mark.parametrize(
    ("status", "duration_ms", "amount"),
    [("ready", 61_000, "0.0050"), ("pending", None, "0.0125"), ("absent", None, None)],
)
def test_a_recording_costs_its_own_minutes(
    status: str, duration_ms: int | None, amount: str | None
) -> None:
    call = make_call()
    call.recordings.create(recording_sid="RE" + uuid4().hex, status=status, duration_ms=duration_ms)

    found = amounts(call).get("Recording")

    assert found == (amount if amount is None else Decimal(amount))


def test_the_responses_of_a_call_are_added_up_by_model_and_kind() -> None:
    call = make_call()
    use(call, "resp_1", text_in=1500, audio_in=60, audio_out=160, text_out=30)
    use(
        call,
        "resp_2",
        text_in=1530,
        cached_text_in=1500,
        audio_in=280,
        cached_audio_in=60,
        audio_out=160,
        text_out=30,
        status="cancelled",
    )
    use(call, "item_1", kind="transcription", model="gpt-transcribe", seconds=Decimal(30))

    found = {part: amount for part, amount in amounts(call).items() if part.startswith("gpt")}

    assert found == {
        f"{MODEL}, text in": Decimal("0.00612"),
        f"{MODEL}, text in, cached": Decimal("0.0006"),
        f"{MODEL}, audio in": Decimal("0.00896"),
        f"{MODEL}, audio in, cached": Decimal("0.000024"),
        f"{MODEL}, text out": Decimal("0.00144"),
        f"{MODEL}, audio out": Decimal("0.02048"),
        "gpt-transcribe, transcription": Decimal("0.00225"),
    }


def test_a_price_that_is_missing_leaves_a_line_that_says_so() -> None:
    Price.objects.filter(item__startswith="twilio").delete()
    call = make_call(answered_by="human")
    use(call, "resp_1", text_out=5)

    lines = costs.lines(call)

    assert [line.amount is None for line in lines] == [True, True, True, True, False]
    assert lines[0].reason == "There is no price for twilio.voice. Add one under Prices."
    assert costs.total(lines).unpriced == (
        "Phone connection",
        "Media stream",
        "Recording",
        "Machine detection",
    )


def test_a_new_price_leaves_past_calls_as_they_were() -> None:
    Price.objects.create(
        item="twilio.voice",
        unit="minute",
        amount=Decimal(9),
        valid_from=ANSWERED.date() + timedelta(days=1),
    )

    assert amounts(make_call())["Phone connection"] == Decimal("0.0700")
    later = make_call(answered_at=ANSWERED + timedelta(days=1))
    assert amounts(later)["Phone connection"] == Decimal(45)


def test_the_stored_cost_changes_once_and_shows_as_a_change() -> None:
    call = make_call(twilio_price=Decimal("0.07"), twilio_price_unit="USD", answered_by="human")

    changed = [costs.refresh_estimate(call.pk), costs.refresh_estimate(call.pk)]

    call.refresh_from_db()
    assert changed == [True, False]
    assert call.estimated_cost == Decimal("0.11200")
    assert call.revision == 1


def test_a_call_that_is_gone_has_no_cost_to_store() -> None:
    assert costs.refresh_estimate(uuid4()) is False


def test_before_calling_staff_see_the_least_and_the_most_that_a_call_may_cost() -> None:
    agent = make_agent(max_duration_s=300)

    low, high = costs.estimate_per_call(agent)

    # A minute: 0.0284 to Twilio, and four turns. Five: 0.112 to Twilio, 0.0225 to transcribe,
    # and the worked example's conversation without any cache.
    assert Decimal("0.08") <= low <= Decimal("0.13")
    assert high == pytest.approx(Decimal("2.03"), rel=Decimal("0.03"))


def test_the_prices_can_be_unloaded_and_loaded_again() -> None:
    before = set(Price.objects.values_list("item", "amount"))
    Price.objects.create(item="own", unit="call", amount=Decimal(1), valid_from=prices.VALID_FROM)

    prices.unload(apps, None)
    kept = list(Price.objects.values_list("item", flat=True))
    prices.load(apps, None)

    assert kept == ["own"]
    assert set(Price.objects.exclude(item="own").values_list("item", "amount")) == before
