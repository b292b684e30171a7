"""How the server ends a connection: in step with the client, so that the close frame arrives."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Self, cast
from urllib.parse import urlsplit

from aiohttp import WSMessage, web

from sandbox.openai.connection import Connection, new_session
from sandbox.openai.effects import HangUp
from sandbox.openai.errors import Closing
from sandbox.openai.state import DEFAULT_KEY, State
from tests.sandbox.openai.talk import DEADLINE_S, model_server

TEXT, CLOSE = 1, 8


class SlowlyClosing:
    """A socket whose client answers the close frame when `answers` is set, as aiohttp has it.

    Reading ends as soon as closing begins.
    """

    def __init__(self) -> None:
        self.closed = False
        self.close_code: int | None = None
        self.closing = asyncio.Event()
        self.answers = asyncio.Event()
        self.how = "open"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WSMessage:
        await self.closing.wait()
        raise StopAsyncIteration

    async def close(self, *, code: int, message: bytes) -> None:
        self.closing.set()
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.how = "cut off"
            raise
        self.closed, self.close_code, self.how = True, code, "answered"

    async def send_str(self, text: str) -> None:
        pass


async def test_the_client_gets_to_answer_the_close_frame() -> None:
    state = State()
    socket = SlowlyClosing()
    request = cast("web.Request", SimpleNamespace(transport=None))
    connection = Connection(
        state, new_session(state, "gpt-realtime-2.1"), cast("Any", socket), request
    )

    serving = asyncio.create_task(connection.run([HangUp(Closing(1011, "server fault"))]))
    async with asyncio.timeout(DEADLINE_S):
        await socket.closing.wait()
        for _ in range(10):  # rounds of the loop, in which the reader learns of it
            await asyncio.sleep(0)
        socket.answers.set()
        await serving

    assert (socket.how, socket.close_code) == ("answered", 1011)


async def test_what_the_client_still_sends_is_read_until_it_answers() -> None:
    """Or its kernel would throw away the close frame, and with it the reason."""
    async with model_server() as model, asyncio.timeout(DEADLINE_S):
        address = urlsplit(model.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(_upgrade(address.netloc))
        await reader.readuntil(b"\r\n\r\n")
        await _next_frame(reader)
        (session,) = model.state.live.values()
        session.act("close", {"code": 1011})
        kind, reason = await _next_frame(reader)

        for _ in range(200):
            writer.write(_frame(TEXT, b"{}" + b" " * 1000))
            await writer.drain()
        writer.write(_frame(CLOSE, reason))

        assert (kind, reason[:2]) == (CLOSE, (1011).to_bytes(2, "big"))
        assert await reader.read() == b""
        writer.close()


def _upgrade(host: str) -> bytes:
    lines = (
        "GET /v1/realtime?model=gpt-realtime-2.1 HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {DEFAULT_KEY}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    return "\r\n".join((*lines, "", "")).encode()


def _frame(kind: int, payload: bytes) -> bytes:
    """A client's frame, masked with zeros (RFC 6455, section 5.2)."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | kind]) + length + b"\0\0\0\0" + payload


async def _next_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, size = await reader.readexactly(2)
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    return first & 0x0F, await reader.readexactly(size)
