"""Asking for calls: who is called, who is skipped and why, and never twice."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from calls.core.brief import Brief
from calls.core.lifecycle import LIVE, TERMINAL, Status
from calls.models import Agent, Call, DoNotCall, Recipient
from calls.services import placing
from tests.calls.kit import (
    at_once,
    make_agent,
    make_call,
    make_recipient,
)
from tests.servers import wait_until

BERLIN_NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)


def reasons(skipped: list[placing.Skipped]) -> list[str]:
    return [entry.reason for entry in skipped]


@pytest.mark.django_db
def test_a_request_queues_one_call_for_each_person_and_freezes_what_it_says() -> None:
    agent = make_agent(instructions="Ask {{ name }} for a time.")
    people = [make_recipient(name="Ana"), make_recipient(name="Ben")]

    requested = placing.request_calls(people, agent, by=None, request_key="form-1")
    Agent.objects.update(instructions="Something else")
    Recipient.objects.update(name="Somebody else")

    assert [call.recipient.pk for call in requested.queued] == [p.pk for p in people]
    assert {call.status for call in requested.queued} == {Status.QUEUED}
    brief = Brief.from_json(Call.objects.get(recipient=people[1]).brief)
    assert "Ask Ben for a time." in brief.instructions


@pytest.mark.django_db
def test_the_same_person_chosen_twice_is_called_once() -> None:
    """[A16]"""
    person = make_recipient()

    requested = placing.request_calls([person, person], make_agent(), by=None, request_key="f")

    assert len(requested.queued) == 1


@pytest.mark.django_db
def test_a_request_sent_again_asks_for_nothing_new() -> None:
    """[A15]"""
    person, agent = make_recipient(), make_agent()
    first = placing.request_calls([person], agent, by=None, request_key="form-1")
    Call.objects.update(status=Status.COMPLETED)

    again = placing.request_calls([person], agent, by=None, request_key="form-1")

    assert (again.queued, again.skipped, again.repeated) == ([], [], first.queued)


@pytest.mark.django_db
def test_somebody_who_is_on_a_call_is_not_called_a_second_time() -> None:
    """[A16] By another request."""
    person, agent = make_recipient(), make_agent()
    placing.request_calls([person], agent, by=None, request_key="form-1")

    again = placing.request_calls([person], agent, by=None, request_key="form-2")

    assert (again.queued, reasons(again.skipped)) == ([], ["is on a call already"])


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "x" * 61])
def test_a_request_key_of_the_wrong_length_is_named(key: str) -> None:
    with pytest.raises(ValueError, match="request_key"):
        placing.request_calls([make_recipient()], make_agent(), by=None, request_key=key)


def _switched_off() -> tuple[Recipient, Agent]:
    return make_recipient(), make_agent(name="Iris", is_active=False)


def _do_not_call() -> tuple[Recipient, Agent]:
    person = make_recipient()
    DoNotCall.objects.create(phone=person.phone)
    return person, make_agent()


def _ourselves() -> tuple[Recipient, Agent]:
    return make_recipient(phone="+14155550100"), make_agent()


def _premium() -> tuple[Recipient, Agent]:
    return make_recipient(phone="+19005550123"), make_agent()


def _no_value() -> tuple[Recipient, Agent]:
    return make_recipient(), make_agent(instructions="{{ item }} {{ name }}", variables=["item"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        (_switched_off, "the agent Iris is switched off"),
        (_do_not_call, "is on the do-not-call list"),
        (_ourselves, "has our own number"),
        (_premium, "has a number that we do not call: it is a premium-rate number"),
        (_no_value, "lacks a value for item"),
    ],
)
def test_who_may_not_be_called_is_skipped_with_the_reason(situation: Any, reason: str) -> None:
    """[G7, G9]"""
    person, agent = situation()
    willing = make_recipient()

    requested = placing.request_calls(
        [person, willing] if agent.is_active and not agent.variables else [person],
        agent,
        by=None,
        request_key="f",
    )

    assert reasons(requested.skipped) == [reason]
    assert person not in [call.recipient for call in requested.queued]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("local", "allowed"),
    [("08:59", False), ("09:00", True), ("19:59", True), ("20:00", False), ("02:00", False)],
)
def test_people_are_called_in_their_own_hours_only(
    local: str, allowed: bool, settings: Any
) -> None:
    """[A17]"""
    settings.CALLING_HOURS = "09:00-20:00"
    person = make_recipient(phone="+493012345678")
    hour, minute = map(int, local.split(":"))
    now = BERLIN_NOON.replace(hour=0, minute=0) + timedelta(hours=hour - 1, minutes=minute)

    found = placing.preview([person], make_agent(), now=now)

    assert (found.callable == [person]) is allowed
    assert allowed or reasons(found.skipped) == [
        f"has {local} now (Europe/Berlin); calls are allowed from 09:00 to 20:00"
    ]


@pytest.mark.django_db
def test_the_zone_that_staff_set_counts_before_the_one_of_the_number(settings: Any) -> None:
    settings.CALLING_HOURS = "09:00-20:00"
    person = make_recipient(phone="+493012345678", zone="Asia/Tokyo")

    found = placing.preview([person], make_agent(), now=BERLIN_NOON)

    assert reasons(found.skipped) == [
        "has 20:00 now (Asia/Tokyo); calls are allowed from 09:00 to 20:00"
    ]


def test_twenty_posts_of_one_form_at_once_ask_for_each_call_once(database: str) -> None:
    """[A15]"""
    people, agent = [make_recipient() for _ in range(5)], make_agent()

    def submit(_: int) -> placing.Requested:
        return placing.request_calls(people, agent, by=None, request_key="form-1")

    results = at_once(20, submit)

    assert Call.objects.count() == 5
    assert sum(len(r.queued) for r in results) == 5
    assert sum(len(r.repeated) for r in results) == 95
    assert sum(len(r.skipped) for r in results) == 0


def test_ten_requests_for_one_number_at_once_lead_to_one_call(database: str) -> None:
    """[A16] The rest are told why not."""
    person, agent = make_recipient(), make_agent()

    def submit(n: int) -> placing.Requested:
        return placing.request_calls([person], agent, by=None, request_key=f"form-{n}")

    results = at_once(10, submit)

    assert Call.objects.count() == 1
    assert sum(len(r.queued) for r in results) == 1
    assert [reasons(r.skipped) for r in results if r.skipped] == [["is on a call already"]] * 9


def test_requests_for_the_same_people_in_another_order_wait_but_never_for_each_other(
    postgresql: str,
) -> None:
    """[F13] Rows go in by number: who waits for the first has not taken the last."""
    first, last = sorted((make_recipient() for _ in range(2)), key=lambda r: r.phone)
    agent = make_agent()
    first_is_taken, other_waits = threading.Event(), threading.Event()

    def one() -> None:
        with transaction.atomic():
            make_call(recipient=first, agent=agent)
            first_is_taken.set()
            assert other_waits.wait(10)
            make_call(recipient=last, agent=agent)

    def other() -> placing.Requested:
        assert first_is_taken.wait(10)
        return placing.request_calls([last, first], agent, by=None, request_key="form-1")

    def watch() -> None:
        wait_until(_somebody_waits, what="the second request to wait")
        other_waits.set()

    results = at_once(3, lambda n: (one, other, watch)[n]())

    assert results[0] is results[2] is None
    assert reasons(results[1].skipped) == ["is on a call already"] * 2
    assert Call.objects.count() == 2


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("status", sorted(LIVE))
def test_the_database_itself_allows_one_live_call_for_each_number(
    status: Status, database: str
) -> None:
    """[A16]"""
    call = make_call(status)

    with pytest.raises(IntegrityError), transaction.atomic():
        make_call(Status.QUEUED, recipient=call.recipient)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_who_was_called_before_may_be_called_again(status: Status, database: str) -> None:
    call = make_call(status)

    make_call(Status.QUEUED, recipient=call.recipient)

    assert Call.objects.count() == 2
