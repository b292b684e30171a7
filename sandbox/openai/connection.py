"""The shell of one session: its socket, its clock, and a bounded queue between."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

import orjson
from aiohttp import WSMsgType, web

from sandbox.openai.effects import Effect, HangUp, Reset, Send
from sandbox.openai.errors import Closing, Json
from sandbox.openai.ledger import Ledger
from sandbox.openai.replies import BadScript, close_code
from sandbox.openai.session import Session
from sandbox.openai.state import State

_MOST_WAITING = 20_000
_SEND_S = 30.0
ACTIONS = (
    "close", "reset", "send", "send_text", "send_binary", "expire", "silence", "stop_reading",
)  # fmt: skip


class Connection:
    """Carries events between a WebSocket and a session until one of them ends."""

    def __init__(
        self, state: State, session: Session, socket: web.WebSocketResponse, request: web.Request
    ) -> None:
        self._state = state
        self._session = session
        self._socket = socket
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[Effect | str | bytes] = asyncio.Queue(_MOST_WAITING)
        self._timer: asyncio.TimerHandle | None = None
        self._is_silent = False
        self._is_hanging_up = False
        self._reader: asyncio.Task[None] | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._ping_s = state.behaviour.ping_s / state.speed

    @property
    def ledger(self) -> Ledger:
        """The session's record."""
        return self._session.ledger

    async def run(self, first: list[Effect]) -> None:
        """Serve the socket until it is closed."""
        self.carry_out(first)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._reader = tasks.create_task(self._read())
                writer = tasks.create_task(self._write())
                pings = tasks.create_task(self._ping())
                await asyncio.wait({self._reader})
                if self._is_hanging_up:
                    await asyncio.wait({writer}, timeout=_SEND_S)
                writer.cancel()
                pings.cancel()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            closed = self._socket.close_code
            self.ledger.close("client", closed, "", self._state.now())

    def carry_out(self, effects: list[Effect]) -> None:
        """Queue what the session asks for, and wake it again when it wants."""
        for effect in effects:
            self._put(effect)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (due := self._session.deadline) is not None:
            delay = max(0.0, (due - self._state.now()) / self._state.speed)
            self._timer = self._loop.call_later(delay, self._tick)

    def act(self, action: str, details: Json) -> None:
        """Do to this socket what a tester asks for. Raises BadScript."""
        now = self._state.now()
        match action:
            case "close":
                code = close_code(details.get("code", 1011), "code")
                reason = str(details.get("reason", ""))
                self.ledger.close("server", code, reason, now)
                self._put(HangUp(Closing(code, reason)))
                self._may_read.set()
            case "reset":
                self.ledger.close("server", 1006, "reset", now)
                self._put(Reset())
            case "send":
                event = details.get("event")
                if not isinstance(event, dict):
                    raise BadScript("event must be an object such as {'type': 'news.arrived'}")
                self.carry_out(self._session.inject(event, now))
            case "send_text":
                self._put(str(details.get("text", "")))
            case "send_binary":
                self._put(str(details.get("text", "")).encode())
            case "expire":
                self.carry_out(self._session.expire(now))
            case "silence":
                self._is_silent = True
            case "stop_reading":
                self._may_read.clear()
            case _:
                raise BadScript(f"do must be one of {', '.join(ACTIONS)}, not {action!r}")

    def _put(self, effect: Effect | str | bytes) -> None:
        try:
            self._waiting.put_nowait(effect)
        except asyncio.QueueFull:
            # The client has not read for a long time; the real server gives up as well.
            reset(self._request)

    def _tick(self) -> None:
        self._timer = None
        self.carry_out(self._session.tick(self._state.now()))

    async def _read(self) -> None:
        async for message in self._socket:
            if not self._may_read.is_set():
                await self._until_reading()
            if self._is_silent:
                continue
            now = self._state.now()
            if message.type == WSMsgType.TEXT:
                self.carry_out(self._session.receive_text(message.data, now))
            elif message.type == WSMsgType.BINARY:
                self.carry_out(self._session.receive_binary(now))

    async def _until_reading(self) -> None:
        """Leave what the client sends in the kernel's buffers, until they are full."""
        waiting = asyncio.create_task(self._may_read.wait())
        while not waiting.done() and not self._is_gone():
            await asyncio.wait([waiting], timeout=0.1)
        waiting.cancel()

    def _is_gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def _ping(self) -> None:
        # aiohttp's own heartbeat rests while data flows; OpenAI pings every 20 s all the same.
        while not self._socket.closed:
            await asyncio.sleep(self._ping_s)
            if self._is_silent:
                continue
            try:
                await self._socket.ping()
            except ConnectionError:  # the client has gone, as the reader will see
                return

    async def _write(self) -> None:
        while True:
            effect = await self._waiting.get()
            self._is_hanging_up = isinstance(effect, HangUp)
            if isinstance(effect, Reset):
                reset(self._request)
                return
            try:
                async with asyncio.timeout(_SEND_S):
                    await self._send(effect)
            except (TimeoutError, ConnectionError):
                reset(self._request)
                return
            if isinstance(effect, HangUp):
                return

    async def _stop_reading(self) -> None:
        """Leave it to closing to read: it then waits for the client's own close frame.

        While somebody else reads, aiohttp cuts the connection as soon as ours is written, and what
        the client's kernel has not handed on by then, our close frame included, is thrown away.
        """
        if self._reader is not None and not self._reader.done():
            self._reader.cancel()
            await asyncio.wait({self._reader})

    async def _send(self, effect: Send | HangUp | str | bytes) -> None:
        if isinstance(effect, HangUp):
            await self._stop_reading()
            closing = effect.closing
            await self._socket.close(code=closing.code, message=closing.payload)
        elif self._is_silent:
            return
        elif isinstance(effect, Send):
            await self._socket.send_str(orjson.dumps(effect.event).decode())
        elif isinstance(effect, str):
            await self._socket.send_str(effect)
        else:
            await self._socket.send_bytes(effect)


def reset(request: web.Request) -> None:
    """Drop the TCP connection with a reset, as a crashed server or a firewall does."""
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def new_session(state: State, model: str) -> Session:
    """A session of the state's world."""
    source = random.SystemRandom()
    seed = source.getrandbits(64)
    name = "".join(source.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", k=21))
    session_id = f"sess_{name}"
    session = Session(
        id=session_id,
        model=model,
        mind=state,
        behaviour=state.behaviour,
        now=state.now(),
        unix_now=state.unix_now(),
        seed=seed,
    )

    # The ledger outlives the session: what it holds must not keep the session, with all its audio.
    def tell(kind: str, entry: Json) -> None:
        state.log("openai.event", kind, {"session": session_id, **entry})

    session.ledger.tell = tell
    return session
