"""What people see where something is missing, forbidden or broken."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse

from calls import feed
from calls.core.lifecycle import Status
from tests.calls.kit import make_call
from tests.staff import make_user, signed_in, visitor

pytestmark = pytest.mark.django_db

NOBODYS_CALL = "/calls/00000000-0000-0000-0000-000000000000/"


@pytest.mark.parametrize("path", ["/nothing-here", NOBODYS_CALL, "/admin/nothing-here/"])
def test_missing_page_leads_staff_back_to_the_overview(path: str) -> None:
    answer = visitor("admin").get(path)

    assert answer.status_code == 404
    page = answer.content.decode()
    assert "There is no such page" in page
    assert f'href="{reverse("admin:index")}"' in page


@pytest.mark.parametrize("role", ["anonymous", "customer"])
def test_missing_page_tells_strangers_nothing_of_the_staffs_side(role: str) -> None:
    """[F1]"""
    page = visitor(role).get("/nothing-here").content.decode()

    assert "There is no such page" in page
    assert reverse("admin:index") not in page


def test_forbidden_page_names_the_account() -> None:
    client = signed_in(make_user("<i>Nora</i>"))

    answer = client.get(reverse("call-page", args=[make_call(Status.COMPLETED).pk]))

    assert answer.status_code == 403
    page = answer.content.decode()
    assert "The account &lt;i&gt;Nora&lt;/i&gt; lacks the permission." in page


def test_expired_form_says_that_nothing_was_done() -> None:
    """[F4]"""
    client = Client(enforce_csrf_checks=True)

    answer = client.post(reverse("admin:login"), {"username": "a", "password": "b"})

    assert answer.status_code == 403
    assert "This form has expired" in answer.content.decode()


def test_fault_of_ours_says_when_it_happened_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = make_call(Status.COMPLETED)
    client = visitor("admin")
    client.raise_request_exception = False

    def break_down(*_: Any) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(feed, "load", break_down)
    answer = client.get(reverse("call-page", args=[call.pk]))

    assert answer.status_code == 500
    page = answer.content.decode()
    assert "Something went wrong on our side" in page
    assert " UTC on " in page
    assert "secret of the house" not in page


def test_icon_that_browsers_ask_for_exists() -> None:
    answer = Client().get("/favicon.ico")

    assert answer["Location"] == "/static/calls/icon.svg"
    assert finders.find("calls/icon.svg")
