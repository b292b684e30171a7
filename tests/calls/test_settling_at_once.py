"""Several workers that settle at the same time."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from calls.core.lifecycle import Status
from calls.services import settling
from tests.calls.kit import FakeTwilio, at_once, make_call, new_sid, row, status_of

MINUTE = timedelta(minutes=1)


def test_two_settling_workers_ask_about_a_call_once(database: str, twilio: FakeTwilio) -> None:
    """[A11]"""
    now = timezone.now()
    call = make_call(Status.UNKNOWN, claimed_at=now - MINUTE, lease_expires_at=now + MINUTE)
    twilio.add_call(to=call.to_number)

    results = at_once(6, lambda _: settling.settle(now))

    assert results == [None] * 6
    assert len(twilio.received) == 1
    assert status_of(call) is Status.INITIATED


def test_two_workers_ask_for_a_price_once(database: str, twilio: FakeTwilio) -> None:
    """[A11]"""
    now = timezone.now()
    call = make_call(Status.COMPLETED, ended_at=now, twilio_sid=new_sid())
    twilio.add_call(sid=call.twilio_sid, status="completed", price="-0.014")

    at_once(6, lambda _: settling.ask_prices(now))

    assert len(twilio.received) == 1
    assert row(call)["twilio_price"] is not None
