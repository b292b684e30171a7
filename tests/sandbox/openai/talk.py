"""A plain Realtime client for tests: it sends what it is told and keeps all that it hears."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from sandbox import clips
from sandbox.openai.audio import BYTES_PER_MS, MODEL_HZ, PCM, PCMU, PHONE_HZ, encode, to_rate
from sandbox.openai.server import control_routes, create_app
from sandbox.openai.state import DEFAULT_KEY, State

Event = dict[str, Any]
DEADLINE_S = 15.0
END_CALL: Event = {
    "type": "function",
    "name": "end_call",
    "description": "Hang up.",
    "parameters": {
        "type": "object",
        "properties": {"reason": {"type": "string"}},
        "required": ["reason"],
    },
}


def spoken(clip_id: str, format: str = PCMU) -> bytes:
    """A person's clip as the session would receive it."""
    clip = clips.load()[clip_id]
    sound = np.frombuffer(clip.pcm, dtype="<i2").astype(np.float32) / np.float32(32768)
    return encode(to_rate(sound, clip.rate_hz, _rate(format)), format)


def silence(ms: int, format: str = PCMU) -> bytes:
    """Quiet on the line."""
    return encode(np.zeros(_rate(format) * ms // 1000, dtype=np.float32), format)


def tone(ms: int, *, level: float = 0.1, format: str = PCMU) -> bytes:
    """A hum of a certain level (1.0 is full scale): loud enough to be taken for speech."""
    t = np.arange(_rate(format) * ms // 1000) / _rate(format)
    sound = (level * np.sin(2 * np.pi * 300 * t)).astype(np.float32)
    return encode(sound, format)


def _rate(format: str) -> int:
    return MODEL_HZ if format == PCM else PHONE_HZ


@dataclass
class Talk:
    """One open session, seen from the client."""

    socket: ClientConnection
    events: list[Event] = field(default_factory=list)
    format: str = PCM
    _next: int = 0

    async def send(self, type: str, **members: Any) -> None:
        """Send one event."""
        await self.socket.send(json.dumps({"type": type, **members}))

    async def append(self, audio: bytes, piece_ms: int = 20) -> None:
        """Send audio in pieces, as a telephone does."""
        size = piece_ms * BYTES_PER_MS[self.format]
        for start in range(0, len(audio), size):
            piece = base64.b64encode(audio[start : start + size]).decode()
            await self.send("input_audio_buffer.append", audio=piece)

    async def say(self, clip_id: str, quiet_ms: int = 800) -> None:
        """Speak a clip, then be silent for a while."""
        await self.append(spoken(clip_id, self.format) + silence(quiet_ms, self.format))

    async def hear(self) -> Event:
        """The next event."""
        async with asyncio.timeout(DEADLINE_S):
            event: Event = json.loads(await self.socket.recv())
        self.events.append(event)
        return event

    async def until(self, type: str) -> Event:
        """Read on to the next event of this type; others are kept in `events`."""
        while True:
            event = await self.hear()
            if event["type"] == type:
                return event
            if event["type"] == "error":
                raise AssertionError(f"waited for {type}, got {event['error']}")

    async def error(self) -> Event:
        """Read on to the next error; returns what it says."""
        while True:
            event = await self.hear()
            if event["type"] == "error":
                said: Event = event["error"]
                return said

    async def closed(self) -> tuple[int | None, str]:
        """Read on to the end of the socket; returns its close code and reason."""
        try:
            while True:
                await self.hear()
        except ConnectionClosed as exc:
            return (exc.rcvd.code, exc.rcvd.reason) if exc.rcvd else (None, "")

    async def update(self, **session: Any) -> Event:
        """Change the session; returns the whole of it."""
        await self.send("session.update", session={"type": "realtime", **session})
        updated: Event = (await self.until("session.updated"))["session"]
        self.format = updated["audio"]["input"]["format"]["type"]
        return updated

    async def phone(self, *, tools: bool = False, **detection: Any) -> Event:
        """Talk mu-law both ways, with `server_vad` of these settings."""
        audio: Event = {
            "input": {
                "format": {"type": PCMU},
                "turn_detection": {"type": "server_vad", **detection},
            },
            "output": {"format": {"type": PCMU}},
        }
        return await self.update(audio=audio, tools=[END_CALL] if tools else [])

    def new(self) -> list[Event]:
        """The events since the last time this was asked."""
        found = self.events[self._next :]
        self._next = len(self.events)
        return found

    def of(self, type: str) -> list[Event]:
        """Every event of a type, so far."""
        return [e for e in self.events if e["type"] == type]

    def audio(self, item_id: str) -> bytes:
        """All the sound of one item."""
        deltas = self.of("response.output_audio.delta")
        return b"".join(base64.b64decode(e["delta"]) for e in deltas if e["item_id"] == item_id)


@dataclass
class Model:
    """A running sandbox model and its control API."""

    state: State
    url: str
    http: aiohttp.ClientSession

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/v1/realtime"

    @asynccontextmanager
    async def connected(
        self,
        query: str = "?model=gpt-realtime-2.1",
        key: str = DEFAULT_KEY,
        headers: dict[str, str] | None = None,
    ) -> AsyncIterator[Talk]:
        """A socket just opened; nothing has been read from it."""
        authorised = {"Authorization": f"Bearer {key}", **(headers or {})}
        async with connect(
            self.ws_url + query, additional_headers=authorised, max_size=None, compression=None
        ) as socket:
            yield Talk(socket)

    @asynccontextmanager
    async def talking(self) -> AsyncIterator[Talk]:
        """A session that has introduced itself."""
        async with self.connected() as talk:
            await talk.until("session.created")
            yield talk

    async def control(self, method: str, path: str, body: object = None) -> tuple[int, Event]:
        """Ask the control API; returns the status and the answer."""
        url = f"{self.url}/sandbox/openai/{path}"
        async with self.http.request(method, url, json=body) as response:
            return response.status, await response.json()

    async def script(self, *responses: Event, **more: Any) -> None:
        """Queue what the model shall answer."""
        status, answer = await self.control(
            "POST", "script", {"responses": list(responses), **more}
        )
        assert status == 200, answer

    async def record(self, session: str = "last") -> Event:
        """The ledger of a session."""
        status, record = await self.control("GET", f"sessions/{session}")
        assert status == 200, record
        return record

    async def finished(self, session_id: str) -> Event:
        """The ledger of a session, once its socket is gone."""
        async with asyncio.timeout(DEADLINE_S):
            while (record := await self.record(session_id))["open"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return record


@asynccontextmanager
async def model_server(speed: float = 1.0) -> AsyncIterator[Model]:
    """A model that listens on a free port; its control API listens there too."""
    state = State(speed=speed)
    app = create_app(state)
    app.add_routes(control_routes(state))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as http:
            yield Model(state, f"http://{host}:{port}", http)
    finally:
        await runner.cleanup()
