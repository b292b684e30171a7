"""Both halves of the sandbox talk to each other through the simplest of bridges."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sandbox.state import Options
from tests.sandbox.twilio.conftest import Phones
from tests.sandbox.twilio.office import Office, Talk

SESSION = {
    "type": "realtime",
    "instructions": "Confirm the appointment on Friday.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
        "output": {"format": {"type": "audio/pcmu"}},
    },
    "tools": [{"type": "function", "name": "end_call", "parameters": {"type": "object"}}],
}


@pytest.fixture
def options() -> Options:
    """As fast as life: two clocks that are accelerated would not be those of a demonstration."""
    return Options(cps=100.0)


class Bridge:
    """Passes mu-law on in both directions and hangs up when the model says so."""

    def __init__(self, phones: Phones) -> None:
        self._phones = phones
        self.said: list[str] = []

    async def converse(self, talk: Talk) -> None:
        """One conversation."""
        url = self._phones.world.state.openai_url + "/v1/realtime?model=gpt-realtime-2.1"
        key = self._phones.world.state.options.openai_key
        headers = {"Authorization": f"Bearer {key}"}
        async with self._phones.http.ws_connect(url, headers=headers) as model:
            await model.send_json({"type": "session.update", "session": SESSION})
            await model.send_json({"type": "response.create"})
            listening = asyncio.create_task(self._listen(talk, model))
            try:
                async for message in model:
                    if await self._pass_on(json.loads(message.data), talk):
                        break
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
        if not talk.is_closed:
            await talk.ws.close()

    async def _listen(self, talk: Talk, model: Any) -> None:
        sent: list[Any] = []
        while True:
            for frame in await talk.until(lambda t: t.of("media")[len(sent) :]):
                audio = frame["media"]["payload"]
                await model.send_json({"type": "input_audio_buffer.append", "audio": audio})
                sent.append(frame)

    async def _pass_on(self, event: dict[str, Any], talk: Talk) -> bool:
        match event:
            case {"type": "response.output_audio.delta", "delta": audio}:
                await talk.send("media", media={"payload": audio})
            case {"type": "response.output_audio.done", "item_id": item}:
                await talk.play(b"", item)
            case {"type": "input_audio_buffer.speech_started"}:
                await talk.send("clear")
            case {"type": "response.output_audio_transcript.done", "transcript": text}:
                self.said.append(text)
            case {"type": "conversation.item.input_audio_transcription.completed"}:
                self.said.append(event["transcript"])
            case {"type": "response.function_call_arguments.done", "name": "end_call"}:
                marks = len(talk.echoed)
                await talk.until(lambda t: len(t.echoed) > marks)
                return True
        return False


async def test_the_demonstration_is_short_and_ends_by_itself(
    phones: Phones, office: Office
) -> None:
    """Greeting, two turns, goodbye, in at most eleven seconds of the call."""
    bridge = Bridge(phones)
    office.answers["voice"] = office.stream()
    office.conversation = bridge.converse

    call = await phones.call(office)
    await phones.until_over(call.sid)
    ledger = await phones.ledger(call.sid, "answer")

    assert [s["clip"] for s in ledger["person_segments"]] == [
        "person.yes_friday",
        "person.thanks_goodbye",
    ]
    assert bridge.said[0] == "Hi, I am Ada, an AI assistant. Is Friday fine?"
    assert bridge.said[-1] == "Thank you, goodbye!"
    assert len(ledger["agent_segments"]) >= 3
    assert ledger["clears"] == [] or all(c["dropped_ms"] == 0 for c in ledger["clears"])
    assert ledger["clock"]["now_ms"] <= 12_000
