"""A plain bridge: FastAPI, uvicorn and websockets, audio passed through; nothing else.

Written for the bench in the manner of the well-known sample for these two services: one task per
direction, the standard library's JSON, a mark after each delta, `clear` and truncation by the
stream's clock when the person starts to speak. It checks nothing and keeps nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from typing import Any

import websockets
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection

URL = os.environ["BENCH_REALTIME_URL"]
app = FastAPI()


class State:
    """What both directions know of the call."""

    def __init__(self) -> None:
        self.stream_sid = ""
        self.latest_ms = 0
        self.item_id = ""
        self.began_ms: int | None = None
        self.marks: list[str] = []


@app.websocket("/media-stream/{name}")
async def media_stream(phone: WebSocket, name: str) -> None:
    """One call."""
    await phone.accept()
    state = State()
    headers = {"Authorization": "Bearer bench"}
    async with websockets.connect(f"{URL}?model=gpt-realtime-2.1", additional_headers=headers) as m:
        await _configure(m, name)
        up = asyncio.create_task(_listen_to_phone(phone, m, state))
        down = asyncio.create_task(_listen_to_model(phone, m, state))
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)


async def _configure(model: ClientConnection, name: str) -> None:
    session = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
            "output": {"format": {"type": "audio/pcmu"}, "voice": "alloy"},
        },
        "instructions": f"You are talking on {name}.",
    }
    await model.send(json.dumps({"type": "session.update", "session": session}))
    content = [{"type": "input_text", "text": "Greet the person."}]
    item = {"type": "message", "role": "user", "content": content}
    await model.send(json.dumps({"type": "conversation.item.create", "item": item}))
    await model.send(json.dumps({"type": "response.create"}))


async def _listen_to_phone(phone: WebSocket, model: ClientConnection, state: State) -> None:
    with contextlib.suppress(WebSocketDisconnect, websockets.ConnectionClosed):
        async for text in phone.iter_text():
            data = json.loads(text)
            if data["event"] == "media":
                state.latest_ms = int(data["media"]["timestamp"])
                append = {"type": "input_audio_buffer.append", "audio": data["media"]["payload"]}
                await model.send(json.dumps(append))
            elif data["event"] == "start":
                state.stream_sid = data["start"]["streamSid"]
            elif data["event"] == "mark" and state.marks:
                state.marks.pop(0)


async def _listen_to_model(phone: WebSocket, model: ClientConnection, state: State) -> None:
    with contextlib.suppress(WebSocketDisconnect, websockets.ConnectionClosed, RuntimeError):
        async for text in model:
            event = json.loads(text)
            if event["type"] == "response.output_audio.delta" and "delta" in event:
                await _play(phone, state, event)
            elif event["type"] == "input_audio_buffer.speech_started":
                await _stop(phone, model, state)


async def _play(phone: WebSocket, state: State, event: dict[str, Any]) -> None:
    payload = base64.b64encode(base64.b64decode(event["delta"])).decode("utf-8")
    media = {"event": "media", "streamSid": state.stream_sid, "media": {"payload": payload}}
    await phone.send_json(media)
    if event["item_id"] != state.item_id:
        state.began_ms = state.latest_ms
        state.item_id = event["item_id"]
    mark = {"event": "mark", "streamSid": state.stream_sid, "mark": {"name": "responsePart"}}
    await phone.send_json(mark)
    state.marks.append("responsePart")


async def _stop(phone: WebSocket, model: ClientConnection, state: State) -> None:
    if not state.marks or state.began_ms is None:
        return
    if state.item_id:
        truncate = {
            "type": "conversation.item.truncate",
            "item_id": state.item_id,
            "content_index": 0,
            "audio_end_ms": state.latest_ms - state.began_ms,
        }
        await model.send(json.dumps(truncate))
    await phone.send_json({"event": "clear", "streamSid": state.stream_sid})
    state.marks.clear()
    state.item_id, state.began_ms = "", None
