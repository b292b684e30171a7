"""What staff do with the product, in a browser, against the running world."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, WebSocketRoute, expect

from calls.core.lifecycle import EndReason, Status
from calls.models import Agent, Call, CallEvent, DialingPause, Recipient, Turn
from tests import worlds
from tests.browser.conftest import Desk
from tests.calls.kit import make_agent, make_call, make_recipient
from tests.servers import wait_until
from tests.worlds import World

TALK_S = 40_000  # milliseconds: dialling, ringing and the first words, on a busy machine
one_backend = pytest.mark.parametrize("world", [worlds.SQLITE], indirect=True)
DeskIn = Callable[..., Desk]


def ask_for_call(page: Page) -> None:
    """From the confirmation to the live page."""
    page.get_by_role("button", name="Call now").click()
    page.wait_for_url(re.compile(r"/calls/[0-9a-f-]{36}/$"))


def recorded_call(**fields: Any) -> Call:
    """A finished call with something said in it."""
    now = timezone.now()
    call = make_call(
        Status.COMPLETED,
        answered_at=now - timedelta(seconds=30),
        ended_at=now,
        duration_s=30,
        end_reason=EndReason.AGENT_ENDED,
        **fields,
    )
    for position, (speaker, text) in enumerate(
        [(Turn.AGENT, "Good morning, I am an AI."), (Turn.RECIPIENT, "Hello.")]
    ):
        Turn.objects.create(
            call=call,
            item_id=f"item_{position}",
            position=position,
            speaker=speaker,
            text=text,
            started_ms=position * 3000,
            ended_ms=position * 3000 + 2000,
            heard_chars=13 if speaker == Turn.AGENT else None,
            interrupted=speaker == Turn.AGENT,
            latency_heard_ms=900 if speaker == Turn.AGENT else None,
            is_final=True,
        )
    return call


# --- The whole way ------------------------------------------------------------------------------
def test_from_an_empty_system_to_a_recording_that_plays(world: World, desk_in: DeskIn) -> None:
    desk = desk_in(world)
    page = desk.page

    page.get_by_role("link", name="Create an agent").click()
    page.fill("[name=name]", "Nora")
    page.fill("[name=instructions]", "Confirm the appointment of {{ first_name }}.")
    page.get_by_role("button", name="Save", exact=True).click()
    desk.open("/admin/calls/recipient/add/")
    page.fill("[name=name]", "Ana Lima")
    page.fill("[name=phone]", "(415) 555-0101")
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_role("link", name="Call now").click()
    ask_for_call(page)

    # The conversation appears while it is held: nobody reloads anything.
    turns = page.locator("#turns .turn")
    expect(turns.first).to_be_visible(timeout=TALK_S)
    expect(page.locator("#status")).to_have_text("Talking")
    expect(page.get_by_role("button", name="Hang up")).to_be_visible()
    expect(page.locator("#turns .turn.person").first).to_be_visible(timeout=TALK_S)
    expect(page.locator("#turns .turn.agent .chip").first).to_contain_text(" s", timeout=TALK_S)

    # It ends by itself, and says how.
    expect(page.locator("#status")).to_have_text("Completed", timeout=TALK_S)
    expect(page.locator("#facts")).to_contain_text("The agent said goodbye and hung up")
    expect(page.get_by_role("button", name="Hang up")).to_be_hidden()
    expect(page.locator("#costs")).to_contain_text("Phone connection")

    # The recording arrives on the open page, plays, and follows the sentences.
    expect(page.get_by_role("slider")).to_be_visible(timeout=TALK_S)
    expect(page.locator(".lane span")).to_have_text(["Person", "Agent"])
    turns.nth(2).locator(".turn-text").click()
    started_ms = Turn.objects.order_by("position")[2].started_ms
    position = page.get_by_role("slider").get_attribute("aria-valuenow")
    assert abs(int(position or 0) * 1000 - started_ms) <= 1000
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.locator("#turns .turn.playing")).to_have_count(1)
    page.keyboard.press("Space")
    slider = page.get_by_role("slider")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    expect(slider).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuenow", "5")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download").click()
    assert saved.value.suggested_filename == f"call-{Call.objects.get().pk}.wav"
    assert Call.objects.count() == 1
    assert desk.complaints == []


@one_backend
def test_two_fast_clicks_are_one_call(world: World, desk_in: DeskIn) -> None:
    """[A15]"""
    make_agent()
    recipient = make_recipient()
    desk = desk_in(world)
    page = desk.open(f"{reverse('call-confirm')}?recipients={recipient.pk}")

    page.get_by_role("button", name="Call now").dblclick(no_wait_after=True)
    page.wait_for_url(re.compile(r"/calls/[0-9a-f-]{36}/$"))

    assert Call.objects.count() == 1


@one_backend
def test_hanging_up_ends_the_call_and_says_who_did(world: World, desk_in: DeskIn) -> None:
    make_agent()
    recipient = make_recipient()
    world.sandbox.person(recipient.phone, "silent")
    desk = desk_in(world, width=390, height=800)
    page = desk.open(f"{reverse('call-confirm')}?recipients={recipient.pk}")
    ask_for_call(page)
    expect(page.locator("#status")).to_have_text("Talking", timeout=TALK_S)

    page.get_by_role("button", name="Hang up").click()

    expect(page.locator("#status")).to_have_text("Completed", timeout=TALK_S)
    expect(page.locator("#facts")).to_contain_text("A member of staff hung up")


@one_backend
def test_busy_line_is_told_without_a_conversation(world: World, desk_in: DeskIn) -> None:
    make_agent()
    recipient = make_recipient()
    world.sandbox.person(recipient.phone, "busy")
    desk = desk_in(world)
    page = desk.open(f"{reverse('call-confirm')}?recipients={recipient.pk}")

    ask_for_call(page)

    expect(page.locator("#status")).to_have_text("Busy", timeout=TALK_S)
    expect(page.locator("#no-turns")).to_have_text("Nothing was said in this call.")
    expect(page.get_by_role("link", name="Call again…")).to_be_visible()


@one_backend
def test_selected_people_are_called_after_one_confirmation(world: World, desk_in: DeskIn) -> None:
    make_agent()
    people = [make_recipient(name=f"Person {n}") for n in (1, 2)]
    for person in people:
        world.sandbox.person(person.phone, "busy")
    desk = desk_in(world)
    page = desk.open(reverse("admin:calls_recipient_changelist"))

    for box in page.locator("input.action-select[name=_selected_action]").all():
        box.check()
    page.select_option("select[name=action]", "call_selected")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("Will be called")).to_be_visible()
    assert not Call.objects.exists()
    page.get_by_role("button", name="Call 2 people").click()

    expect(page.get_by_text("2 calls are on their way.")).to_be_visible()
    assert Call.objects.count() == 2


# --- The open page ------------------------------------------------------------------------------
def _change(call: Call, text: str) -> None:
    position = call.turns.count()
    Turn.objects.create(
        call=call,
        item_id=f"late_{position}",
        position=position,
        speaker=Turn.RECIPIENT,
        text=text,
        started_ms=position * 1000,
        is_final=True,
    )
    Call.objects.filter(pk=call.pk).update(revision=call.revision + 1)


@one_backend
def test_page_without_a_socket_follows_the_call_by_asking(world: World, desk_in: DeskIn) -> None:
    call = make_call(Status.IN_PROGRESS, answered_at=timezone.now())
    desk = desk_in(world)

    def refuse(route: WebSocketRoute) -> None:
        route.close()

    desk.page.route_web_socket(re.compile("/ws/"), refuse)
    page = desk.open(reverse("call-page", args=[call.pk]))
    expect(page.locator("#no-turns")).to_contain_text("What is said appears here")

    _change(call, "Came by asking.")

    expect(page.locator("#turns")).to_contain_text("Came by asking.")


@one_backend
def test_finished_sentences_are_read_out_once_each(world: World, desk_in: DeskIn) -> None:
    call = make_call(Status.IN_PROGRESS, answered_at=timezone.now())
    desk = desk_in(world)
    page = desk.open(reverse("call-page", args=[call.pk]))
    announcer = page.locator("[aria-live=polite]")

    _change(call, "First sentence.")
    expect(announcer.locator("p")).to_have_count(1)
    call.refresh_from_db()
    _change(call, "Second sentence.")

    expect(announcer.locator("p")).to_have_text(
        ["Ana Lima: First sentence.", "Ana Lima: Second sentence."]
    )


@one_backend
def test_what_nobody_heard_is_struck_through(world: World, desk_in: DeskIn) -> None:
    call = recorded_call()
    page = desk_in(world).open(reverse("call-page", args=[call.pk]))

    unheard = page.locator("#turns s")

    expect(unheard).to_have_text(" I am an AI.")
    assert unheard.get_attribute("title") == "generated, never heard"
    expect(page.locator(".turn.agent")).to_contain_text("interrupted")
    expect(page.locator(".turn.agent .chip").first).to_contain_text("0.9 s")


@one_backend
def test_signed_out_page_leads_to_the_login(world: World, desk_in: DeskIn) -> None:
    """[F6]"""
    call = make_call(Status.IN_PROGRESS, answered_at=timezone.now())
    desk = desk_in(world)
    page = desk.open(reverse("call-page", args=[call.pk]))

    desk.context.clear_cookies(name="sessionid")

    page.wait_for_url(re.compile("/login/"))


# --- Writing an agent ---------------------------------------------------------------------------
@one_backend
def test_preview_follows_the_typing(world: World, desk_in: DeskIn) -> None:
    make_recipient(name="Ana Lima")
    make_recipient(name="Bo Lee")
    page = desk_in(world).open(reverse("admin:calls_agent_add"))

    page.fill("[name=instructions]", "Greet {{ first_name }} warmly.")
    expect(page.locator("#preview-text")).to_contain_text("Greet Ana warmly.")
    page.select_option("#preview-recipient", label=str(Recipient.objects.get(name="Bo Lee")))
    expect(page.locator("#preview-text")).to_contain_text("Greet Bo warmly.")
    page.fill("[name=instructions]", "Greet {{ frist_name }}.")

    expect(page.locator("#preview-problems")).to_contain_text(
        "Unknown variable {{ frist_name }}. Known are:"
    )


@one_backend
def test_preview_stands_beside_the_instructions_and_finds_anybody(
    world: World, desk_in: DeskIn
) -> None:
    for number in range(50):
        make_recipient(name=f"Person {number:02}")
    make_recipient(name="Zoë Öz")
    page = desk_in(world).open(reverse("admin:calls_agent_add"))

    page.fill("[name=instructions]", "Greet {{ first_name }} warmly.")
    expect(page.locator("#preview-text")).to_contain_text("Greet Person warmly.")
    page.get_by_role("searchbox", name="Find a recipient").fill("zoë")
    expect(page.locator("#preview-text")).to_contain_text("Greet Zoë warmly.")
    expect(page.get_by_text("Never claim to be human")).to_be_hidden()
    page.get_by_role("button", name="House rules").click()
    expect(page.get_by_text("Never claim to be human")).to_be_visible()

    instructions = page.locator("[name=instructions]").bounding_box()
    preview = page.locator("#agent-preview").bounding_box()
    assert instructions
    assert preview
    assert 0 < preview["y"] - (instructions["y"] + instructions["height"]) < 120


# --- Looks --------------------------------------------------------------------------------------
PAGES = {
    "overview": lambda call: "/admin/",
    "calls": lambda call: reverse("admin:calls_call_changelist"),
    "recipients": lambda call: reverse("admin:calls_recipient_changelist"),
    "recipient": lambda call: reverse("admin:calls_recipient_change", args=[call.recipient.pk]),
    "agent": lambda call: reverse("admin:calls_agent_change", args=[call.agent.pk]),
    "call": lambda call: reverse("call-page", args=[call.pk]),
    "confirmation": lambda call: f"{reverse('call-confirm')}?recipients={call.recipient.pk}",
}
OURS = ("call", "confirmation")

# Every text against what lies behind it. Source: WCAG 2.2, "Contrast (Minimum)", level AA.
CONTRAST = """
() => {
  const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (css) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = css;
    brush.fillRect(0, 0, 1, 1);
    return brush.getImageData(0, 0, 1, 1).data;
  };
  const shade = (byte) => {
    const c = byte / 255;
    return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  };
  const light = ([r, g, b]) => 0.2126 * shade(r) + 0.7152 * shade(g) + 0.0722 * shade(b);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgba(getComputedStyle(node).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const node = walker.currentNode.parentElement;
    if (!text || !node.checkVisibility()) continue;
    if (node.closest("script, noscript, .unseen, .skip, :disabled")) continue;
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  return faint;
}
"""


@one_backend
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_their_screen_and_their_texts_can_be_read(
    world: World, desk_in: DeskIn, width: int, theme: str
) -> None:
    call = recorded_call(
        recipient=make_recipient(name="Wolfeschlegelsteinhausenbergerdorff " * 3, data={"a": "b"}),
        error_code="21215",
    )
    CallEvent.objects.create(call=call, key="x", kind="model.error", data={"message": "y" * 300})
    DialingPause.objects.create(
        reason="Twilio does not accept our credentials.", error_code="20003"
    )
    desk = desk_in(world, width=width, height=800, theme=theme)

    for name, path in PAGES.items():
        page = desk.open(path(call))
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name} is {wide} px wide"
        assert ("dark" in (page.locator("html").get_attribute("class") or "")) is (theme == "dark")
        expect(page.get_by_text("Dialling is paused").first).to_be_visible()
        if name in OURS:
            assert page.evaluate(CONTRAST) == [], name
    assert desk.complaints == []


@one_backend
def test_theme_chosen_in_the_admin_holds_on_our_pages_and_back(
    world: World, desk_in: DeskIn
) -> None:
    call = recorded_call()
    desk = desk_in(world)
    page = desk.open("/admin/")
    page.evaluate("localStorage.setItem('adminTheme', JSON.stringify('dark'))")

    desk.open(reverse("call-page", args=[call.pk]))
    expect(page.locator("html")).to_have_class("dark")
    page.get_by_role("button", name="Theme: Dark").click()
    page.get_by_role("button", name="Theme: System").click()
    expect(page.locator("html")).not_to_have_class("dark")
    desk.open("/admin/")

    expect(page.locator("html")).to_have_class("light")


@one_backend
def test_hostile_text_runs_nowhere(world: World, desk_in: DeskIn) -> None:
    """[F2]"""
    text = "</script><script>window.pwned=1</script><img src=x onerror='window.pwned=1'>"
    call = recorded_call(
        recipient=make_recipient(name=text, context=text),
        agent=make_agent(name=text[:80]),
        end_detail=text,
        error_code="x",
    )
    Turn.objects.create(
        call=call, item_id=text[:64], position=9, speaker=Turn.AGENT, text=text, started_ms=9
    )
    CallEvent.objects.create(call=call, key="t", kind="tool.called", data={"tool": text})
    DialingPause.objects.create(reason=text)
    desk = desk_in(world)

    for path in PAGES.values():
        page = desk.open(path(call))
        assert page.evaluate("window.pwned") is None

    assert Agent.objects.exists()
    wait_until(lambda: page.evaluate("document.readyState") == "complete", what="the last page")
    assert [c for c in desk.complaints if "Content Security Policy" in c] == []
