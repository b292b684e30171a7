"""What staff's pages and the admin's share."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import Context

from calls.core import twilio_errors
from calls.models import DialingPause

register = template.Library()


@register.inclusion_tag("staff/dialling_banner.html", takes_context=True)
def dialling_banner(context: Context) -> dict[str, Any]:
    """Why nobody is dialled at present, and the way out; nothing while dialling goes on."""
    request = context.get("request")
    user = getattr(request, "user", None)
    if request is None or user is None or not user.has_perm("calls.view_call"):
        return {"pauses": []}
    return {
        "pauses": [_described(p) for p in DialingPause.objects.filter(lifted_at__isnull=True)],
        "may_resume": user.has_perm("calls.change_dialingpause"),
        "next": request.get_full_path(),
        "csrf_token": context.get("csrf_token"),
    }


def _described(pause: DialingPause) -> dict[str, Any]:
    code = pause.error_code
    what_to_do = twilio_errors.explain(int(code)).fix if code.isdecimal() else ""
    return {
        "pk": pause.pk,
        "reason": pause.reason,
        "what_to_do": what_to_do or "Resume when the cause is mended.",
        "since": pause.since,
        "error_code": code,
    }
