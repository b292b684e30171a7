"""How the server ends a connection: in step with the client, so that the close frame arrives."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Self, cast

from aiohttp import WSMessage, web

from sandbox.openai.connection import Connection, new_session
from sandbox.openai.effects import HangUp
from sandbox.openai.errors import Closing
from sandbox.openai.state import State
from tests.sandbox.openai.talk import DEADLINE_S


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
