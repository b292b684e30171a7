"""Claiming calls: one worker takes each, and the rules are looked at last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from calls.core.lifecycle import TERMINAL, EndReason, Status
from calls.models import Call, DoNotCall
from calls.services import placing, recipients
from tests.calls.kit import (
    FakeTwilio,
    at_once,
    make_call,
    make_recipient,
    row,
    status_of,
)

BERLIN_NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)


def test_one_message_delivered_a_hundred_times_dials_once(
    database: str, twilio: FakeTwilio
) -> None:
    """[A6] By many workers at the same time."""
    call = make_call()

    def work(_: int) -> None:
        for _ in range(10):
            placing.place(call.pk)

    assert at_once(10, work) == [None] * 10
    assert len(twilio.created) == 1
    assert status_of(call) is Status.INITIATED
    assert row(call)["twilio_sid"] in twilio.calls


def test_many_workers_share_many_calls_without_dialling_any_twice(
    database: str, twilio: FakeTwilio
) -> None:
    """[A6]"""
    ids = [make_call().pk for _ in range(30)]

    def work(n: int) -> None:
        for pk in ids[n * 5 :] + ids[: n * 5]:
            placing.place(pk)

    assert at_once(6, work) == [None] * 6

    numbers = [request.values("To")[0] for request in twilio.created]
    assert sorted(numbers) == sorted(Call.objects.values_list("to_number", flat=True))
    assert set(Call.objects.values_list("status", flat=True)) == {Status.INITIATED}


@pytest.mark.django_db
@pytest.mark.parametrize("status", sorted(set(Status) - {Status.QUEUED}))
def test_only_a_waiting_call_can_be_claimed(status: Status) -> None:
    call = make_call(status)
    before = row(call)

    assert placing.claim(call.pk) is None

    assert row(call) == before


@pytest.mark.django_db
def test_a_call_is_not_claimed_before_its_time() -> None:
    call = make_call(not_before=timezone.now() + timedelta(minutes=1))

    assert placing.claim(call.pk) is None
    assert placing.claim(call.pk, now=timezone.now() + timedelta(minutes=2)) is not None


@pytest.mark.django_db
def test_a_number_put_on_the_list_after_the_request_is_not_dialled() -> None:
    """[G7, A22] The list is looked at in the claim."""
    call = make_call()
    DoNotCall.objects.create(phone=call.to_number)

    assert placing.claim(call.pk) is None

    found = row(call)
    assert (found["status"], found["end_reason"]) == ("blocked", EndReason.NOT_ALLOWED)
    assert found["end_detail"] == "The number is on the do-not-call list."


@pytest.mark.django_db
def test_a_call_whose_hours_have_passed_expires(settings: Any) -> None:
    """[A17, A12] However long the scheduler stood still."""
    settings.CALLING_HOURS = "09:00-20:00"
    call = make_call(recipient=make_recipient(phone="+493012345678"), not_before=BERLIN_NOON)

    assert placing.claim(call.pk, now=BERLIN_NOON + timedelta(hours=9)) is None

    found = row(call)
    assert (found["status"], found["end_reason"]) == ("expired", EndReason.NOT_ALLOWED)
    assert "has 21:00 now (Europe/Berlin)" in found["end_detail"]


@pytest.mark.django_db
def test_where_no_hour_is_allowed_the_call_is_blocked(settings: Any) -> None:
    settings.CALLING_HOURS = settings.CALLING_HOURS_SUNDAY = "closed"
    call = make_call()

    assert placing.claim(call.pk) is None

    assert status_of(call) is Status.BLOCKED


@pytest.mark.django_db
def test_while_dialling_is_paused_calls_wait() -> None:
    call = make_call()
    placing.pause_dialling("20003", "Twilio does not accept our credentials.")
    before = row(call)

    claimed, kicked = placing.claim(call.pk), placing.sweep(timezone.now())

    assert (claimed, kicked, row(call)) == (None, 0, before)


@pytest.mark.django_db
def test_a_lifted_pause_lets_them_go_on() -> None:
    call = make_call()
    placing.pause_dialling("20003", "Twilio does not accept our credentials.")

    assert placing.lift_pauses(by=None) == 1

    assert placing.claim(call.pk) is not None


def test_a_number_that_is_put_on_the_list_is_hung_up_on_at_once(database: str) -> None:
    """[A22]"""
    waiting, talking = make_call(), make_call(Status.IN_PROGRESS)

    for call in (waiting, talking):
        recipients.forbid_calls(call.to_number, by=None, reason="asked for it")

    assert status_of(waiting) is Status.CANCELED
    assert row(talking)["hangup_requested_at"] is not None


def test_no_dial_slips_through_beside_the_do_not_call_list(
    database: str, twilio: FakeTwilio
) -> None:
    """[A22] In any race, the person is either not called, or hung up on."""
    ids = [(call.pk, call.to_number) for call in (make_call() for _ in range(12))]

    def work(n: int) -> None:
        pk, phone = ids[n // 2]
        if n % 2:
            placing.place(pk)
        else:
            recipients.forbid_calls(phone, by=None)

    results = at_once(24, work)

    assert results == [None] * 24
    for call in Call.objects.all():
        dialled = call.twilio_sid is not None
        assert call.hangup_requested_at is not None if dialled else call.state in TERMINAL
