"""Staff's lists and forms: what may be typed in, what is shown, what is exported."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calls import exports
from calls.core.lifecycle import Status
from calls.models import (
    Agent,
    Call,
    DialingPause,
    DoNotCall,
    Price,
    QuarantinedEvent,
    Recipient,
)
from tests.calls.kit import make_agent, make_call, make_recipient, row, status_of
from tests.calls.test_views_calls import HOSTILE, dangers_in
from tests.staff import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(db: None) -> Client:
    return signed_in(User.objects.create_superuser("admin"))


def words_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def send(client: Client, name: str, form: dict[str, Any], pk: object = None) -> str:
    """Submit an admin form; returns the words of the page that follows."""
    action = "add" if pk is None else "change"
    path = reverse(f"admin:calls_{name}_{action}", args=[] if pk is None else [pk])
    answer = client.post(path, form, follow=True)
    assert answer.status_code == 200
    return words_of(answer.content.decode())


# --- Agents -------------------------------------------------------------------------------------
def agent_form(**fields: Any) -> dict[str, Any]:
    return {
        "name": "Nora",
        "is_active": "on",
        "instructions": "Greet {{ first_name }}.",
        "variables": "",
        "tools": ["end_call"],
        "opening": "speaks_first",
        "opening_wait_s": 3,
        "opening_text": "",
        "voice": "marin",
        "language": "en",
        "model": "gpt-realtime-2.1",
        "max_duration_s": 600,
        "silence_s": 10,
        "turn_detection": "server_vad",
        "vad_silence_ms": 500,
        "vad_threshold": 0.5,
        "noise_reduction": "none",
        "audio_format": "audio/pcm",
        **fields,
    }


def test_agent_is_stored_with_variables_and_tools_as_lists(admin: Client) -> None:
    form = agent_form(instructions="On {{ order }}, {{ day }}.", variables="order, day  order")

    send(admin, "agent", form)

    agent = Agent.objects.get()
    assert agent.variables == ["order", "day"]
    assert agent.tools == ["end_call"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"instructions": "Order {{ ordr }}", "variables": "order"},
            "Unknown variable {{ ordr }}. Known are: context, first_name, language, name, order",
        ),
        ({"instructions": "{% load static %}"}, "{% … %} is not allowed, only {{ variables }}."),
        ({"instructions": "{{ name.__class__ }}"}, "The text cannot be read"),
        ({"instructions": ""}, "This field is required."),
        ({"variables": "Order No"}, "“Order” cannot be a name. Use small letters"),
        ({"variables": "name"}, "name is built in: choose another name."),
        ({"opening": "verbatim"}, "Write what the agent says first, word for word."),
        ({"opening_text": "Hello {{ who }}"}, "Unknown variable {{ who }}"),
        ({"voice": "darth"}, "Select a valid choice. darth is not one of the available choices."),
        ({"tools": ["call_anyone"]}, "Select a valid choice. call_anyone is not one of"),
        ({"max_duration_s": 5}, "Ensure this value is greater than or equal to 30."),
        ({"language": "Klingon"}, "“Klingon” is no language code. Write one like en, de or pt-BR"),
    ],
)
def test_fault_in_an_agent_is_named_in_the_form(
    admin: Client, fields: dict[str, Any], message: str
) -> None:
    page = send(admin, "agent", agent_form(**fields))

    assert message in page.replace("&#x27;", "'").replace("&quot;", '"')
    assert not Agent.objects.exists()


def test_new_agent_starts_with_sensible_values(admin: Client) -> None:
    html = admin.get(reverse("admin:calls_agent_add")).content.decode()

    assert re.search(r'value="end_call"[^>]*checked', html)
    assert re.search(r'<option value="marin"\s+selected', html)
    assert 'value="gpt-realtime-2.1"' in html


def test_agent_form_offers_a_preview_for_known_recipients(admin: Client) -> None:
    make_recipient(name="Ana Lima")

    html = admin.get(reverse("admin:calls_agent_add")).content.decode()

    assert f'data-url="{reverse("agent-preview")}"' in html
    assert "Ana Lima (" in html
    assert "calls/agent_preview.js" in html


def test_voice_that_we_do_not_know_survives_an_edit(admin: Client) -> None:
    agent = make_agent(voice="voice_custom1")

    send(admin, "agent", agent_form(name="Renamed", voice="voice_custom1"), agent.pk)

    agent.refresh_from_db()
    assert (agent.name, agent.voice) == ("Renamed", "voice_custom1")


# --- Recipients ---------------------------------------------------------------------------------
def recipient_form(**fields: Any) -> dict[str, Any]:
    return {
        "name": "Ana Lima",
        "phone": "+1 415 555 0199",
        "zone": "",
        "language": "",
        "context": "",
        "data": "",
        **fields,
    }


@pytest.mark.parametrize(
    "typed", ["+1 415-555-0199", "(415) 555 0199", "+١٤١٥٥٥٥٠١٩٩", " +1.415.555.0199 "]
)
def test_number_is_stored_in_one_spelling(admin: Client, typed: str) -> None:
    """[A25]"""
    send(admin, "recipient", recipient_form(phone=typed))

    assert Recipient.objects.get().phone == "+14155550199"


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("hello", "it holds letters"),
        ("911", "it is an emergency number"),
        ("+1 900 555 0199", "This number cannot be called"),
        ("+14155550199 ext 5", "extensions cannot be dialled"),
        ("12345", "This number cannot be called"),
        ("+" + "1" * 39, "This number cannot be called"),
    ],
)
def test_number_that_cannot_be_called_is_refused_with_the_reason(
    admin: Client, typed: str, reason: str
) -> None:
    page = send(admin, "recipient", recipient_form(phone=typed))

    assert "This number cannot be called" in page
    assert reason in page
    assert not Recipient.objects.exists()


@pytest.mark.parametrize(
    ("typed", "stored"), [("German", "de"), ("de", "de"), ("pt-BR", "pt-BR"), (" ", "")]
)
def test_language_is_stored_as_its_code(admin: Client, typed: str, stored: str) -> None:
    send(admin, "recipient", recipient_form(language=typed))

    assert Recipient.objects.get().language == stored


def test_name_that_would_turn_the_number_around_is_straightened(admin: Client) -> None:
    """[F2]"""
    send(admin, "recipient", recipient_form(name="\u202eAna\u2066 Lima", context="a\u202eb\nc"))

    ana = Recipient.objects.get()
    assert (ana.name, ana.context) == ("Ana Lima", "ab\nc")


def test_name_of_invisible_signs_is_refused(admin: Client) -> None:
    page = send(admin, "recipient", recipient_form(name="\u202e\u200b"))

    assert "Write the name in letters that can be seen." in page
    assert not Recipient.objects.exists()


def test_number_that_somebody_has_already_names_them(admin: Client) -> None:
    make_recipient(name="First Owner", phone="+14155550199")

    page = send(admin, "recipient", recipient_form(phone="(415) 555-0199"))

    assert "First Owner has this number (+14155550199) already." in page


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("", {}),
        ("{}", {}),
        ('{"order": "A-17", "amount": 20}', {"order": "A-17", "amount": 20}),
        ('{"paid": true}', {"paid": True}),
    ],
)
def test_data_is_a_json_object(admin: Client, typed: str, stored: dict[str, Any]) -> None:
    send(admin, "recipient", recipient_form(data=typed))

    assert Recipient.objects.get().data == stored


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("order: 5", "This is not JSON."),
        ("[1, 2]", "Write names and values in braces"),
        ('"text"', "Write names and values in braces"),
        ('{"a": {"b": 1}}', "The value of a must be a text, a number, true or false."),
        ('{"Bad Name": 1}', "“Bad Name” cannot be a name."),
        ('{"a": "\\u0000"}', "The value of a holds characters that cannot be stored."),
        ('{"a": "\\ud800"}', "The value of a holds characters that cannot be stored."),
        ('{"a": NaN}', "The value of a must be a finite number."),
        ('{"a": 1e999}', "The value of a must be a finite number."),
        ("[" * 5000, "This is not JSON."),
        ('{"a": "' + "x" * 501 + '"}', "The value of a is too long: at most 500 characters."),
    ],
)
def test_data_that_is_no_plain_object_is_refused(admin: Client, typed: str, message: str) -> None:
    """[A24]"""
    page = send(admin, "recipient", recipient_form(data=typed))

    assert message in page
    assert not Recipient.objects.exists()


def test_recipient_page_shows_zone_and_local_time(admin: Client) -> None:
    idaho = make_recipient(phone="+12085550123")
    dublin = make_recipient(zone="Europe/Dublin")

    pages = [
        words_of(admin.get(reverse("admin:calls_recipient_change", args=[r.pk])).content.decode())
        for r in (idaho, dublin)
    ]

    assert "America/Boise, America/Los_Angeles" in pages[0]
    assert re.search(r"\d\d:\d\d \w{3} to \d\d:\d\d \w{3} \(2 possible time zones\)", pages[0])
    assert re.search(r"\d\d:\d\d \w{3} \(Europe/Dublin\)", pages[1])


def test_zone_that_does_not_exist_is_refused(admin: Client) -> None:
    page = send(admin, "recipient", recipient_form(zone="Mars/Olympus"))

    assert "Mars/Olympus is not one of the available choices" in page


def test_call_now_and_call_selected_lead_to_the_same_confirmation(admin: Client) -> None:
    recipient = make_recipient()
    form = {"action": "call_selected", "_selected_action": [recipient.pk]}

    one = admin.get(f"/admin/calls/recipient/{recipient.pk}/call-now/")
    many = admin.post(reverse("admin:calls_recipient_changelist"), form)

    assert one["Location"] == many["Location"]
    assert one["Location"] == f"{reverse('call-confirm')}?recipients={recipient.pk}"
    assert not Call.objects.exists()


def test_too_many_selected_are_refused(admin: Client) -> None:
    Recipient.objects.bulk_create(
        Recipient(name=f"R {n}", phone=f"+1415556{n:04}") for n in range(501)
    )
    form = {"action": "call_selected", "select_across": 1, "_selected_action": [1]}

    page = admin.post(reverse("admin:calls_recipient_changelist"), form, follow=True)

    assert "Choose at most 500 people at a time." in page.content.decode()


@pytest.mark.parametrize(
    ("name", "what_to_do"),
    [
        ("recipient", "put the number on the do-not-call list instead"),
        ("agent", "take the agent out of use instead"),
    ],
)
def test_whoever_has_calls_on_record_cannot_be_deleted_and_staff_are_told_why(
    admin: Client, name: str, what_to_do: str
) -> None:
    """[A14]"""
    call = make_call(Status.COMPLETED)
    kept = getattr(call, name)
    path = reverse(f"admin:calls_{name}_delete", args=[kept.pk])
    many = {"action": "delete_selected", "_selected_action": [kept.pk]}

    pages = [
        admin.get(path),
        admin.post(path, {"post": "yes"}),
        admin.post(reverse(f"admin:calls_{name}_changelist"), many),
        admin.post(reverse(f"admin:calls_{name}_changelist"), {**many, "post": "yes"}),
    ]

    assert type(kept).objects.filter(pk=kept.pk).exists()
    for page in pages:
        words = words_of(page.content.decode())
        assert f"1 recorded call of {kept}: {what_to_do}" in words
        assert "permission" not in words


def test_recipient_without_calls_can_be_deleted(admin: Client) -> None:
    recipient = make_recipient()

    admin.post(reverse("admin:calls_recipient_delete", args=[recipient.pk]), {"post": "yes"})

    assert not Recipient.objects.exists()


# --- Do not call, pauses ------------------------------------------------------------------------
def test_do_not_call_stores_one_spelling_and_who_added_it(admin: Client) -> None:
    send(admin, "donotcall", {"phone": "(415) 555-0199", "reason": "asked us"})

    entry = DoNotCall.objects.get()
    assert entry.phone == "+14155550199"
    assert entry.added_by is not None
    assert entry.added_by.username == "admin"


def test_who_is_put_on_the_list_is_not_called_any_more_and_hung_up_on(admin: Client) -> None:
    """[A22] What waits is cancelled, what is live ends."""
    waiting, talking = make_call(Status.QUEUED), make_call(Status.IN_PROGRESS)
    other = make_call(Status.QUEUED)

    for call in (waiting, talking):
        send(admin, "donotcall", {"phone": call.to_number, "reason": ""})

    assert status_of(waiting) is Status.CANCELED
    assert row(talking)["hangup_requested_at"] is not None
    assert status_of(other) is Status.QUEUED


def test_do_not_call_ends_what_is_on_its_way_to_the_number(admin: Client) -> None:
    waiting = make_call(Status.QUEUED, recipient=make_recipient(phone="+14155550198"))
    talking = make_call(Status.IN_PROGRESS, recipient=make_recipient(phone="+14155550199"))

    for phone in ("+14155550198", "+14155550199"):
        send(admin, "donotcall", {"phone": phone, "reason": "asked us"})

    assert status_of(waiting) is Status.CANCELED
    talking.refresh_from_db()
    assert talking.hangup_requested_by is not None


def test_number_on_the_do_not_call_list_is_not_turned_into_another(admin: Client) -> None:
    entry = DoNotCall.objects.create(phone="+14155550199")

    send(admin, "donotcall", {"phone": "+14155550198", "reason": "asked twice"}, entry.pk)

    entry.refresh_from_db()
    assert (entry.phone, entry.reason) == ("+14155550199", "asked twice")


def test_number_is_on_the_do_not_call_list_only_once(admin: Client) -> None:
    DoNotCall.objects.create(phone="+14155550199")

    page = send(admin, "donotcall", {"phone": "415 555 0199", "reason": ""})

    assert "+14155550199 is on the list already." in page


def test_staff_can_pause_dialling_and_resume_it(admin: Client) -> None:
    page = send(admin, "dialingpause", {"reason": "Training today"})
    pause = DialingPause.objects.get()
    form = {"action": "resume", "_selected_action": [pause.pk]}

    after = admin.post(reverse("admin:calls_dialingpause_changelist"), form, follow=True)

    assert "Dialling is paused: Training today" in page
    assert "Dialling goes on." in after.content.decode()
    assert "Dialling is paused" not in after.content.decode()
    pause.refresh_from_db()
    assert pause.lifted_by is not None


def test_form_for_a_pause_says_what_it_will_do(admin: Client) -> None:
    page = words_of(admin.get(reverse("admin:calls_dialingpause_add")).content.decode())

    assert "From the moment you save, nobody is dialled" in page


def test_banner_stands_on_the_overview_and_on_lists(admin: Client) -> None:
    DialingPause.objects.create(reason="Account suspended", error_code="20005")

    for path in (reverse("admin:index"), reverse("admin:calls_call_changelist")):
        page = words_of(admin.get(path).content.decode())
        assert "Dialling is paused: Account suspended" in page
        assert "Check its balance" in page
        assert "Resume dialling" in page


# --- Records ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["call", "quarantinedevent"])
def test_records_can_be_looked_at_and_nothing_else(admin: Client, name: str) -> None:
    row = (
        make_call(Status.COMPLETED)
        if name == "call"
        else QuarantinedEvent.objects.create(path="/api/twilio/status")
    )
    change = reverse(f"admin:calls_{name}_change", args=[row.pk])

    shown = admin.get(change)

    assert shown.status_code == 200
    assert 'name="_save"' not in shown.content.decode()
    assert admin.post(change, {"status": "queued"}).status_code == 403
    assert admin.post(reverse(f"admin:calls_{name}_delete", args=[row.pk])).status_code == 403
    assert admin.get(reverse(f"admin:calls_{name}_add")).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        {"token__startswith": "a"},
        {"requested_by__password__startswith": "p"},
        {"recipient__context__contains": "secret"},
        {"brief__contains": "x"},
    ],
)
def test_undeclared_lookups_are_refused(admin: Client, query: dict[str, str]) -> None:
    """[F3]"""
    make_call(Status.COMPLETED)

    answer = admin.get(reverse("admin:calls_call_changelist"), query)

    assert answer.status_code in (302, 400)


@pytest.mark.parametrize("query", ["'; DROP TABLE x;--", "%", "\\", "\x00", "é" * 500, "("])
@pytest.mark.parametrize("name", ["call", "recipient", "agent", "donotcall", "price"])
def test_odd_searches_find_nothing_and_break_nothing(admin: Client, name: str, query: str) -> None:
    """[F3]"""
    answer = admin.get(reverse(f"admin:calls_{name}_changelist"), {"q": query}, follow=True)

    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["call", "recipient"])
def test_list_costs_the_same_queries_however_many_rows(admin: Client, name: str) -> None:
    """[F9]"""
    path = reverse(f"admin:calls_{name}_changelist")
    counts = []
    for _ in range(2):
        for _ in range(5):
            make_call(Status.COMPLETED)
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(path).status_code == 200
        counts.append(len(queries))

    # The overview of filters grows with the agents that exist, not its number of queries.
    assert counts[0] == counts[1]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_in_lists_and_forms(admin: Client, text: str) -> None:
    """[F2]"""
    recipient = make_recipient(name=text, context=text, data={"a": text})
    agent = make_agent(name=text[:80], instructions=text.replace("{", "("))
    call = make_call(Status.FAILED, recipient=recipient, agent=agent, end_detail=text)
    DialingPause.objects.create(reason=text, error_code="x")
    QuarantinedEvent.objects.create(path=text, params={"a": text})
    pages = [
        reverse("admin:index"),
        reverse("admin:calls_call_changelist"),
        reverse("admin:calls_recipient_changelist"),
        reverse("admin:calls_agent_changelist"),
        reverse("admin:calls_dialingpause_changelist"),
        reverse("admin:calls_quarantinedevent_changelist"),
        reverse("admin:calls_call_change", args=[call.pk]),
        reverse("admin:calls_recipient_change", args=[recipient.pk]),
        reverse("admin:calls_agent_change", args=[agent.pk]),
    ]
    calm = dangers_in(admin.get(reverse("admin:calls_price_changelist")).content.decode())

    for page in pages:
        html = admin.get(page).content.decode()
        assert "<script>alert" not in html
        assert "onerror=alert(1)>" not in html.replace("&gt;", "")
        found = [danger for danger in dangers_in(html) if danger not in set(calm)]
        assert not {"onerror", "onload", "iframe", "object"} & set(found), page


# --- Export -------------------------------------------------------------------------------------
def exported(client: Client, **query: str) -> list[dict[str, str]]:
    form = {
        "action": "export",
        "select_across": 1,
        "_selected_action": list(Call.objects.values_list("pk", flat=True)[:1]),
    }
    path = reverse("admin:calls_call_changelist")
    answer = client.post(path, form, QUERY_STRING="&".join(f"{k}={v}" for k, v in query.items()))
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def test_export_holds_what_the_filter_shows(admin: Client) -> None:
    make_call(Status.FAILED, recipient=make_recipient(name="No"))
    make_call(Status.COMPLETED, duration_s=42, recipient=make_recipient(name="Yes"))

    rows = exported(admin, status__exact="completed")

    assert [(row["person"], row["duration in seconds"]) for row in rows] == [("Yes", "42")]


@given(
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
    start=st.sampled_from(["=", "+", "-", "@", "\t", "\r", " =", ""]),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_exported_text_is_taken_for_a_formula(name: str, start: str) -> None:
    """[A24] Source: OWASP, "CSV Injection"."""
    call = make_call(Status.COMPLETED, recipient=make_recipient(name=start + name))

    text = exports.calls_as_csv(Call.objects.filter(pk=call.pk))

    (row,) = csv.DictReader(io.StringIO(text))
    assert not row["person"].lstrip().startswith(("=", "+", "-", "@"))
    assert row["person"].endswith(name)
    assert row["number"].startswith("'+")


def test_export_of_too_many_calls_says_what_to_do(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_ROWS", 1)
    calls = [make_call(Status.COMPLETED) for _ in range(2)]
    form = {"action": "export", "_selected_action": [c.pk for c in calls]}

    page = admin.post(reverse("admin:calls_call_changelist"), form, follow=True)

    assert "Filter the list to at most 1 calls" in page.content.decode()


# --- Words --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "title"),
    [("calls_call", "Calls"), ("calls_agent", "Agents"), ("recordings_recording", "Recordings")],
)
def test_list_is_called_what_it_holds(admin: Client, name: str, title: str) -> None:
    html = admin.get(reverse(f"admin:{name}_changelist")).content.decode()

    assert re.search(rf"<title>\s*{title} \| voicecall\s*</title>", html)


def test_prices_are_shown_as_money(admin: Client) -> None:
    Price.objects.all().delete()
    Price.objects.create(
        item="twilio.voice", unit="minute", amount=Decimal("0.014"), valid_from="2026-11-01"
    )

    page = words_of(admin.get(reverse("admin:calls_price_changelist")).content.decode())

    assert "$0.014 per minute" in page
    assert "1 Nov 2026" in page


def test_login_page_leads_nowhere_else() -> None:
    page = Client().get(reverse("admin:login")).content.decode()

    assert "Return to site" not in page


# --- Overview and empty lists -------------------------------------------------------------------
def test_overview_leads_a_newcomer_to_the_first_call(admin: Client) -> None:
    first = words_of(admin.get(reverse("admin:index")).content.decode())
    make_agent()
    make_recipient()
    ready = admin.get(reverse("admin:index")).content.decode()
    make_call(Status.COMPLETED)
    used = words_of(admin.get(reverse("admin:index")).content.decode())

    assert "Create an agent" in first
    assert f'href="{reverse("admin:calls_recipient_changelist")}">Open the recipient' in ready
    assert "What to do next" not in used
    assert "Latest calls" in used


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("call", ["Calls appear here", "Choose whom to call"]),
        ("recording", ["Every answered call is recorded", "Look at the calls"]),
        ("recipient", ["Recipients are the people", "Add recipient"]),
        ("agent", ["An agent is who speaks", "Add agent"]),
        ("donotcall", ["are never called", "Add do not call"]),
        ("dialingpause", ["Dialling has never been paused", "Add dialling pause"]),
        ("quarantinedevent", ["belong to none of our calls"]),
    ],
)
def test_empty_list_says_what_it_is_for_and_what_to_do(
    admin: Client, name: str, words: list[str]
) -> None:
    Price.objects.all().delete()

    app = "recordings" if name == "recording" else "calls"
    page = words_of(admin.get(reverse(f"admin:{app}_{name}_changelist")).content.decode())

    for each in words:
        assert each in page


def test_search_without_results_offers_the_whole_list(admin: Client) -> None:
    make_recipient()

    page = admin.get(reverse("admin:calls_recipient_changelist"), {"q": "nobody"})

    assert "Nothing matches" in page.content.decode()
