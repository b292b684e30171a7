"""Both ends of a bridge: a model that answers over a real socket, and Twilio's stream."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from typing import Any

import orjson
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from websockets.asyncio.server import ServerConnection

from calls.core.lifecycle import Status
from calls.models import Call
from calls.services import streams
from calls.signing import STREAM_PATH, sign, stream_url
from realtime import consumers
from tests.realtime.rows import a_call

FRAME = base64.b64encode(b"\xff" * 160).decode()


class FakeModel:
    """The model's end: accepts every configuration and says nothing by itself."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.received: list[dict[str, Any]] = []
        self.lost = asyncio.Event()

    async def serve(self, socket: ServerConnection) -> None:
        self.connections.append(socket)
        await socket.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))
        async for text in socket:
            event = orjson.loads(text)
            self.received.append(event)
            if event["type"] == "session.update":
                await socket.send(json.dumps({"type": "session.updated", **_echo(event)}))
        self.lost.set()


def _echo(event: dict[str, Any]) -> dict[str, Any]:
    return {"session": {"id": "sess_1", **event["session"]}}


class Phone:
    """Twilio's end of one stream, straight at the ASGI application."""

    def __init__(self, *, signature: str | None = None) -> None:
        good = sign(stream_url(), {}, settings.TWILIO_AUTH_TOKEN)
        value = good if signature is None else signature
        scope = {
            "type": "websocket",
            "path": STREAM_PATH,
            "raw_path": STREAM_PATH.encode(),
            "query_string": b"",
            "headers": [(b"x-twilio-signature", value.encode())],
            "subprotocols": [],
        }
        app = consumers.MediaStreamConsumer.as_asgi()
        self._socket = ApplicationCommunicator(app, scope)
        self.said: list[dict[str, Any]] = []

    async def connect(self) -> dict[str, Any]:
        await self._socket.send_input({"type": "websocket.connect"})
        return await self.next()

    async def send(self, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        await self._socket.send_input({"type": "websocket.receive", "text": text})

    async def next(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._socket.receive_output(timeout=10)
        return found

    async def closed(self) -> int:
        """The code with which we are shown out."""
        while (event := await self.next())["type"] == "websocket.send":
            self.said.append(json.loads(event["text"]))
        assert event["type"] == "websocket.close", event
        code: int = event.get("code", 1000)
        return code

    async def hang_up(self) -> None:
        await self._socket.send_input({"type": "websocket.disconnect", "code": 1006})
        await self._socket.wait(timeout=10)

    async def start(self, call: Call, token: str, **changes: Any) -> None:
        await self.send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        fields = {
            "streamSid": "MZ" + uuid.uuid4().hex,
            "accountSid": settings.TWILIO_ACCOUNT_SID,
            "callSid": call.twilio_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": token, "callSid": call.twilio_sid},
            **changes,
        }
        await self.send({"event": "start", "sequenceNumber": "1", "start": fields})

    async def speak(self, count: int) -> None:
        for chunk in range(1, count + 1):
            media = {"track": "inbound", "chunk": str(chunk), "timestamp": str(chunk * 20)}
            await self.send({"event": "media", "media": {**media, "payload": FRAME}})


async def offered() -> tuple[Call, str]:
    call = await sync_to_async(a_call)(status=Status.IN_PROGRESS)
    token = await sync_to_async(streams.offer)(call)
    assert token is not None
    return call, token


async def reload(call: Call) -> Call:
    await sync_to_async(call.refresh_from_db)()
    return call


async def until(condition: Any, what: str) -> None:
    """Wait until something has happened in the other task."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (the other side has no event to wait for)
            await asyncio.sleep(0.01)


async def talking(model: FakeModel) -> tuple[Call, Phone]:
    """A call whose model is configured."""
    call, token = await offered()
    phone, before = Phone(), len(model.received)
    await phone.connect()
    await phone.start(call, token)
    await until(lambda: len(model.received) > before, "the model is asked")
    return call, phone


def appended_ms(model: FakeModel) -> int:
    appended = [e["audio"] for e in model.received if e["type"] == "input_audio_buffer.append"]
    return sum(len(base64.b64decode(audio)) for audio in appended) // 8
