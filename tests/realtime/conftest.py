"""The model's end of a bridge, on a port of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.server import Server, serve

from realtime import journal
from tests.realtime.lines import FakeModel


@pytest.fixture
async def model(settings: Any) -> AsyncIterator[FakeModel]:
    fake = FakeModel()
    server: Server
    async with serve(fake.serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings.OPENAI_REALTIME_URL = f"ws://127.0.0.1:{port}/v1/realtime"
        yield fake
        await journal.journal().close()
        journal._journals.clear()
