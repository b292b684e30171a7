"""Asking for calls and watching one, page by page."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calls import feed
from calls.core.lifecycle import EndReason, Status
from calls.models import Call, CallEvent, DialingPause, DoNotCall, Turn, Usage
from tests.calls.kit import at_once, make_agent, make_call, make_recipient, status_of
from tests.staff import OPERATOR, make_user, signed_in

KEY = "one-submission-of-a-form"


@pytest.fixture
def operator(db: None) -> Client:
    return signed_in(make_user("operator", *OPERATOR, "calls.change_dialingpause"))


def feed_of(client: Client, call: Call, after: int = -1) -> dict[str, Any]:
    answer = client.get(reverse("call-feed", args=[call.pk]), {"after": after})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def say(call: Call, text: str, position: int = 0, **fields: Any) -> Turn:
    values: dict[str, Any] = {
        "item_id": f"item_{position}",
        "position": position,
        "speaker": Turn.AGENT,
        "started_ms": position * 1000,
        "is_final": True,
    }
    return Turn.objects.create(call=call, text=text, **{**values, **fields})


def text_of(client: Client, path: str, data: dict[str, Any] | None = None) -> str:
    """What a page says, without its markup."""
    answer = client.get(path, data)
    assert answer.status_code == 200, answer
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


# --- The confirmation ---------------------------------------------------------------------------
def test_confirmation_says_who_is_called_and_who_is_not_and_why(operator: Client) -> None:
    agent = make_agent(instructions="Talk about {{ order }}.", variables=["order"])
    fit = make_recipient(name="Fit Fiona", data={"order": "A-17"}, zone="Europe/Berlin")
    refused = make_recipient(name="Refused Rita", data={"order": "A-18"})
    DoNotCall.objects.create(phone=refused.phone)
    lacking = make_recipient(name="Lacking Lou")
    ids = f"{fit.pk},{refused.pk},{lacking.pk}"

    page = text_of(operator, reverse("call-confirm"), {"recipients": ids, "agent": agent.pk})

    assert "Will be called 1" in page
    assert "Skipped 2" in page
    assert re.search(r"Fit Fiona \S+ \d\d:\d\d \w{3} \(Europe/Berlin\)", page)
    assert re.search(r"Refused Rita \S+ is on the do-not-call list", page)
    assert re.search(r"Lacking Lou \S+ lacks a value for order", page)


def test_confirmation_names_a_cost_from_low_to_high(operator: Client) -> None:
    agent = make_agent(max_duration_s=600)
    ids = f"{make_recipient().pk},{make_recipient().pk}"

    page = text_of(operator, reverse("call-confirm"), {"recipients": ids, "agent": agent.pk})

    found = re.search(r"Estimated cost \$(\d+\.\d\d) – \$(\d+\.\d\d)", page)
    assert found
    assert 0 < Decimal(found[1]) < Decimal(found[2])


def test_confirmation_says_who_was_called_before_and_how_long_it_may_take(
    operator: Client,
) -> None:
    agent = make_agent(name="Nora", max_duration_s=150)
    new, known = make_recipient(name="New One"), make_recipient(name="Known One")
    for day in (3, 14):
        call = make_call(Status.COMPLETED, recipient=known, agent=agent)
        Call.objects.filter(pk=call.pk).update(created_at=f"2026-07-{day:02}T09:05:00Z")

    page = text_of(operator, reverse("call-confirm"), {"recipients": f"{new.pk},{known.pk}"})

    assert re.search(r"New One [^A-Z]*\d\d:\d\d [^>]*? never", page)
    assert "14 Jul 2026, 09:05 UTC" in page
    assert "3 Jul 2026" not in page
    assert "from one minute each to 3, the longest that Nora may talk" in page


def test_confirmation_costs_the_same_queries_however_many_people(operator: Client) -> None:
    """[F9]"""
    make_agent()
    people = [make_recipient() for _ in range(12)]
    for person in people:
        make_call(Status.COMPLETED, recipient=person)
    counts = []

    for few in (people[:2], people):
        with CaptureQueriesContext(connection) as queries:
            ids = ",".join(str(person.pk) for person in few)
            assert operator.get(reverse("call-confirm"), {"recipients": ids}).status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_looking_at_the_confirmation_asks_for_nothing(operator: Client) -> None:
    recipient = make_recipient()
    make_agent()

    operator.get(reverse("call-confirm"), {"recipients": recipient.pk})

    assert not Call.objects.exists()


def test_without_an_agent_the_confirmation_says_what_to_do(operator: Client) -> None:
    recipient = make_recipient()

    page = text_of(operator, reverse("call-confirm"), {"recipients": recipient.pk})

    assert "There is no agent to call with." in page


@pytest.mark.parametrize("recipients", ["", "x", "1;2", "1,2,", "99999", "1" * 4000])
def test_odd_list_of_recipients_leads_back_with_a_message(
    operator: Client, recipients: str
) -> None:
    answer = operator.get(reverse("call-confirm"), {"recipients": recipients})

    assert answer.status_code == 302
    assert answer["Location"] == reverse("admin:calls_recipient_changelist")


def test_more_people_than_the_limit_are_refused(operator: Client) -> None:
    ids = ",".join(str(n) for n in range(1, 502))

    answer = operator.get(reverse("call-confirm"), {"recipients": ids}, follow=True)

    assert "Choose at most 500 people at a time." in answer.content.decode()


# --- Asking for calls ---------------------------------------------------------------------------
def ask(client: Client, recipients: Any, agent: Any, key: str = KEY) -> Any:
    form = {"recipients": recipients, "agent": agent.pk, "request_key": key}
    return client.post(reverse("call-confirm"), form)


def test_one_call_leads_straight_to_its_page(operator: Client) -> None:
    recipient, agent = make_recipient(), make_agent()

    answer = ask(operator, recipient.pk, agent)

    call = Call.objects.get()
    assert answer["Location"] == reverse("call-page", args=[call.pk])
    assert call.recipient == recipient
    assert call.requested_by is not None
    assert call.requested_by.username == "operator"


def test_several_calls_lead_to_the_list_of_just_these(operator: Client) -> None:
    make_call(Status.COMPLETED, recipient=make_recipient(name="Somebody Else"))
    people = [make_recipient(name=name) for name in ("First One", "Second One")]

    answer = ask(operator, ",".join(str(p.pk) for p in people), make_agent())

    page = text_of(operator, answer["Location"])
    assert "First One" in page
    assert "Second One" in page
    assert "Somebody Else" not in page


def test_the_same_form_sent_twice_is_one_call(operator: Client) -> None:
    """[A15]"""
    recipient, agent = make_recipient(), make_agent()

    first = ask(operator, recipient.pk, agent)
    second = ask(operator, recipient.pk, agent)

    assert Call.objects.count() == 1
    assert second["Location"] == first["Location"]


def test_twenty_clicks_at_once_are_one_call(database: str) -> None:
    """[A15]"""
    recipient, agent = make_recipient(), make_agent()
    user = make_user("clicker", *OPERATOR)
    browsers = [signed_in(user) for _ in range(20)]

    answers = at_once(20, lambda n: ask(browsers[n], recipient.pk, agent))

    call = Call.objects.get()
    assert {answer["Location"] for answer in answers} == {reverse("call-page", args=[call.pk])}
    user.delete()


def test_two_tabs_for_one_person_are_one_call_and_a_reason(operator: Client) -> None:
    """[A15]"""
    recipient, agent = make_recipient(), make_agent()
    ask(operator, recipient.pk, agent, key="first-tab-of-the-browser")

    answer = ask(operator, recipient.pk, agent, key="second-tab-of-the-browser")

    assert Call.objects.count() == 1
    assert "is on a call already" in text_of(operator, answer["Location"])


@pytest.mark.parametrize("key", ["", "short", "x" * 41, "with space in the key", "<script>alert()"])
def test_request_key_that_no_form_of_ours_made_is_refused(operator: Client, key: str) -> None:
    ask(operator, make_recipient().pk, make_agent(), key=key)

    assert not Call.objects.exists()


def test_agent_that_is_switched_off_cannot_be_chosen(operator: Client) -> None:
    ask(operator, make_recipient().pk, make_agent(is_active=False))

    assert not Call.objects.exists()


# --- The feed -----------------------------------------------------------------------------------
def test_feed_tells_what_is_newer_and_otherwise_only_the_revision(operator: Client) -> None:
    call = make_call(Status.IN_PROGRESS, revision=7)
    say(call, "Hello.")

    news = feed_of(operator, call, after=6)
    none = feed_of(operator, call, after=7)

    assert [turn["text"] for turn in news["turns"]] == ["Hello."]
    assert none == {"revision": 7, "status": "in-progress", "is_live": True}


@pytest.mark.parametrize("after", ["x", "1.5", "9" * 30, "--1", "²"])
def test_odd_revision_is_answered_with_400(operator: Client, after: str) -> None:
    call = make_call(Status.IN_PROGRESS)

    answer = operator.get(reverse("call-feed", args=[call.pk]), {"after": after})

    assert answer.status_code == 400


def test_feed_shows_the_turns_in_order_with_what_was_heard(operator: Client) -> None:
    call = make_call(Status.IN_PROGRESS, revision=1)
    say(call, "Second", position=2, speaker=Turn.RECIPIENT)
    say(
        call,
        "First half, second half",
        position=1,
        heard_chars=10,
        interrupted=True,
        latency_sent_ms=400,
        latency_heard_ms=700,
    )

    first, second = feed_of(operator, call)["turns"]

    assert (first["text"], first["heard_chars"], first["interrupted"]) == (
        "First half, second half", 10, True,
    )  # fmt: skip
    assert (first["latency_sent_ms"], first["latency_heard_ms"]) == (400, 700)
    assert (second["speaker"], second["text"]) == ("recipient", "Second")


def test_feed_tells_the_story_in_staffs_words(operator: Client) -> None:
    call = make_call(Status.COMPLETED, end_reason=EndReason.AGENT_ENDED, revision=1)
    at = timezone.now()
    for index, (key, kind, data) in enumerate(
        [
            ("queued", "queued", {}),
            ("dialing:1", "dialing", {}),
            ("status:queued", "status", {"CallStatus": "queued"}),
            ("status:ringing", "status", {"CallStatus": "ringing"}),
            ("amd", "amd", {"AnsweredBy": "machine_start"}),
            ("1.2.tool.called", "tool.called", {"tool": "end_call"}),
            ("conversation.ended", "conversation.ended", {"reason": "agent_ended"}),
            ("status:completed", "status", {"CallStatus": "completed"}),
            ("9", "something.new_here", {}),
        ]
    ):
        CallEvent.objects.create(
            call=call, key=key, kind=kind, data=data, at=at + timedelta(seconds=index)
        )

    feed = feed_of(operator, call)

    assert [event["text"] for event in feed["events"]] == [
        "The call was asked for",
        "A worker asks Twilio to dial",
        "Twilio dials the number",
        "The phone rings",
        "Twilio's guess at who answered: an answering machine",
        "The agent used a tool: end_call",
        "The conversation ended: The agent said goodbye and hung up",
        "The call is over",
        "Something new here",
    ]
    assert feed["end_reason_label"] == "The agent said goodbye and hung up"


def test_only_one_story_is_told_of_who_hung_up(operator: Client) -> None:
    """The conversation sees its line go dead and takes that for the person; staff did it."""
    call = make_call(Status.COMPLETED, end_reason=EndReason.STAFF_HUNG_UP, revision=1)
    ended = {"reason": EndReason.RECIPIENT_HUNG_UP.value}
    CallEvent.objects.create(call=call, key="a", kind="hang-up", data={"reason": "staff_hung_up"})
    CallEvent.objects.create(call=call, key="b", kind="conversation.ended", data=ended)

    events = feed_of(operator, call)["events"]

    assert [event["text"] for event in events] == [
        "Hanging up: A member of staff hung up",
        "The conversation ended",
    ]


def test_page_tells_the_zone_of_its_times(operator: Client) -> None:
    call = make_call(Status.COMPLETED)

    page = text_of(operator, reverse("call-page", args=[call.pk]))

    assert re.search(r"on \d+ \w{3} \d{4}, \d\d:\d\d UTC", page)
    assert "Times in UTC" in page


@pytest.mark.parametrize(("permission", "links"), [("calls.view_call", 0), (None, 2)])
def test_page_links_only_to_records_that_may_be_seen(
    db: None, permission: str | None, links: int
) -> None:
    call = make_call(Status.COMPLETED)
    rights = (permission,) if permission else OPERATOR
    client = signed_in(make_user("anybody", *rights))

    html = client.get(reverse("call-page", args=[call.pk])).content.decode()

    addresses = [
        reverse("admin:calls_recipient_change", args=[call.recipient.pk]),
        reverse("admin:calls_agent_change", args=[call.agent.pk]),
    ]
    assert sum(f'href="{address}"' in html for address in addresses) == links


def test_failed_call_says_why_and_what_to_do(operator: Client) -> None:
    call = make_call(
        Status.FAILED, end_reason=EndReason.REJECTED, error_code="21215", end_detail="raw text"
    )

    error = feed_of(operator, call)["error"]

    assert error["title"] == "Twilio refused the call"
    assert "may not call this country" in error["detail"]
    assert "Geo permissions" in error["what_to_do"]
    assert error["link"] == "https://www.twilio.com/docs/errors/21215"


def test_failure_of_the_model_says_what_to_do(operator: Client) -> None:
    call = make_call(
        Status.COMPLETED, end_reason=EndReason.MODEL_FAILED, end_detail="invalid_api_key"
    )

    error = feed_of(operator, call)["error"]

    assert error["detail"] == "invalid_api_key"
    assert "OPENAI_API_KEY" in error["what_to_do"]


def test_call_that_went_well_has_no_error(operator: Client) -> None:
    call = make_call(Status.COMPLETED, end_reason=EndReason.AGENT_ENDED)

    assert feed_of(operator, call)["error"] is None


def test_waiting_call_says_what_it_waits_for(operator: Client) -> None:
    call = make_call(Status.QUEUED)
    DialingPause.objects.create(reason="Credentials", error_code="20003")

    hints = feed_of(operator, call)["hints"]

    assert hints == ["Dialling is paused: this call waits until it is resumed."]


def test_cost_keeps_what_is_billed_and_what_is_estimated_apart(operator: Client) -> None:
    now = timezone.now()
    call = make_call(
        Status.COMPLETED,
        answered_at=now,
        stream_generation=1,
        stream_opened_at=now,
        duration_s=61,
        twilio_price=Decimal("0.028"),
        twilio_price_unit="USD",
    )

    cost = feed_of(operator, call)["cost"]

    lines = {line["part"]: line for line in cost["lines"]}
    assert lines["Phone connection"]["basis_label"] == "final"
    assert lines["Phone connection"]["amount"] == "$0.0280"
    assert lines["Media stream"]["basis_label"] == "estimate"
    assert lines["Media stream"]["quantity"].startswith("2 minutes, $")
    assert [name for name, _ in cost["totals"]] == ["Billed", "Estimated", "Together"]


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("0.0000002", "<$0.0001"),
        ("0.00456", "$0.0046"),
        ("1.005", "$1.00"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_amounts_are_shown_as_money_and_never_as_nothing(amount: str, shown: str) -> None:
    assert feed.money(Decimal(amount)) == shown


def test_part_of_a_minute_is_told_in_seconds(operator: Client) -> None:
    call = make_call(Status.COMPLETED)
    Usage.objects.create(
        call=call,
        usage_id="t",
        kind="transcription",
        model="gpt-transcribe",
        seconds=Decimal("4.1"),
    )

    (line,) = feed_of(operator, call)["cost"]["lines"]

    assert line["quantity"] == "4.1 seconds, $0.0045 a minute"


@pytest.mark.parametrize(
    ("status", "note"),
    [(Status.RINGING, "Nothing has cost anything yet."), (Status.BUSY, "This call cost nothing.")],
)
def test_call_without_costs_says_whether_any_will_come(
    operator: Client, status: Status, note: str
) -> None:
    assert feed_of(operator, make_call(status))["cost"]["note"] == note


def test_feed_costs_the_same_queries_however_long_the_call(operator: Client) -> None:
    """[F9]"""
    short, long = make_call(Status.COMPLETED), make_call(Status.COMPLETED)
    say(short, "Words.")
    for position in range(60):
        say(long, "Words.", position=position)
        CallEvent.objects.create(call=long, key=str(position), kind="model.error")

    counts = []
    for call in (short, long):
        with CaptureQueriesContext(connection) as queries:
            feed_of(operator, call)
        counts.append(len(queries))

    assert counts[0] == counts[1]


# --- Hanging up and resuming --------------------------------------------------------------------
def test_hanging_up_a_waiting_call_cancels_it(operator: Client) -> None:
    call = make_call(Status.QUEUED)

    answer = operator.post(reverse("call-hang-up", args=[call.pk]))

    assert answer["Location"] == reverse("call-page", args=[call.pk])
    assert status_of(call) is Status.CANCELED


def test_hanging_up_a_live_call_is_noted_with_who_wanted_it(operator: Client) -> None:
    call = make_call(Status.IN_PROGRESS, revision=1)

    operator.post(reverse("call-hang-up", args=[call.pk]))

    feed = feed_of(operator, call)
    assert feed["hang_up_requested"] is True
    assert feed["hang_up_label"] == "Hanging up…"
    assert ["Hung up by", "operator"] in feed["facts"]


def test_hanging_up_a_call_that_is_over_says_so(operator: Client) -> None:
    call = make_call(Status.COMPLETED)

    answer = operator.post(reverse("call-hang-up", args=[call.pk]), follow=True)

    assert "The call was over already." in answer.content.decode()


def test_banner_names_the_cause_and_resuming_lifts_it(operator: Client) -> None:
    pause = DialingPause.objects.create(
        reason="Twilio does not accept our credentials.", error_code="20003"
    )
    call = make_call(Status.QUEUED)
    page = reverse("call-page", args=[call.pk])

    before = text_of(operator, page)
    answer = operator.post(reverse("dialling-resume"), {"next": page})

    assert "Dialling is paused: Twilio does not accept our credentials." in before
    assert "TWILIO_AUTH_TOKEN" in before
    assert answer["Location"] == page
    pause.refresh_from_db()
    assert pause.lifted_by is not None
    assert "Dialling is paused" not in text_of(operator, page)


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:x"])
def test_resuming_never_leads_to_another_site(operator: Client, target: str) -> None:
    answer = operator.post(reverse("dialling-resume"), {"next": target})

    assert answer["Location"] == reverse("admin:index")


# --- Hostile text -------------------------------------------------------------------------------
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--><svg onload=alert(1)>",
    "<!--<script>",
    "{{ 7|add:7 }}{% csrf_token %}",
    "javascript:alert(1)",
    '=HYPERLINK("https://evil.example")',
    "\u202eevil\u2066 \u2028\u2029",
]


class Markup(HTMLParser):
    """Every element of a page that could run something."""

    def __init__(self) -> None:
        super().__init__()
        self.dangers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "script" and not (names.get("src") or names.get("type") == "application/json"):
            self.dangers.append("inline script")
        if tag in ("svg", "img", "iframe", "object"):
            self.dangers.append(tag)
        self.dangers += [name for name, _ in attrs if name.startswith("on")]
        self.dangers += [v for _, v in attrs if v and v.strip().lower().startswith("javascript:")]


def dangers_in(html: str) -> list[str]:
    markup = Markup()
    markup.feed(html)
    return markup.dangers


def poisoned_call(text: str) -> Call:
    call = make_call(
        Status.FAILED,
        recipient=make_recipient(name=text[:100], context=text),
        agent=make_agent(name=f"{text[:60]}{Call.objects.count()}"),
        end_reason=EndReason.MODEL_FAILED,
        end_detail=text,
        error_code=text[:60],
        answered_by=text[:20],
        revision=1,
    )
    say(call, text, item_id=text[:60])
    CallEvent.objects.create(call=call, key="tool", kind="tool.called", data={"tool": text})
    CallEvent.objects.create(call=call, key="odd", kind=text[:40], note=text)
    return call


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["call-page", "call-confirm"])
def test_hostile_text_is_inert_in_every_page_of_ours(
    operator: Client, name: str, text: str
) -> None:
    """[F2]"""
    call = poisoned_call(text)
    DialingPause.objects.create(reason=text, error_code="x")
    page = name == "call-page"
    query = {} if page else {"recipients": call.recipient.pk, "agent": call.agent.pk}

    answer = operator.get(reverse(name, args=[call.pk] if page else []), query)

    assert answer.status_code == 200
    assert dangers_in(answer.content.decode()) == []


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=99))
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_was_said_reaches_the_page_unchanged_and_inert(
    operator: Client, text: str
) -> None:
    """[F2] [A24]"""
    call = make_call(Status.COMPLETED, revision=1)
    say(call, text)

    html = operator.get(reverse("call-page", args=[call.pk])).content.decode()

    data = re.search(
        r'<script id="call-data" type="application/json">(.*?)</script>', html, re.DOTALL
    )
    assert data
    assert json.loads(data[1])["feed"]["turns"][0]["text"] == text
    assert dangers_in(html) == []


def test_json_is_never_sniffed_as_a_page(operator: Client) -> None:
    """[F2]"""
    call = poisoned_call(HOSTILE[0])

    answer = operator.get(reverse("call-feed", args=[call.pk]))

    assert answer["Content-Type"] == "application/json"
    assert answer["X-Content-Type-Options"] == "nosniff"


# --- The agent's preview ------------------------------------------------------------------------
def test_preview_fills_in_the_unsaved_instructions_for_the_chosen_person(operator: Client) -> None:
    recipient = make_recipient(name="Ana & Söhne", data={"order": "A-17"})
    form = {
        "name": "Nora",
        "language": "de",
        "instructions": "Greet {{ first_name }} about {{ order }}.",
        "variables": "order",
        "recipient": recipient.pk,
    }

    answer = operator.post(reverse("agent-preview"), form).json()

    assert answer["problems"] == []
    assert answer["text"].startswith("# Your task\nGreet Ana about A-17.")
    assert "Speak German" in answer["rules"]
    assert answer["first_words"] == ""


def test_preview_shows_exact_first_words_and_what_the_agent_may_do(operator: Client) -> None:
    form = {
        "instructions": "Be brief.",
        "opening": "verbatim",
        "opening_text": "Hello {{ first_name }}.",
        "recipient": make_recipient(name="Ana Lima").pk,
    }

    talks = operator.post(reverse("agent-preview"), form).json()
    ends = operator.post(reverse("agent-preview"), {**form, "tools": ["end_call"]}).json()
    wrong = operator.post(
        reverse("agent-preview"), {**form, "opening_text": "Hello {{ nick }}"}
    ).json()

    assert talks["first_words"] == "Hello Ana."
    assert "end_call" not in talks["rules"]
    assert "end_call" in ends["rules"]
    assert wrong["problems"][0].startswith("Unknown variable {{ nick }}.")


def test_preview_says_when_the_person_would_not_be_called_for_want_of_data(
    operator: Client,
) -> None:
    person = make_recipient(name="Bo")
    form = {"instructions": "On {{ day }}.", "variables": "day", "recipient": person.pk}

    answer = operator.post(reverse("agent-preview"), form).json()

    assert answer["problems"] == ["Bo lacks a value for day, so would not be called."]
    assert "# Your task" in answer["text"]


def test_anybody_can_be_found_for_the_preview(operator: Client) -> None:
    for number in range(60):
        make_recipient(name=f"Person {number:02}")
    zoe = make_recipient(name="Zoë Öz", phone="+442079460018")

    first = operator.get(reverse("preview-recipients")).json()["recipients"]
    by_name = operator.get(reverse("preview-recipients"), {"q": " zoë "}).json()["recipients"]
    by_number = operator.get(reverse("preview-recipients"), {"q": "4420"}).json()["recipients"]

    assert len(first) == 50
    assert by_name == by_number == [{"id": zoe.pk, "label": "Zoë Öz (+442079460018)"}]


@pytest.mark.parametrize("query", ["%", "\0", "'; --", "é" * 500])
def test_odd_search_for_the_preview_finds_nobody(operator: Client, query: str) -> None:
    """[F3]"""
    make_recipient()

    answer = operator.get(reverse("preview-recipients"), {"q": f"x{query}"})

    assert answer.json() == {"recipients": []}


def test_preview_names_an_unknown_variable_and_the_known_ones(operator: Client) -> None:
    form = {"instructions": "About {{ ordr }}.", "recipient": make_recipient().pk}

    answer = operator.post(reverse("agent-preview"), form).json()

    assert answer["problems"] == [
        "Unknown variable {{ ordr }}. Known are: context, first_name, language, name, phone."
    ]


@pytest.mark.parametrize(("recipient", "status"), [("", 400), ("x", 400), ("99999", 404)])
def test_preview_for_nobody_is_refused(operator: Client, recipient: str, status: int) -> None:
    answer = operator.post(reverse("agent-preview"), {"recipient": recipient})

    assert answer.status_code == status
