"""The connection to the model: what a peer that misbehaves may cost us."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve

from realtime import model_client
from realtime.model_client import ModelConnection, ModelUnavailable

MEGABYTE = "x" * 1_000_000


class DeafPeer:
    """Accepts a connection and reads nothing of it, until it is told to."""

    def __init__(self) -> None:
        self.may_read = asyncio.Event()
        self.saw_the_end = asyncio.Event()

    async def serve(self, socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await self.may_read.wait()
        socket.transport.resume_reading()
        await socket.wait_closed()
        self.saw_the_end.set()


@pytest.fixture
def no_keepalive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, nothing but our own deadlines ends a wait."""

    def patient(*args: Any, **options: Any) -> Any:
        return connect(*args, **{**options, "ping_interval": None})

    monkeypatch.setattr(model_client, "connect", patient)


async def test_a_model_that_reads_nothing_is_let_go_all_the_same(
    settings: Any, monkeypatch: pytest.MonkeyPatch, no_keepalive: None
) -> None:
    """Nothing is waited for without an end: neither to send, nor to say goodbye."""
    monkeypatch.setattr(model_client, "SEND_TIMEOUT_S", 0.1)
    monkeypatch.setattr(model_client, "CLOSE_TIMEOUT_S", 0.1)
    peer = DeafPeer()
    server: Server
    async with serve(peer.serve, "127.0.0.1", 0, max_size=None) as server, asyncio.timeout(30):
        port = next(iter(server.sockets)).getsockname()[1]
        settings.OPENAI_REALTIME_URL = f"ws://127.0.0.1:{port}/v1/realtime"

        with pytest.raises(ModelUnavailable, match="stopped reading"):
            await _send_too_much()

        peer.may_read.set()
        await peer.saw_the_end.wait()


async def _send_too_much() -> None:
    async with ModelConnection("gpt-realtime-2.1") as model:
        for _ in range(50):
            model.send_event(MEGABYTE)
        await model.run_sender()


async def test_audio_that_cannot_be_sent_makes_room_for_newer_and_events_never_do() -> None:
    model = ModelConnection("gpt-realtime-2.1")
    model.send_event("first")
    for number in range(model_client.MAX_WAITING_AUDIO + 3):
        model.send_audio(f"audio {number}")
    model.send_event("last")

    waiting = [text for _, text in model._queue]

    assert model.dropped_audio == 3
    assert waiting[:2] == ["first", "audio 3"]
    assert waiting[-2:] == [f"audio {model_client.MAX_WAITING_AUDIO + 2}", "last"]


async def test_a_queue_of_events_has_an_end() -> None:
    model = ModelConnection("gpt-realtime-2.1")
    for _ in range(model_client.MAX_WAITING_EVENTS):
        model.send_event("event")

    with pytest.raises(ModelUnavailable, match="stopped reading"):
        model.send_event("one more")
