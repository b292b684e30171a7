"""The first page after signing in: what goes on now, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from calls.core.lifecycle import LIVE, Status
from calls.models import Agent, Call, Recipient

LATEST = 8


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do before the first call; without a `url` the user may not do it."""

    text: str
    url: str
    done: bool


def add_to_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the index shows beyond the list of models; only what this user may see."""
    context["next_steps"] = _next_steps(request.user)
    context["can_see_calls"] = request.user.has_perm("calls.view_call")
    if context["can_see_calls"]:
        today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
        calls = Call.objects.all()
        context |= {
            "calls_url": reverse("admin:calls_call_changelist"),
            "live_count": calls.filter(status__in=LIVE).count(),
            "today_count": calls.filter(created_at__gte=today).count(),
            "failed_count": calls.filter(created_at__gte=today, status=Status.FAILED).count(),
            "latest": calls.select_related("agent", "recipient")[:LATEST],
        }
    return context


def _next_steps(user: User | AnonymousUser) -> list[Step]:
    """The way to the first call; empty once it has been gone."""
    if Call.objects.exists():
        return []
    steps: list[tuple[str, str, str, type[Agent | Recipient]]] = [
        (
            "Create an agent: who speaks, and what about",
            "add_agent",
            "admin:calls_agent_add",
            Agent,
        ),
        ("Add a recipient", "add_recipient", "admin:calls_recipient_add", Recipient),
    ]
    found = [
        Step(text, reverse(url) if user.has_perm(f"calls.{perm}") else "", model.objects.exists())
        for text, perm, url, model in steps
    ]
    ready = all(step.done for step in found) and user.has_perm("calls.place_call")
    url = reverse("admin:calls_recipient_changelist") if ready else ""
    return [*found, Step("Open the recipient and choose “Call now”", url, False)]
