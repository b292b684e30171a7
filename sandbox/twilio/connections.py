"""Break the connection of an HTTP request."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import web


def cut(request: web.Request) -> None:
    """Cut it so that the client sees a reset; the answer that follows goes nowhere."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def until_gone(request: web.Request) -> None:
    """Say nothing until the client has lost its patience."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
