"""Who may open which of staff's pages, and who may change anything."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from calls.core.lifecycle import Status
from calls.models import Call, DialingPause
from tests.calls.kit import make_agent, make_call, make_recipient, status_of
from tests.staff import OPERATOR, make_user, signed_in, visitor

pytestmark = pytest.mark.django_db
ROLES = ["anonymous", "customer", "staff", "viewer", "operator", "admin"]
LOGIN, NO, OK = "login", 403, 200


def outcome(client: Client, method: str, path: str) -> object:
    """What a browser gets: a status, or "login" for the way there."""
    answer = getattr(client, method)(path)
    if answer.status_code == 302 and "/login/" in answer["Location"]:
        return LOGIN
    return OK if answer.status_code in (200, 302, 400) else answer.status_code


def expected(*allowed: str) -> dict[str, object]:
    return {"anonymous": LOGIN, **{r: OK if r in allowed else NO for r in ROLES[1:]}}


TABLE = [
    ("get", "call-page", expected("viewer", "operator", "admin")),
    ("get", "call-feed", expected("viewer", "operator", "admin")),
    ("post", "call-hang-up", expected("operator", "admin")),
    ("get", "call-confirm", expected("operator", "admin")),
    ("post", "call-confirm", expected("operator", "admin")),
    ("post", "agent-preview", expected("viewer", "operator", "admin")),
    ("get", "preview-recipients", expected("viewer", "operator", "admin")),
    ("post", "dialling-resume", expected("admin")),
    ("get", "recording-info", expected("operator", "admin")),
]
# The admin sends those who are no staff to its login page.
ADMIN_TABLE = [
    ("get", "calls_call_changelist", {"viewer", "operator", "admin"}),
    ("get", "calls_call_add", set()),
    ("get", "calls_recipient_changelist", {"viewer", "operator", "admin"}),
    ("get", "calls_recipient_add", {"admin"}),
    ("get", "calls_agent_changelist", {"viewer", "operator", "admin"}),
    ("get", "calls_agent_add", {"admin"}),
    ("get", "calls_donotcall_changelist", {"admin"}),
    ("get", "calls_donotcall_add", {"admin"}),
    ("get", "calls_price_changelist", {"admin"}),
    ("get", "calls_price_add", {"admin"}),
    ("get", "calls_dialingpause_changelist", {"admin"}),
    ("get", "calls_dialingpause_add", {"admin"}),
    ("get", "calls_quarantinedevent_changelist", {"admin"}),
    ("get", "calls_quarantinedevent_add", set()),
    ("get", "recordings_recording_changelist", {"admin"}),
    ("get", "auth_user_changelist", {"admin"}),
    ("get", "auth_group_changelist", {"admin"}),
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "name", "outcomes"), TABLE)
def test_own_pages_open_only_for_the_roles_that_may(
    method: str, name: str, outcomes: dict[str, object], role: str
) -> None:
    """[F1]"""
    call = make_call(Status.IN_PROGRESS)
    args = [call.pk] if name.startswith(("call-page", "call-feed", "call-h", "rec")) else []

    got = outcome(visitor(role), method, reverse(name, args=args))

    assert got == outcomes[role]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "name", "allowed"), ADMIN_TABLE)
def test_admin_pages_open_only_for_the_roles_that_may(
    method: str, name: str, allowed: set[str], role: str
) -> None:
    """[F1]"""
    got = outcome(visitor(role), method, reverse(f"admin:{name}"))

    outsider = role in ("anonymous", "customer")
    assert got == (LOGIN if outsider else OK if role in allowed else NO)


def test_forbidden_hang_up_leaves_the_call_alone() -> None:
    """[F1]"""
    call = make_call(Status.QUEUED)

    visitor("viewer").post(reverse("call-hang-up", args=[call.pk]))

    assert status_of(call) is Status.QUEUED


def test_forbidden_request_for_calls_creates_none() -> None:
    """[F1]"""
    form = {
        "recipients": make_recipient().pk,
        "agent": make_agent().pk,
        "request_key": "k" * 22,
    }

    answer = visitor("viewer").post(reverse("call-confirm"), form)

    assert answer.status_code == 403
    assert not Call.objects.exists()


@pytest.mark.parametrize(
    ("model", "action"),
    [
        ("recipient", "call_selected"),
        ("recipient", "delete_selected"),
        ("agent", "delete_selected"),
    ],
)
def test_forged_list_action_is_refused(model: str, action: str) -> None:
    """[F1]"""
    row = make_recipient() if model == "recipient" else make_agent()
    form = {"action": action, "_selected_action": [row.pk]}

    answer = visitor("viewer").post(reverse(f"admin:calls_{model}_changelist"), form)

    assert answer.status_code == 403
    assert type(row).objects.filter(pk=row.pk).exists()


def test_forged_resume_action_is_refused() -> None:
    """[F1]"""
    pause = DialingPause.objects.create(reason="Credentials", error_code="20003")
    user = make_user("onlooker", "calls.view_dialingpause")

    answer = signed_in(user).post(
        reverse("admin:calls_dialingpause_changelist"),
        {"action": "resume", "_selected_action": [pause.pk]},
    )

    assert answer.status_code == 403
    pause.refresh_from_db()
    assert pause.lifted_at is None


def test_call_now_of_the_recipient_page_needs_the_permission() -> None:
    """[F1]"""
    path = f"/admin/calls/recipient/{make_recipient().pk}/call-now/"

    assert visitor("viewer").get(path).status_code == 403
    assert visitor("operator").get(path).status_code == 302


@pytest.mark.parametrize(
    ("permissions", "is_seen"), [(OPERATOR, True), (("calls.view_recipient",), False)]
)
def test_only_who_may_call_sees_the_buttons(permissions: tuple[str, ...], is_seen: bool) -> None:
    recipient = make_recipient()
    client = signed_in(make_user("somebody", *permissions))

    page = client.get(reverse("admin:calls_recipient_change", args=[recipient.pk])).content.decode()
    listed = client.get(reverse("admin:calls_recipient_changelist")).content.decode()

    assert ("call-now" in page) is is_seen
    assert ("Call selected" in listed) is is_seen
    assert (f'href="{reverse("call-confirm")}?recipients={recipient.pk}"' in listed) is is_seen


@pytest.mark.parametrize(
    "name", ["call-hang-up", "call-confirm", "agent-preview", "dialling-resume"]
)
def test_posts_without_a_csrf_token_are_refused(name: str) -> None:
    """[F4]"""
    call = make_call(Status.QUEUED)
    admin = make_user("operator", *OPERATOR, "calls.change_dialingpause")
    client = signed_in(admin, enforce_csrf_checks=True)

    answer = client.post(reverse(name, args=[call.pk] if name == "call-hang-up" else []))

    assert answer.status_code == 403
    assert status_of(call) is Status.QUEUED


@pytest.mark.parametrize("name", ["call-hang-up", "agent-preview", "dialling-resume"])
def test_nothing_changes_by_following_a_link(name: str) -> None:
    """[F4]"""
    call = make_call(Status.QUEUED)
    DialingPause.objects.create(reason="Credentials")

    answer = visitor("admin").get(reverse(name, args=[call.pk] if name == "call-hang-up" else []))

    assert answer.status_code == 405
    assert status_of(call) is Status.QUEUED
    assert DialingPause.objects.filter(lifted_at=None).exists()


@pytest.mark.parametrize("name", ["call-page", "call-feed", "call-confirm"])
def test_own_pages_cannot_be_framed_and_run_no_inline_code(name: str) -> None:
    """[F4] Clickjacking; [F2] the content policy."""
    call = make_call(Status.COMPLETED)
    query = {"recipients": call.recipient.pk} if name == "call-confirm" else {}
    path = reverse(name, args=[] if name == "call-confirm" else [call.pk])

    answer = visitor("operator").get(path, query)

    policy = answer["Content-Security-Policy"]
    assert answer["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    # The directives come in any order.
    assert "script-src 'self'" in {directive.strip() for directive in policy.split(";")}
    assert "no-store" in answer["Cache-Control"]
