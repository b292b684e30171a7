"""Serve the sound of recordings, well or badly.

Source: Twilio, Recordings resource, "Fetch a Recording's media file"; twilio.md section E.
"""

from __future__ import annotations

from aiohttp import web

from sandbox.faults import Fault
from sandbox.state import State
from sandbox.twilio.connections import cut, until_gone
from sandbox.twilio.errors import ApiError
from sandbox.twilio.recordings import Recording

ENDLESS_BYTES = 512 * 1024 * 1024
XML_404 = (
    '<?xml version="1.0" encoding="UTF-8"?><TwilioResponse><RestException><Code>20404</Code>'
    "<Message>The requested resource was not found</Message>"
    "<Status>404</Status></RestException></TwilioResponse>"
)
_ERRORS = ("status", "reset", "hang", "delay", "not-ready", "html", "xml", "json", "redirect")
_BODIES = ("truncate", "mono", "empty", "silence", "endless")


async def serve(
    request: web.Request, recording: Recording, state: State, to: str
) -> web.StreamResponse:
    """Answer a request for the WAV of a call to `to`; raises ApiError(20404) if there is none."""
    if fault := state.faults.take("recording.media", *_ERRORS, call=to):
        answer = await _refuse(request, fault, state)
        if answer is not None:
            return answer
    if recording.status != "completed":
        raise ApiError(20404, f"The requested resource {request.path} was not found")
    wanted = request.query.get("RequestedChannels", str(recording.channels))
    if wanted not in ("1", "2"):
        raise ApiError(20001, f"Invalid parameter RequestedChannels: '{wanted}'")
    if int(wanted) > recording.channels:
        raise ApiError(16113)
    fault = state.faults.take("recording.media", *_BODIES, call=to)
    kind = fault.kind if fault else ""
    body = recording.wav(1 if kind == "mono" else int(wanted), is_silent=kind == "silence")
    if fault is not None and kind in ("truncate", "endless"):
        return await _stream(request, body, fault)
    return web.Response(
        body=b"" if kind == "empty" else body,
        content_type="audio/x-wav",
        headers={"Content-Disposition": f'attachment; filename="{recording.sid}.wav"'},
    )


async def _refuse(request: web.Request, fault: Fault, state: State) -> web.StreamResponse | None:
    match fault.kind:
        case "delay":
            await state.clock.sleep(fault.seconds)
            return None
        case "hang":
            await until_gone(request)
        case "reset":
            cut(request)
        case "not-ready":
            left = int(fault.seconds or 1) - 1
            if left > 0:
                again = {"where": fault.where, "what": f"not-ready:{left}", "call": fault.call}
                state.faults.add(again)
            raise ApiError(20404, f"The requested resource {request.path} was not found")
        case "html":
            return web.Response(text="<html>sign in</html>", content_type="text/html")
        case "xml":
            return web.Response(text=XML_404, content_type="application/xml", status=404)
        case "json":
            return web.json_response(ApiError(20404).to_json(), content_type="audio/x-wav")
        case "redirect":
            raise web.HTTPFound(fault.argument)
    raise ApiError(20500, status=int(fault.argument or 500) if fault.kind == "status" else 500)


async def _stream(request: web.Request, body: bytes, fault: Fault) -> web.StreamResponse:
    """Promise the whole length and stop short, or promise none and never stop."""
    response = web.StreamResponse(headers={"Content-Type": "audio/x-wav"})
    if fault.kind == "truncate":
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: int(len(body) * (fault.seconds or 0.5))])
        if request.transport is not None:
            request.transport.close()
        return response
    response.enable_chunked_encoding()
    await response.prepare(request)
    sent = 0
    while sent < ENDLESS_BYTES:
        await response.write(body or bytes(1024))
        sent += len(body) or 1024
    return response
