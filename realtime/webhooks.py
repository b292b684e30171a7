"""The answer: TwiML that opens the stream, and what follows when a stream ends.

Source: Twilio, TwiML `<Connect>`, `<Stream>`, `<Redirect>`, `<Say>`.
"""

from __future__ import annotations

import logging
import re

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from twilio.twiml.voice_response import Connect, VoiceResponse

from calls.core.lifecycle import EndReason
from calls.models import Call
from calls.services import progress, streams
from calls.signing import public_url, stream_url, twilio_webhook
from calls.webhooks import call_of

logger = logging.getLogger(__name__)

SORRY = "We are sorry, a technical problem ended this call. Goodbye."
# The recipient is owed a word when it was not they, nor the agent, who ended the call.
_APOLOGISE_FOR = {EndReason.MODEL_FAILED, EndReason.INTERNAL_ERROR, EndReason.STREAM_LOST}
_CALL_STATUS = {"CallStatus": r"[a-z-]{1,20}"}
_STREAM = {"StreamSid": r"MZ[0-9a-f]{32}", "StreamEvent": r"stream-(started|stopped|error)"}


@twilio_webhook(required=_CALL_STATUS)
def voice(request: HttpRequest) -> HttpResponse:
    """The call was answered: connect it to the conversation, or end it."""
    call = call_of(request)
    progress.report_status(call, request.POST.dict())
    call.refresh_from_db()
    token = streams.offer(call)
    return _twiml(_hang_up() if token is None else _connect(call, token))


@twilio_webhook(required=_CALL_STATUS)
def resume(request: HttpRequest) -> HttpResponse:
    """The stream has ended: the end of the call, or a line that has to be picked up again."""
    call = call_of(request)
    if request.POST["CallStatus"] != "in-progress":
        return _twiml(_hang_up())  # nobody is there any more
    before = call.stream_generation
    ended = _stream_of(request, otherwise=before)
    token = streams.offer_resume(call, after=ended)
    if token is not None:
        is_repeated = call.stream_generation == before
        logger.warning("call %s: the stream was lost; resuming", call.pk)
        return _twiml(_connect(call, token, pause=is_repeated))
    call.refresh_from_db()
    if streams.is_old_news(call, ended):
        return _twiml(_hang_up())  # sent again by somebody: the call has gone on without it
    if streams.may_talk(call):
        logger.error("call %s: the stream was lost for good", call.pk)
        progress.end_conversation(
            call.pk, EndReason.STREAM_LOST, "The stream could not be resumed.", timezone.now()
        )
        return _twiml(_apology())
    return _twiml(_apology() if call.end_reason in _APOLOGISE_FOR else _hang_up())


@twilio_webhook
def fallback(request: HttpRequest) -> HttpResponse:
    """Twilio could not get TwiML from us: a static answer that needs nothing but this process."""
    return _twiml(_apology())


@twilio_webhook(required=_STREAM)
def stream_status(request: HttpRequest) -> HttpResponse:
    """What Twilio says about the stream; the only place where a refused handshake shows."""
    call = call_of(request)
    event, sid = request.POST["StreamEvent"], request.POST["StreamSid"]
    key = f"{event}.{sid}"
    data = request.POST.dict()
    if progress.note_event(call, key, f"twilio.{event}", at=timezone.now(), data=data):
        progress.bump(call.pk)
        if event == "stream-error":
            logger.error("call %s: stream error: %s", call.pk, data.get("StreamError", ""))
    return HttpResponse(status=204)


def _stream_of(request: HttpRequest, *, otherwise: int) -> int:
    """The stream behind which this address stood in the TwiML."""
    generation = request.GET.get("stream", "")
    return int(generation) if re.fullmatch(r"[0-9]{1,4}", generation) else otherwise


def _connect(call: Call, token: str, *, pause: bool = False) -> VoiceResponse:
    response = VoiceResponse()
    if pause:
        # Offered before, and not opened: a stream that cannot connect must not spin.
        response.pause(length=1)
    connect = Connect()
    stream = connect.stream(
        url=stream_url(),
        name=f"call-{call.stream_generation}",
        status_callback=public_url("twilio-stream-status", call_token=call.token, retries=True),
    )
    stream.parameter(name="callSid", value=call.twilio_sid)
    stream.parameter(name="token", value=token)
    response.append(connect)
    # Reached when the stream ends, however it ends.
    after = public_url("twilio-resume", call_token=call.token, stream=call.stream_generation)
    response.redirect(after, method="POST")
    return response


def _hang_up() -> VoiceResponse:
    response = VoiceResponse()
    response.hangup()
    return response


def _apology() -> VoiceResponse:
    response = VoiceResponse()
    response.say(SORRY)
    response.hangup()
    return response


def _twiml(response: VoiceResponse) -> HttpResponse:
    return HttpResponse(str(response), content_type="text/xml")
