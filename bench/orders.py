"""How the bench talks to its load clients: orders through a pipe, words on their output."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import uvloop


def say(word: str) -> None:
    """Tell the bench something."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


async def orders(fd: int) -> AsyncIterator[str]:
    """What the bench says, line by line, until it goes away."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    with os.fdopen(fd, "rb", 0) as pipe:
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        while line := await reader.readline():
            yield line.decode().strip()


def run(main: Any) -> None:
    """Run a load client on the fastest loop there is."""
    uvloop.run(main)


# All processes of one machine share this clock.
now = time.monotonic
