"""Who may be called: asked when staff choose people, and again at the moment of dialling."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from calls.core import hours, phones
from calls.core.lifecycle import LIVE
from calls.models import Agent, Call, DialingPause, DoNotCall, Recipient
from calls.services import agents


@dataclass(frozen=True, slots=True)
class Skipped:
    """A recipient who is not called, and why, in staff's words."""

    recipient: Recipient
    reason: str


@dataclass(frozen=True, slots=True)
class Preview:
    """Who would be called now, and who not."""

    callable: list[Recipient]
    skipped: list[Skipped]


def preview(
    recipients: Iterable[Recipient], agent: Agent, *, now: datetime | None = None
) -> Preview:
    """Sort the recipients into those who may be called now and those who may not."""
    now = now or timezone.now()
    unique = list({recipient.pk: recipient for recipient in recipients}.values())
    numbers = [recipient.phone for recipient in unique]
    refused = set(DoNotCall.objects.filter(phone__in=numbers).values_list("phone", flat=True))
    busy = set(
        Call.objects.filter(to_number__in=numbers, status__in=LIVE).values_list(
            "to_number", flat=True
        )
    )
    fit: list[Recipient] = []
    skipped: list[Skipped] = []
    for recipient in unique:
        if reason := _why_not(recipient, agent, refused, busy, now):
            skipped.append(Skipped(recipient, reason))
        else:
            fit.append(recipient)
    return Preview(fit, skipped)


def _why_not(
    recipient: Recipient, agent: Agent, refused: set[str], busy: set[str], now: datetime
) -> str:
    if not agent.is_active:
        return f"the agent {agent.name} is switched off"
    if recipient.phone in refused:
        return "is on the do-not-call list"
    if recipient.phone == settings.TWILIO_PHONE_NUMBER:
        return "has our own number"
    if recipient.phone in busy:
        return "is on a call already"
    try:
        phones.check(recipient.phone)
    except phones.BadNumber as exc:
        return f"has a number that we do not call: {exc.reason}"
    if missing := agents.missing_values(agent, recipient):
        return f"lacks a value for {', '.join(missing)}"
    verdict = hours_verdict(recipient, recipient.phone, now)
    return "" if verdict.allowed else verdict.reason


def hours_verdict(recipient: Recipient, number: str, now: datetime) -> hours.Verdict:
    zones = (recipient.zone,) if recipient.zone else phones.zones(number)
    return hours.may_call(
        now,
        zones,
        hours.Window.parse(settings.CALLING_HOURS),
        hours.Window.parse(settings.CALLING_HOURS_SUNDAY),
    )


def is_paused() -> bool:
    """Whether nobody may be dialled at the moment."""
    return DialingPause.objects.filter(lifted_at=None).exists()
