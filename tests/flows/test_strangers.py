"""Whoever knocks at the stream's door without a call is told so, over a real socket."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from calls.signing import STREAM_PATH, sign
from tests.flows.calling import model_sessions
from tests.worlds import World

pytestmark = pytest.mark.timeout(120)
DEADLINE_S = 30


def _start(world: World, *, token: str) -> str:
    call_sid = "CA" + uuid.uuid4().hex
    start = {
        "streamSid": "MZ" + uuid.uuid4().hex,
        "accountSid": world.env["TWILIO_ACCOUNT_SID"],
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": token, "callSid": call_sid},
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "start": start})


async def _knock(world: World, message: str) -> int:
    """Open the stream as Twilio does and say this; the code with which we are shown out."""
    url = world.base_url.replace("http", "ws", 1) + STREAM_PATH
    signature = sign(url, {}, world.env["TWILIO_AUTH_TOKEN"])
    headers = {"X-Twilio-Signature": signature}
    async with asyncio.timeout(DEADLINE_S), connect(url, additional_headers=headers) as socket:
        await socket.send(message)
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


def test_a_stream_of_no_call_of_ours_is_closed_with_the_code_that_says_so(world: World) -> None:
    """[C3, C4] 1008 reaches the peer, and no model is asked."""
    before = len(model_sessions(world))

    code = asyncio.run(_knock(world, _start(world, token="f" * 64)))

    assert code == 1008
    assert len(model_sessions(world)) == before


def test_a_stream_without_a_beginning_is_closed_with_the_code_that_says_so(world: World) -> None:
    """[C2]"""
    assert asyncio.run(_knock(world, '{"event":"media"}')) == 1008


def test_a_handshake_without_a_signature_gets_no_socket(world: World) -> None:
    """[B1]"""

    async def knock() -> int:
        url = world.base_url.replace("http", "ws", 1) + STREAM_PATH
        try:
            async with asyncio.timeout(DEADLINE_S), connect(url):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    assert asyncio.run(knock()) == 403
