"""A local OpenAI: the Realtime API over WebSocket, its models and its client secrets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import WSCloseCode, web

from sandbox.openai import errors, models
from sandbox.openai.connection import Connection, new_session, reset
from sandbox.openai.control import control_routes
from sandbox.openai.effects import Effect, HangUp
from sandbox.openai.errors import Closing, FatalError, Json, RealtimeError
from sandbox.openai.outbox import new_id
from sandbox.openai.session import Session
from sandbox.openai.shapes import Number, Object, Text, free_object
from sandbox.openai.state import State

STATE: web.AppKey[State] = web.AppKey("state", State)
_MAX_MESSAGE = 32 * 1024 * 1024
_BROWSER_KEY = "openai-insecure-api-key."
_HTML = "<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"

_SECRET_REQUEST = Object({
    "expires_after": Object(
        {"anchor": Text(among=("created_at",)), "seconds": Number(10, 7_200)},
    ),
    "session": free_object,
})  # fmt: skip

__all__ = ["control_routes", "create_app"]


def create_app(state: State) -> web.Application:
    """The application that listens where OpenAI would."""
    app = web.Application(middlewares=[_api_errors])
    app[STATE] = state
    app.add_routes([
        web.get("/v1/realtime", _realtime),
        web.get("/v1/models", _models),
        web.get("/v1/models/{model}", _model),
        web.post("/v1/realtime/client_secrets", _client_secret),
    ])  # fmt: skip
    app.on_shutdown.append(_hang_up_all)
    return app


# --- WebSocket ----------------------------------------------------------------------------------


async def _realtime(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    fault = state.take_fault("openai.connect") or ""
    refused = await _http_fault(request, fault)
    if refused is not None:
        return refused
    socket = web.WebSocketResponse(
        protocols=("realtime",),
        compress=False,
        max_msg_size=_MAX_MESSAGE,
    )
    if not socket.can_prepare(request):
        raise RealtimeError("invalid_request", "This endpoint speaks WebSocket only.")
    await socket.prepare(request)
    try:
        session = _opened(request, fault)
    except RealtimeError as error:
        fatal = error if isinstance(error, FatalError) else FatalError(error.code, error.message)
        await _refuse(socket, fatal)
        state.log("openai.session", "refused", {"code": error.code})
        return socket
    await _serve(state, session, socket, request, fault)
    return socket


async def _serve(
    state: State,
    session: Session,
    socket: web.WebSocketResponse,
    request: web.Request,
    fault: str,
) -> None:
    connection = Connection(state, session, socket, request)
    state.live[session.id] = connection
    state.keep(session.ledger)
    state.log("openai.session", "opened", {"id": session.id, "model": session.ledger.model})
    first: list[Effect] = session.open(state.now())
    if fault.startswith("after:close:"):
        first.append(HangUp(Closing(int(fault.removeprefix("after:close:")), "server fault")))
    try:
        if fault == "after:reset":
            connection.act("reset", {})
        if fault == "after:silent":
            connection.act("silence", {})
        await connection.run(first)
    finally:
        del state.live[session.id]
        state.log("openai.session", "closed", {"id": session.id, "how": session.ledger.closed})


def _opened(request: web.Request, fault: str) -> Session:
    """The session that this request asks for. Raises RealtimeError."""
    state = request.app[STATE]
    if fault.startswith("error:"):
        code = fault.removeprefix("error:")
        raise FatalError(code, f"The sandbox was told to answer {code}.")
    if "OpenAI-Beta" in request.headers:
        raise errors.beta_api_shape_disabled()
    preset = _authorised(request)
    if "call_id" in request.query or request.query.get("intent") == "transcription":
        raise FatalError(
            "invalid_value", "The sandbox has neither SIP calls nor transcription sessions."
        )
    model = models.check(request.query.get("model") or preset.get("model"))
    session = new_session(state, model)
    if preset:
        session.configure(preset)
    return session


def _authorised(request: web.Request) -> Json:
    """The settings that come with the key: none, or those of a client secret."""
    state = request.app[STATE]
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    keys = [p.strip().removeprefix(_BROWSER_KEY) for p in offered if _BROWSER_KEY in p]
    key = _bearer(request) or (keys[0] if keys else "")
    if key == state.api_key:
        return {}
    secret = state.secret(key)
    if secret is None:
        raise errors.invalid_api_key(key)
    return secret.session


def _bearer(request: web.Request) -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


async def _refuse(socket: web.WebSocketResponse, error: FatalError) -> None:
    event_id = new_id(random.SystemRandom(), "event")
    await socket.send_json({"type": "error", "event_id": event_id, "error": error.to_json()})
    await socket.close(code=error.close.code, message=error.close.payload)


async def _hang_up_all(app: web.Application) -> None:
    state = app[STATE]
    for connection in list(state.live.values()):
        connection.act("close", {"code": int(WSCloseCode.GOING_AWAY), "reason": "shutting down"})


# --- HTTP ---------------------------------------------------------------------------------------


async def _models(request: web.Request) -> web.StreamResponse:
    refused = await _before_http(request, "openai.models")
    return refused or web.json_response(models.listed())


async def _model(request: web.Request) -> web.StreamResponse:
    refused = await _before_http(request, "openai.models")
    if refused is not None:
        return refused
    try:
        return web.json_response(models.one(request.match_info["model"]))
    except RealtimeError as error:
        return _error(error, 404)


async def _client_secret(request: web.Request) -> web.StreamResponse:
    refused = await _before_http(request, "openai.client_secrets")
    if refused is not None:
        return refused
    try:
        body = await request.json(loads=orjson.loads)
    except ValueError:
        raise errors.invalid_json() from None
    _SECRET_REQUEST(body, "")
    state = request.app[STATE]
    wanted: Json = body.get("session") or {"type": "realtime"}
    seconds = body.get("expires_after", {}).get("seconds", 600)
    model = wanted.get("model", "gpt-realtime-2.1")
    Text()(model, "session.model")
    session = new_session(state, models.check(model))
    session.configure(wanted)
    value, expires_at = state.new_secret(seconds, {**wanted, "model": session.ledger.model})
    return web.json_response({"value": value, "expires_at": expires_at, "session": session.config})


async def _before_http(request: web.Request, where: str) -> web.StreamResponse | None:
    state = request.app[STATE]
    state.log("openai.http", request.method, {"path": request.path})
    refused = await _http_fault(request, state.take_fault(where) or "")
    if refused is None and _bearer(request) != state.api_key:
        return _error(errors.invalid_api_key(_bearer(request)), 401)
    return refused


async def _http_fault(request: web.Request, fault: str) -> web.StreamResponse | None:
    """Carry out a fault that strikes before the answer; None: go on."""
    kind, _, rest = fault.partition(":")
    if kind == "status":
        error = RealtimeError(None, "The sandbox was told to refuse.", type="server_error")
        return _error(error, int(rest))
    if kind == "html":
        return web.Response(status=502, text=_HTML, content_type="text/html")
    if kind == "reset":
        reset(request)
        return web.Response(status=500)
    if kind == "delay":
        await asyncio.sleep(float(rest) / request.app[STATE].speed)
    if kind == "hang":
        await _until_gone(request)
        return web.Response(status=500)
    return None


async def _until_gone(request: web.Request) -> None:
    """Say nothing until the client has lost its patience."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def _error(error: RealtimeError, status: int) -> web.Response:
    shown = {k: v for k, v in error.to_json().items() if k != "event_id"}
    return web.json_response({"error": shown}, status=status)


@web.middleware
async def _api_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except RealtimeError as error:
        return _error(error, 400)
