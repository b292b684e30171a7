"""Whom we may call: numbers in one spelling, and people who do not want to be called."""

from __future__ import annotations

import logging

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from calls.core import phones, prompts
from calls.core.lifecycle import LIVE
from calls.models import Call, DoNotCall, Recipient
from calls.services import progress

logger = logging.getLogger(__name__)


def normalise_phone(text: str) -> str:
    """A number as staff write it, in E.164.

    Raises:
        ValidationError: it is none that we call, with the reason and the fix.
    """
    try:
        return phones.parse(text, settings.PHONE_REGION)
    except phones.BadNumber as exc:
        raise ValidationError(
            f"This number cannot be called: {exc.reason}. Write it like +49 30 1234567.",
            code="invalid_phone",
        ) from None


def clean_text(text: str) -> str:
    """Text from outside without control characters and other invisible marks."""
    return prompts.clean(text).strip()


def add(
    name: str, phone: str, *, context: str = "", zone: str = "", language: str = ""
) -> Recipient:
    """Add a person, or return the one who has this number already.

    Raises:
        ValidationError: a field is not acceptable; its message says how to mend it.
    """
    number = normalise_phone(phone)
    existing = Recipient.objects.filter(phone=number).first()
    if existing is not None:
        return existing
    recipient = Recipient(
        name=clean_text(name),
        phone=number,
        context=clean_text(context),
        zone=zone,
        language=language,
    )
    recipient.full_clean(validate_unique=False)
    if len(recipient.context) > prompts.MAX_CONTEXT:
        # Django checks the length of a text field in forms only.
        raise ValidationError({"context": f"Use at most {prompts.MAX_CONTEXT} characters."})
    # Somebody else may add the same number at this moment: the constraint decides.
    Recipient.objects.bulk_create([recipient], ignore_conflicts=True)
    return Recipient.objects.get(phone=number)


def find(text: str, *, limit: int) -> list[Recipient]:
    """People whose name or number holds `text`, by name."""
    wanted = text.strip().replace("\0", "")
    found = Recipient.objects.filter(Q(name__icontains=wanted) | Q(phone__contains=wanted))
    return list(found.order_by("name", "phone")[:limit])


def forbid_calls(phone: str, *, by: User | None, reason: str = "") -> DoNotCall:
    """Put a number on the do-not-call list, and end what is on its way to it.

    Waiting calls are cancelled and live ones hung up. The claim before each dial looks at the list
    again, so a call that is being asked for at this moment does not slip through.
    """
    with transaction.atomic():
        entry, is_new = DoNotCall.objects.get_or_create(
            phone=phone,
            defaults={"reason": clean_text(reason)[:200], "added_by": by},
        )
        end_calls_to(phone, by=by)
    if is_new:
        logger.info("a number was put on the do-not-call list")
    return entry


def end_calls_to(phone: str, *, by: User | None) -> None:
    """Cancel what waits to be dialled, and hang up what is live."""
    for call in Call.objects.filter(to_number=phone, status__in=LIVE):
        progress.request_hang_up(call.pk, by=by)


def allow_calls(phone: str) -> bool:
    """Take a number off the do-not-call list; False if it was not on it."""
    deleted, _ = DoNotCall.objects.filter(phone=phone).delete()
    return deleted > 0
