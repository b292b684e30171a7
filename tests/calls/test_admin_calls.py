"""Calls as the admin lists and keeps them."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from calls.core.lifecycle import EndReason, Status
from calls.models import Call, Turn
from tests.calls.kit import make_call, make_recipient
from tests.staff import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(db: None) -> Client:
    return signed_in(User.objects.create_superuser("admin"))


def words_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


# --- A record -----------------------------------------------------------------------------------
def test_record_of_a_call_shows_its_turns_but_not_its_token(admin: Client) -> None:
    """[F10]"""
    call = make_call(Status.COMPLETED)
    Turn.objects.create(
        call=call, item_id="a", position=0, speaker=Turn.AGENT, text="Good morning.", started_ms=0
    )

    html = admin.get(reverse("admin:calls_call_change", args=[call.pk])).content.decode()

    assert "Good morning." in html
    assert call.token not in html


def test_record_tells_what_was_heard_of_each_turn(admin: Client) -> None:
    call = make_call(Status.COMPLETED)
    for position, heard in enumerate([13, 5, 0, None]):
        Turn.objects.create(
            call=call,
            item_id=str(position),
            position=position,
            speaker=Turn.RECIPIENT if heard is None else Turn.AGENT,
            text="Good morning.",
            started_ms=position * 61_000,
            heard_chars=heard,
        )

    page = words_of(admin.get(reverse("admin:calls_call_change", args=[call.pk])).content.decode())

    for told in ("0:00 The agent Good morning. all of it", "1:01 The agent Good morning. “Good”"):
        assert told in page
    for told in ("2:02 The agent Good morning. nothing", "3:03 The person Good morning. -"):
        assert told in page


def test_record_leads_to_transcript_and_recording(admin: Client) -> None:
    call = make_call(Status.COMPLETED)
    record = admin.get(reverse("admin:calls_call_change", args=[call.pk])).content.decode()
    link = re.search(r'href="([^"]+/open/?)"', record)
    assert link

    answer = admin.get(link[1])

    assert answer["Location"] == reverse("call-page", args=[call.pk])


# --- The list -----------------------------------------------------------------------------------
def test_list_offers_everything_only_where_something_is_hidden(admin: Client) -> None:
    for status in (Status.COMPLETED, Status.BUSY):
        make_call(status)
    path = reverse("admin:calls_call_changelist")

    whole = admin.get(path).content.decode()
    part = admin.get(path, {"status__exact": "busy"}).content.decode()

    assert "Show all" not in whole
    assert "Show all" in part


def test_list_says_when_with_the_zone(admin: Client) -> None:
    call = make_call(Status.COMPLETED)
    Call.objects.filter(pk=call.pk).update(created_at="2026-07-04T09:05:00Z")

    page = words_of(admin.get(reverse("admin:calls_call_changelist")).content.decode())

    assert "4 Jul 2026, 09:05 UTC" in page


def test_call_that_was_not_answered_has_no_duration(admin: Client) -> None:
    make_call(Status.BUSY, duration_s=0)

    page = words_of(admin.get(reverse("admin:calls_call_changelist")).content.decode())

    assert "0:00" not in page


def test_call_list_links_to_the_pages_of_the_calls(admin: Client) -> None:
    call = make_call(
        Status.COMPLETED,
        duration_s=65,
        estimated_cost=Decimal("0.0712"),
        end_reason=EndReason.AGENT_ENDED,
    )

    html = admin.get(reverse("admin:calls_call_changelist")).content.decode()

    assert f'href="{reverse("call-page", args=[call.pk])}"' in html
    for text in ("Ana Lima", "Completed", "1:05", "$0.0712", "The agent said goodbye and hung up"):
        assert text in html


@pytest.mark.parametrize("status", list(Status))
def test_call_list_says_every_status_in_words(admin: Client, status: Status) -> None:
    make_call(status)

    html = admin.get(reverse("admin:calls_call_changelist")).content.decode()

    assert status.label in words_of(html.split('id="result_list"')[1].split("</table>")[0])


@pytest.mark.parametrize(
    ("state", "found"),
    [("live", {"talking"}), ("today", {"talking", "failed"}), ("failed", {"failed"})],
)
def test_states_of_the_overview_filter_the_list(admin: Client, state: str, found: set[str]) -> None:
    make_call(Status.IN_PROGRESS, recipient=make_recipient(name="talking"))
    make_call(Status.FAILED, recipient=make_recipient(name="failed"))
    old = make_call(Status.FAILED, recipient=make_recipient(name="long ago"))
    Call.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=3))

    answer = admin.get(reverse("admin:calls_call_changelist"), {"state": state})

    shown = {call.recipient.name for call in answer.context["cl"].result_list}
    assert shown == found
