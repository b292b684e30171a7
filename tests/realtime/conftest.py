"""The model's end of a bridge, on a port of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import Server, serve

from realtime.journal import close_journal
from tests.realtime.lines import FakeModel


@pytest.fixture
async def model(settings: Any, tmp_path: Path) -> AsyncIterator[FakeModel]:
    # What a test leaves in its journal is not for the next one to bring in.
    settings.VAR_DIR = tmp_path
    fake = FakeModel()
    server: Server
    async with serve(fake.serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings.OPENAI_REALTIME_URL = f"ws://127.0.0.1:{port}/v1/realtime"
        yield fake
        await close_journal()
