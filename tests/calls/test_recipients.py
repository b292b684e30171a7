"""People, their numbers, and the list of those who are not called."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from calls.core.lifecycle import Status
from calls.models import DoNotCall, Recipient
from calls.services import recipients
from tests.calls.kit import at_once, make_call, make_recipient, row, status_of


@pytest.mark.django_db
def test_a_person_is_added_with_one_spelling_of_the_number() -> None:
    """[A25]"""
    person = recipients.add("  Ana\x00 Lima ", "(415) 555-0101", context="Likes\x07 mornings")

    assert (person.name, person.phone, person.context) == (
        "Ana Lima",
        "+14155550101",
        "Likes mornings",
    )


@pytest.mark.django_db
def test_the_same_number_is_the_same_person() -> None:
    """[A16]"""
    first = recipients.add("Ana", "+1 415 555 0101")

    assert recipients.add("Anna", "415-555-0101") == first
    assert Recipient.objects.count() == 1


def test_the_same_number_added_many_times_at_once_is_one_person(database: str) -> None:
    """[A16]"""
    found = at_once(8, lambda _: recipients.add("Ana", "+14155550101"))

    assert len({person.pk for person in found}) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"context": "x" * 8001}, "context"),
        ({"language": "x" * 11}, "language"),
    ],
)
def test_a_field_that_is_not_acceptable_is_named(fields: dict[str, str], field: str) -> None:
    """[A24]"""
    values = {"name": "Ana", "phone": "+14155550101", **fields}

    with pytest.raises(ValidationError) as caught:
        recipients.add(**values)

    assert list(caught.value.message_dict) == [field]
    assert not Recipient.objects.exists()


def test_a_number_that_is_not_called_says_why_and_how_to_write_one() -> None:
    with pytest.raises(ValidationError) as caught:
        recipients.normalise_phone("+1 900 555 0123")

    assert caught.value.messages == [
        "This number cannot be called: it is a premium-rate number. Write it like +49 30 1234567."
    ]


@pytest.mark.django_db
def test_who_does_not_want_to_be_called_is_put_on_the_list_once() -> None:
    first = recipients.forbid_calls("+14155550101", by=None, reason="said so\x00")

    assert recipients.forbid_calls("+14155550101", by=None) == first
    assert DoNotCall.objects.get().reason == "said so"


@pytest.mark.django_db
def test_all_that_is_on_its_way_to_the_number_is_ended() -> None:
    """[G4, A22]"""
    person, other = make_recipient(), make_recipient()
    over = make_call(Status.COMPLETED, recipient=person)
    waiting = make_call(Status.QUEUED, recipient=person)
    unconcerned = make_call(Status.QUEUED, recipient=other)

    recipients.forbid_calls(person.phone, by=None)

    assert status_of(waiting) is Status.CANCELED
    assert status_of(over) is Status.COMPLETED
    assert status_of(unconcerned) is Status.QUEUED
    assert row(over)["hangup_requested_at"] is None


@pytest.mark.django_db
def test_a_number_can_be_taken_off_the_list() -> None:
    recipients.forbid_calls("+14155550101", by=None)

    assert recipients.allow_calls("+14155550101")
    assert not recipients.allow_calls("+14155550101")
