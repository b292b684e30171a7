"""Twilio's door to a recording: how far it has come."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse

from calls.services import progress
from calls.signing import twilio_webhook
from calls.webhooks import call_of
from recordings import services


@twilio_webhook(
    required={"RecordingSid": r"RE[0-9a-f]{32}", "RecordingStatus": r"[a-z-]{1,20}"},
    optional={"ErrorCode": r"\d{1,6}"},
)
def recording_status(request: HttpRequest) -> HttpResponse:
    """Twilio reports a recording; the address of its audio that it gives is never used.

    Source: Twilio, Recordings, "RecordingStatusCallback parameters".
    """
    params = request.POST.dict()
    if not services.report(call_of(request), params):
        progress.quarantine(request.path, params)
        raise Http404
    return HttpResponse(status=204)
