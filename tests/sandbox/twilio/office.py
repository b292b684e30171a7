"""Somebody's server: answers webhooks with TwiML, talks on a Media Stream, keeps what it got.

It checks every signature with Twilio's own library.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from aiohttp import WSMsgType, web
from twilio.request_validator import RequestValidator, get_signature_algorithm

T = TypeVar("T")
DEADLINE_S = 20.0
FRAME = b"\x10" * 160
"""20 ms of something loud, in mu-law."""


@dataclass
class Received:
    """One webhook as it arrived."""

    name: str
    method: str
    query: dict[str, str]
    fields: dict[str, str]
    headers: dict[str, str]
    is_signed: bool
    values: dict[str, list[str]] = field(default_factory=dict)
    """As `fields`, with every value of a name that came several times."""


@dataclass
class Talk:
    """The server's end of one Media Stream."""

    ws: web.WebSocketResponse
    is_signed: bool
    path_qs: str
    headers: dict[str, str]
    messages: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    is_closed: bool = False

    @property
    def sid(self) -> str:
        return str(self.start["streamSid"])

    @property
    def start(self) -> dict[str, Any]:
        return next(m for m in self.messages if m["event"] == "start")

    def of(self, event: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["event"] == event]

    @property
    def echoed(self) -> list[str]:
        return [m["mark"]["name"] for m in self.of("mark")]

    async def send(self, event: str, **body: Any) -> None:
        await self.ws.send_str(json.dumps({"event": event, "streamSid": self.sid} | body))

    async def play(self, ulaw: bytes, mark: str = "") -> None:
        """Queue audio, with a mark behind it."""
        if ulaw:
            await self.send("media", media={"payload": base64.b64encode(ulaw).decode()})
        if mark:
            await self.send("mark", mark={"name": mark})

    async def until(self, claim: Callable[[Talk], T]) -> T:
        """Wait until something about this talk is true; returns it."""
        async with asyncio.timeout(DEADLINE_S):
            while not (result := claim(self)):
                if self.is_closed:
                    raise AssertionError(f"the stream closed first, after {self.messages[-3:]}")
                self.changed.clear()
                await self.changed.wait()
        return result

    async def until_closed(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not self.is_closed:
                self.changed.clear()
                await self.changed.wait()


Conversation = Callable[[Talk], Awaitable[None]]


async def listens(talk: Talk) -> None:
    """A server that says nothing until the stream ends."""
    await talk.until_closed()


async def greets(talk: Talk) -> None:
    """A server that says one thing; whoever listens for it knows that the stream is open."""
    await talk.play(FRAME * 10, "greeting")
    await talk.until_closed()


class Office:
    """Answers at `url`; `answers` maps a path's name to a document or a function giving one."""

    def __init__(self, token: str) -> None:
        self.received: list[Received] = []
        self.talks: list[Talk] = []
        self.answers: dict[str, str | Callable[[], web.Response]] = {}
        self.conversation: Conversation = listens
        self.failures: list[BaseException] = []
        self.expects_forgery = False
        self.public_url = ""
        self.url = ""
        self._validator = RequestValidator(token)
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.get("/ws/media", self._media), web.route("*", "/{name}", self._hook)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = self.public_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def trust(self, secret: str) -> None:
        """Check signatures with this secret from now on."""
        self._validator = RequestValidator(secret)

    @property
    def stream_url(self) -> str:
        return self.public_url.replace("http", "ws", 1) + "/ws/media"

    def stream(self, after: str = "<Hangup/>", parameters: str = "", attributes: str = "") -> str:
        """TwiML that opens a stream here, and what follows it."""
        return (
            f"<Response><Connect {attributes}><Stream url='{self.stream_url}' name='ai' "
            f"statusCallback='{self.public_url}/stream-status'>{parameters}</Stream></Connect>"
            f"{after}</Response>"
        )

    def got(self, name: str) -> list[Received]:
        return [r for r in self.received if r.name == name]

    def statuses(self) -> list[str]:
        return [r.fields["CallStatus"] for r in self.got("status")]

    async def until(self, claim: Callable[[], T]) -> T:
        """Wait until something about what was received is true; returns it."""
        async with asyncio.timeout(DEADLINE_S):
            while not (result := claim()):
                self._changed.clear()
                await self._changed.wait()
        return result

    async def _hook(self, request: web.Request) -> web.Response:
        form = await request.post()
        name = request.match_info["name"]
        self.received.append(
            Received(
                name,
                request.method,
                dict(request.query),
                {key: str(value) for key, value in form.items()},
                dict(request.headers),
                self._is_signed(request, self.public_url, form),
                {key: [str(value) for value in form.getall(key)] for key in form},
            )
        )
        self._changed.set()
        answer = self.answers.get(name, "")
        if callable(answer):
            return answer()
        if answer:
            return web.Response(text=answer, content_type="text/xml")
        return web.Response(status=204)

    def _is_signed(self, request: web.Request, base: str, form: Any) -> bool:
        signature = request.headers.get("X-Twilio-Signature", "")
        if "Upgrade" in request.headers:
            base = base.replace("http", "ws", 1)
        settings = request.headers.get("X-Twilio-Webhooks-Signature-Settings")
        algorithm = get_signature_algorithm(settings)
        url = base + request.raw_path
        valid: bool = self._validator.validate(url, form, signature, algorithm=algorithm)
        return valid

    async def _media(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        is_signed = self._is_signed(request, self.public_url, {})
        await ws.prepare(request)
        talk = Talk(ws, is_signed, request.path_qs, dict(request.headers))
        self.talks.append(talk)
        speaking: asyncio.Task[None] | None = None
        async for message in ws:
            if message.type is not WSMsgType.TEXT:
                break
            talk.messages.append(json.loads(message.data))
            talk.changed.set()
            self._changed.set()
            if talk.messages[-1]["event"] == "start" and speaking is None:
                speaking = asyncio.create_task(self._speak(talk))
        talk.is_closed = True
        talk.changed.set()
        self._changed.set()
        if speaking is not None:
            await speaking
        return ws

    async def _speak(self, talk: Talk) -> None:
        try:
            await self.conversation(talk)
        except (AssertionError, TimeoutError, ConnectionError) as exc:
            self.failures.append(exc)
            await talk.ws.close()
