"""A Realtime model: accepts sessions, converses by the script, writes down what arrived when.

It does not listen: who speaks when stands in the script. Everything else is as the real one does
it: events in their order, audio in bursts faster than real time, interruptions, usage.

Source: OpenAI, Realtime API reference, "Client events", "Server events".
"""

from __future__ import annotations

import asyncio
import binascii
import re
import sys
from pathlib import Path
from typing import Any

import orjson
import picows

from bench import records, script
from bench.frames import message_in
from bench.orders import now, orders, run, say

_TEXT = picows.WSMsgType.TEXT
_NAME = re.compile(r"call-\d{4}")
_WORDS = "There is quite a lot to say about this and it is said one piece after the other."
_USAGE = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "image_tokens": 0,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}


class Talk(picows.WSListener):
    """One session."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._transport: picows.WSTransport | None = None
        self._session = _default_session()
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._listener: script.Listener | None = None
        self._count = 0
        self._is_responding = False
        self.call = records.ModelCall("", "")

    # -- the socket ------------------------------------------------------------------------------
    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """A bridge has connected."""
        self._transport = transport
        self._say("session.created", session=self._session)
        self._task = asyncio.get_running_loop().create_task(self._converse())

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """The bridge is gone."""
        if self._task is not None:
            self._task.cancel()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """The bridge says something."""
        at = now()
        event = message_in(transport, frame)
        if event is None:
            return
        if event["type"] == "input_audio_buffer.append":
            self._hear(event["audio"], at)
        else:
            self._told(event)

    # -- what the bridge says --------------------------------------------------------------------
    def _hear(self, audio: str, at: float) -> None:
        if self._listener is None:
            self.call.faults.append("audio before the session was configured")
            return
        self._listener.hear(binascii.a2b_base64(audio))
        self.call.appended_at.append(at)
        self.call.appended_bytes.append(self._listener.position)

    def _told(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "session.update":
                self._configure(event["session"])
            case "response.create":
                if self._asked.is_set():
                    self._refuse("conversation_already_has_active_response", event)
                self._asked.set()
            case "response.cancel":
                if not self._is_responding:
                    self._refuse("response_cancel_not_active", event)
            case "conversation.item.truncate":
                self._truncate(event)
            case "conversation.item.create":
                item = {"id": self._new_id("item"), **event["item"]}
                self._say("conversation.item.added", previous_item_id=None, item=item)
                self._say("conversation.item.done", previous_item_id=None, item=item)
            case other:
                self.call.faults.append(f"unexpected {other}")

    def _configure(self, session: dict[str, Any]) -> None:
        _merge(self._session, session)
        self._say("session.updated", session=self._session)
        named = _NAME.search(self._session["instructions"])
        if named is None or self._listener is not None:
            return
        self.call.name = named[0]
        self.call.audio_format = self._session["audio"]["input"]["format"]["type"]
        self._listener = script.Listener(self.call.audio_format, quiet_ms=100)
        self._model.talks[self.call.name] = self

    def _truncate(self, event: dict[str, Any]) -> None:
        reply = self.call.replies[-1] if self.call.replies else None
        longest = max((r.ends_ms[-1] for r in self.call.replies if r.ends_ms), default=0)
        if reply is None or event["audio_end_ms"] > longest:
            self.call.faults.append("truncated beyond what was generated")
        fields = ("item_id", "content_index", "audio_end_ms")
        self._say("conversation.item.truncated", **{name: event[name] for name in fields})

    def _refuse(self, code: str, event: dict[str, Any]) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": code, "param": None}
        self._say("error", error={**error, "event_id": event.get("event_id")})

    # -- the conversation ------------------------------------------------------------------------
    async def _converse(self) -> None:
        await self._asked.wait()
        await self._respond(script.OPENING)
        heard_s = script.OPENING.reply_ms / 1000
        await asyncio.sleep(heard_s + script.PAUSE_MS / 1000)
        number = int(self.call.name.removeprefix("call-") or 0)
        for turn in script.turns(number):
            await self._person_speaks(turn)
            began = now()
            await self._respond(turn)
            lasts_ms = turn.cut_after_ms or turn.reply_ms + script.PAUSE_MS
            await self._until(began + lasts_ms / 1000)

    async def _person_speaks(self, turn: script.Turn) -> None:
        item_id = self._new_id("item")
        at_ms = self._heard_ms()
        reply = self.call.replies[-1]
        self._say("input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=item_id)
        if reply.cut_at is not None:
            reply.cut_at = now()
        if self._is_responding:
            self._end_response("cancelled")
        await asyncio.sleep(turn.speech_ms / 1000)
        end_ms = at_ms + turn.speech_ms
        self._say("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item_id)
        self._say("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        content = [{"type": "input_audio", "transcript": None}]
        item = _item(item_id, "user", "completed", content)
        self._say("conversation.item.added", previous_item_id=None, item=item)
        self._say("conversation.item.done", previous_item_id=None, item=item)
        self._say(
            "conversation.item.input_audio_transcription.completed",
            item_id=item_id,
            content_index=0,
            transcript="That is what I wanted to know.",
            usage={"type": "duration", "seconds": turn.speech_ms / 1000},
        )

    async def _respond(self, turn: script.Turn) -> None:
        reply = records.Reply(turn.reply_ms)
        if turn.cut_after_ms is not None:
            reply.cut_at = float("inf")  # until it happens
        self.call.replies.append(reply)
        ids = self._begin_response()
        began = now()
        for i, delta in enumerate(script.deltas(turn.reply_ms, self._out_format)):
            due_ms = delta.due_ms
            if turn.cut_after_ms is not None and due_ms >= turn.cut_after_ms:
                return  # whoever barges in ends it
            await self._until(began + due_ms / 1000)
            words = _WORDS[i * 4 % len(_WORDS) :][:8]
            self._say("response.output_audio_transcript.delta", **ids, delta=words)
            reply.sent_at.append(now())
            self._say("response.output_audio.delta", **ids, delta=delta.audio)
            reply.ends_ms.append(delta.end_ms)
        reply.is_whole = True
        self._end_response("completed")

    def _begin_response(self) -> dict[str, Any]:
        self._is_responding = True
        self._response_id, self._item_id = self._new_id("resp"), self._new_id("item")
        ids = {"response_id": self._response_id, "item_id": self._item_id}
        item = _item(self._item_id, "assistant", "in_progress", [])
        self._say("response.created", response=self._response("in_progress", None))
        self._say(
            "response.output_item.added",
            response_id=self._response_id,
            output_index=0,
            item=item,
        )
        self._say("conversation.item.added", previous_item_id=None, item=item)
        places = {**ids, "output_index": 0, "content_index": 0}
        part = {"type": "audio", "transcript": ""}
        self._say("response.content_part.added", **places, part=part)
        return places

    def _end_response(self, status: str) -> None:
        self._is_responding = False
        places = {
            "response_id": self._response_id,
            "item_id": self._item_id,
            "output_index": 0,
            "content_index": 0,
        }
        state = "completed" if status == "completed" else "incomplete"
        content = [{"type": "output_audio", "transcript": _WORDS}]
        item = _item(self._item_id, "assistant", state, content)
        self._say("response.output_audio.done", **places)
        self._say("response.output_audio_transcript.done", **places, transcript=_WORDS)
        part = {"type": "audio", "transcript": _WORDS}
        self._say("response.content_part.done", **places, part=part)
        self._say("conversation.item.done", previous_item_id=None, item=item)
        self._say(
            "response.output_item.done",
            response_id=self._response_id,
            output_index=0,
            item=item,
        )
        reason = {"type": "cancelled", "reason": "turn_detected"}
        details = None if status == "completed" else reason
        self._say("response.done", response=self._response(status, details, [item]))

    def _response(
        self, status: str, details: dict[str, Any] | None, output: list[Any] | None = None
    ) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self._response_id,
            "conversation_id": "conv_bench",
            "status": status,
            "status_details": details,
            "output": output or [],
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "metadata": None,
            "usage": None if status == "in_progress" else _USAGE,
        }

    # -- small things ----------------------------------------------------------------------------
    def _heard_ms(self) -> int:
        if self._listener is None:
            return 0
        return self._listener.position // script.BYTES_PER_MS[self.call.audio_format]

    @property
    def _out_format(self) -> str:
        found: str = self._session["audio"]["output"]["format"]["type"]
        return found

    async def _until(self, due: float) -> None:
        wait = due - now()
        if wait > 0:
            await asyncio.sleep(wait)
            self._model.lateness.samples.append(now() - due)

    def _new_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{id(self):x}{self._count:08d}"

    def _say(self, kind: str, **fields: Any) -> None:
        if self._transport is not None:
            self._count += 1
            event = {"type": kind, "event_id": f"event_{self._count}", **fields}
            self._transport.send(_TEXT, orjson.dumps(event))


class Model:
    """All sessions."""

    def __init__(self) -> None:
        self.talks: dict[str, Talk] = {}
        self.lateness = records.Lateness()

    def finish(self) -> list[records.ModelCall]:
        """What was written down."""
        for talk in self.talks.values():
            if talk._listener is not None:
                talk.call.pulses = talk._listener.onsets
            for reply in talk.call.replies:
                if reply.cut_at == float("inf"):
                    reply.cut_at = None  # the call ended before
        return [talk.call for talk in self.talks.values()]


def _default_session() -> dict[str, Any]:
    form = {"type": script.PCM, "rate": 24_000}
    return {
        "object": "realtime.session",
        "type": "realtime",
        "id": "sess_bench",
        "model": "gpt-realtime-2.1",
        "output_modalities": ["audio"],
        "instructions": "",
        "audio": {
            "input": {"format": form, "transcription": None, "turn_detection": None},
            "output": {"format": dict(form), "voice": "marin", "speed": 1.0},
        },
        "tools": [],
        "tool_choice": "auto",
    }


def _merge(into: dict[str, Any], what: dict[str, Any]) -> None:
    for name, value in what.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict) and name != "format":
            _merge(into[name], value)
        elif value is not None:
            into[name] = value


def _item(item_id: str, role: str, status: str, content: list[Any]) -> dict[str, Any]:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }


async def main(orders_fd: int, out: Path) -> None:
    """Serve until told to stop, then write the records."""
    model = Model()
    server = await picows.ws_create_server(
        lambda _: Talk(model), "127.0.0.1", 0, logger_name="model", max_frame_size=1 << 24
    )
    say(f"listening on {server.sockets[0].getsockname()[1]}")
    async for order in orders(orders_fd):
        if order == "forget":
            model.talks.clear()
            model.lateness.samples.clear()
            say("forgotten")
        elif order == "write":
            break
    records.write(out, model.finish(), model.lateness)
    say("written")


if __name__ == "__main__":
    run(main(int(sys.argv[1]), Path(sys.argv[2])))
