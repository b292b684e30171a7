"""Twilio's door to a call: status reports, and who picked up."""

from __future__ import annotations

import re

from django.http import Http404, HttpRequest, HttpResponse

from calls.models import Call
from calls.services import progress
from calls.signing import twilio_webhook

_SHORT_NUMBER = r"\d{1,6}"
_ANSWERED_BY = r"[a-z_]{1,24}"


def call_of(request: HttpRequest) -> Call:
    """The call that a signed callback is about: its token in the address, its SID in the form.

    Raises:
        Http404: they fit no call; the callback is kept for a person to look at.
    """
    token = request.GET.get("call", "")
    sid = request.POST["CallSid"]
    call = progress.bind(token, sid) if re.fullmatch(r"[0-9a-f]{32}", token) else None
    if call is None:
        progress.quarantine(request.path, request.POST.dict())
        raise Http404
    return call


@twilio_webhook(
    required={"CallStatus": r"[a-z-]{1,20}"},
    optional={
        "CallDuration": _SHORT_NUMBER,
        "SipResponseCode": r"\d{3}",
        "ErrorCode": _SHORT_NUMBER,
        "AnsweredBy": _ANSWERED_BY,
        "Timestamp": r".{1,64}",
    },
)
def status(request: HttpRequest) -> HttpResponse:
    """Twilio reports how a call is doing: late, twice and out of order.

    Source: Twilio, Call resource, "StatusCallback parameters".
    """
    progress.report_status(call_of(request), request.POST.dict())
    return HttpResponse(status=204)


@twilio_webhook(required={"AnsweredBy": _ANSWERED_BY})
def answered_by(request: HttpRequest) -> HttpResponse:
    """Twilio tells whether a person or a machine picked up.

    Source: Twilio, "Answering machine detection", AsyncAmdStatusCallback.
    """
    progress.report_answered_by(call_of(request), request.POST.dict())
    return HttpResponse(status=204)
