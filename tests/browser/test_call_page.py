"""A call's page in a browser: what it shows while the call goes on, and what it leaves alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import F
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from calls.core.lifecycle import EndReason, Status
from calls.models import Call, CallEvent, Turn
from tests import worlds
from tests.browser.conftest import Desk
from tests.calls.kit import make_call
from tests.worlds import World

one_backend = pytest.mark.parametrize("world", [worlds.SQLITE], indirect=True)
DeskIn = Callable[..., Desk]


def say(call: Call, text: str, **fields: Any) -> None:
    """One more turn, which the open pages are told of."""
    position = call.turns.count()
    values: dict[str, Any] = {
        "item_id": f"item_{position}",
        "position": position,
        "speaker": Turn.RECIPIENT if position % 2 else Turn.AGENT,
        "started_ms": position * 1000,
        "is_final": True,
    }
    Turn.objects.create(call=call, text=text, **{**values, **fields})
    Call.objects.filter(pk=call.pk).update(revision=F("revision") + 1)


def talking(turns: int = 0) -> Call:
    call = make_call(Status.IN_PROGRESS, answered_at=timezone.now())
    for number in range(turns):
        say(call, f"Sentence {number}.")
    return call


def open_page(desk: Desk, call: Call) -> Page:
    page = desk.open(reverse("call-page", args=[call.pk]))
    expect(page.locator("#turns .turn")).to_have_count(call.turns.count())
    return page


# --- Following ----------------------------------------------------------------------------------
@one_backend
@pytest.mark.parametrize("width", [1280, 390])
def test_page_stays_with_the_last_words(world: World, desk_in: DeskIn, width: int) -> None:
    call = talking(turns=30)
    page = open_page(desk_in(world, width=width, height=800), call)
    page.locator("#turns .turn").last.scroll_into_view_if_needed()

    for number in range(5):
        say(call, f"And then {number}.")
        newest = page.get_by_text(f"And then {number}.", exact=True).last
        expect(newest).to_be_in_viewport(ratio=1)

    # Nor does the button that ends the call hide them, or scroll away.
    button = page.get_by_role("button", name="Hang up")
    expect(button).to_be_in_viewport(ratio=1)
    words, bar = newest.bounding_box(), page.locator("#hang-up").bounding_box()
    assert words
    assert bar
    assert words["y"] + words["height"] <= bar["y"] or words["y"] >= bar["y"] + bar["height"]


@one_backend
def test_reader_who_has_scrolled_away_is_left_there(world: World, desk_in: DeskIn) -> None:
    call = talking(turns=40)
    page = open_page(desk_in(world, height=600), call)
    page.locator("#turns .turn").nth(5).scroll_into_view_if_needed()
    before = page.evaluate("window.scrollY")

    say(call, "Said meanwhile.")
    expect(page.locator("#turns")).to_contain_text("Said meanwhile.")

    assert page.evaluate("window.scrollY") == before


@one_backend
def test_opened_entry_of_the_story_stays_open(world: World, desk_in: DeskIn) -> None:
    call = talking()
    CallEvent.objects.create(
        call=call, key="ring", kind="status", data={"CallStatus": "ringing", "SipCode": "180"}
    )
    page = open_page(desk_in(world), call)
    page.get_by_text("The phone rings").click()
    expect(page.get_by_text('"SipCode": "180"')).to_be_visible()

    say(call, "Something new.")
    expect(page.locator("#turns")).to_contain_text("Something new.")

    expect(page.get_by_text('"SipCode": "180"')).to_be_visible()


@one_backend
def test_tab_and_screen_reader_are_told_how_the_call_stands(world: World, desk_in: DeskIn) -> None:
    call = make_call(Status.RINGING)
    page = open_page(desk_in(world), call)
    expect(page).to_have_title("Ringing: Call to Ana Lima | voicecall")

    Call.objects.filter(pk=call.pk).update(
        status=Status.NO_ANSWER, duration_s=0, revision=F("revision") + 1
    )

    expect(page.get_by_role("status").filter(has_text="No answer")).to_be_visible()
    expect(page).to_have_title("Call to Ana Lima | voicecall")
    # Nobody talked: there is no duration.
    expect(page.locator("#timer")).to_be_empty()


# --- The transcript -----------------------------------------------------------------------------
@one_backend
def test_what_is_struck_through_is_explained_beside_it(world: World, desk_in: DeskIn) -> None:
    call = talking()
    say(call, "I am an AI.", speaker=Turn.AGENT)
    page = open_page(desk_in(world), call)
    legend = page.get_by_text("Struck through: what the agent was going to say")
    expect(legend).to_be_hidden()

    say(call, "Let me explain at length.", speaker=Turn.AGENT, heard_chars=6, interrupted=True)

    expect(legend).to_be_visible()
    expect(page.locator("#turns s")).to_have_text(" explain at length.")


@one_backend
def test_words_that_were_never_transcribed_are_called_so(world: World, desk_in: DeskIn) -> None:
    call = talking()
    say(call, "", speaker=Turn.RECIPIENT, is_final=False)
    page = open_page(desk_in(world), call)
    expect(page.locator(".turn.person.partial .turn-text")).to_have_text("speaking")

    Call.objects.filter(pk=call.pk).update(
        status=Status.COMPLETED, end_reason=EndReason.VOICEMAIL, revision=F("revision") + 1
    )

    expect(page.locator(".turn.person .turn-text")).to_have_text("no transcript")
    expect(page.locator(".turn.partial")).to_have_count(0)


@one_backend
def test_error_leads_to_the_recipient_whose_number_is_wrong(world: World, desk_in: DeskIn) -> None:
    call = make_call(Status.FAILED, end_reason=EndReason.NOT_REACHED, error_code="13224")
    page = open_page(desk_in(world), call)
    expect(page.locator("#notes")).to_contain_text("Correct the recipient's number.")

    page.get_by_role("link", name="Open the recipient").click()

    page.wait_for_url(re.compile(rf"/recipient/{call.recipient.pk}/change/"))
