"""The sandbox speaks the Realtime API as the vendor's own package describes it.

Every event of whole conversations, in both directions, is read with the typed models of the
`openai` package: a field that is missing, misnamed or of another type fails here.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from openai.types import Model as OpenAIModel
from openai.types.realtime import (
    ClientSecretCreateResponse,
    RealtimeClientEvent,
    RealtimeServerEvent,
    RealtimeSessionCreateRequest,
    RealtimeSessionCreateResponse,
)
from pydantic import BaseModel, TypeAdapter

from sandbox.openai.audio import PCMU
from sandbox.openai.state import DEFAULT_KEY
from tests.sandbox.openai.talk import END_CALL, Event, Model, Talk, model_server

SERVER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
CLIENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)


@pytest_asyncio.fixture
async def model() -> AsyncIterator[Model]:
    """A model at the usual pace."""
    async with model_server() as running:
        yield running


class Checked(Talk):
    """A client that holds every event it sends or hears against the vendor's types."""

    async def send(self, type: str, **members: Any) -> None:
        event = {"type": type, **members}
        strict(CLIENT.validate_python(event, strict=True), event)
        await super().send(type, **members)

    async def hear(self) -> Event:
        event = await super().hear()
        strict(SERVER.validate_python(event, strict=True), event)
        return event


def strict(parsed: object, event: Event) -> None:
    """Raise AssertionError if the type of an event does not know one of its members."""
    kind = str(event["type"])
    assert isinstance(parsed, BaseModel)
    assert getattr(parsed, "type", None) == kind
    strange = extras(parsed)
    assert not strange, f"{kind} holds {sorted(strange)}, which the vendor's types do not know"


def extras(value: object, path: str = "") -> set[str]:
    """The paths of all members that a parsed model accepted without knowing them."""
    found: set[str] = set()
    if isinstance(value, BaseModel):
        if path == "session":  # typed as what a client sends; a test of its own looks at it
            return found
        found |= {f"{path}.{name}".strip(".") for name in (value.model_extra or {})}
        for name in type(value).model_fields:
            found |= extras(getattr(value, name), f"{path}.{name}".strip("."))
    elif isinstance(value, list):
        for one in value:
            found |= extras(one, path)
    return found


async def _whole_conversation(talk: Checked) -> None:
    """Greeting, two turns, an interruption, a cut item, tools, and the goodbye."""
    await talk.until("session.created")
    await talk.update(
        instructions="Be brief.",
        tools=[END_CALL],
        tool_choice="auto",
        output_modalities=["audio"],
        max_output_tokens=1200,
        reasoning={"effort": "low"},
        truncation={"type": "retention_ratio", "retention_ratio": 0.8},
        include=["item.input_audio_transcription.logprobs"],
        audio={
            "input": {
                "format": {"type": PCMU},
                "noise_reduction": {"type": "near_field"},
                "transcription": {"model": "gpt-transcribe", "language": "en"},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "idle_timeout_ms": 10000,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": PCMU}, "voice": "marin", "speed": 1.0},
        },
    )
    await talk.send("response.create", event_id="greet", response={"metadata": {"kind": "opening"}})
    greeting = (await talk.until("response.done"))["response"]["output"][0]
    await talk.say("person.explain")
    await talk.until("response.output_audio.delta")
    await talk.say("person.wait")
    await talk.until("response.done")
    await talk.until("response.done")
    await talk.send(
        "conversation.item.truncate", item_id=greeting["id"], content_index=0, audio_end_ms=500
    )
    await talk.until("conversation.item.truncated")
    await talk.send("conversation.item.retrieve", item_id=greeting["id"])
    await talk.until("conversation.item.retrieved")
    await talk.send("conversation.item.delete", item_id=greeting["id"])
    await talk.until("conversation.item.deleted")
    await talk.say("person.thanks_goodbye")
    call = (await talk.until("response.done"))["response"]["output"][1]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
    await talk.send("conversation.item.create", item=output)
    await talk.until("conversation.item.done")
    await talk.until("rate_limits.updated")


async def test_every_event_of_a_call_is_of_the_vendors_types(model: Model) -> None:
    async with model.connected() as plain:
        talk = Checked(plain.socket)

        await _whole_conversation(talk)

    kinds = {e["type"] for e in talk.events}
    assert kinds >= {
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.truncated",
        "conversation.item.retrieved",
        "conversation.item.deleted",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.done",
        "rate_limits.updated",
    }


async def test_events_outside_a_plain_call_are_of_the_vendors_types_too(model: Model) -> None:
    """Text, commits by hand, failures, refusals, and a transcription that went wrong."""
    model.state.add_fault("openai.transcription", "failed")
    async with model.connected() as plain:
        talk = Checked(plain.socket)
        await talk.until("session.created")
        await talk.update(
            audio={
                "input": {
                    "format": {"type": PCMU},
                    "transcription": {"model": "gpt-4o-transcribe"},
                    "turn_detection": None,
                }
            }
        )
        await talk.append(bytes([0xFF]) * 1600)
        await talk.send("input_audio_buffer.clear")
        await talk.until("input_audio_buffer.cleared")
        await talk.append(bytes([0xFF]) * 1600)
        await talk.send("input_audio_buffer.commit")
        await talk.until("conversation.item.input_audio_transcription.failed")
        for what in ("failed:rate_limit_exceeded", "incomplete:content_filter"):
            model.state.add_fault("openai.response", what)
            await talk.send("response.create")
            await talk.until("response.done")
        await talk.send("response.create", response={"output_modalities": ["text"]})
        await talk.until("response.done")
        await talk.send("response.create")
        await talk.send("response.create")
        await talk.error()
        await talk.send("response.cancel")
        await talk.until("response.done")

    assert "response.output_text.delta" in {e["type"] for e in talk.events}


async def test_less_usual_items_are_of_the_vendors_types_too(model: Model) -> None:
    """Several items in a response, cut at every place; items that a client wrote, fetched again."""
    call = {"name": "end_call", "arguments": {"reason": "done"}}
    await model.script(
        {"items": [{"say": "One moment."}, {"tool": call}, {"say": "Done."}]},
        {"say": "This one fails in the middle.", "fail": {"after_ms": 200}},
        {"say": "This one is cut by its limit."},
    )
    message = {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "Listen:"},
            {"type": "input_audio", "audio": "AAAA"},
        ],
    }
    async with model.connected() as plain:
        talk = Checked(plain.socket)
        await talk.until("session.created")
        await talk.update(
            audio={
                "input": {
                    "turn_detection": {"type": "semantic_vad", "eagerness": "high"},
                    "transcription": {"model": "gpt-realtime-whisper", "delay": "low"},
                },
                "output": {"voice": {"id": "voice_1"}},
            },
            tracing="auto",
            parallel_tool_calls=False,
        )
        await talk.send("conversation.item.create", item=message, previous_item_id="root")
        item_id = (await talk.until("conversation.item.done"))["item"]["id"]
        await talk.send("response.create")
        items = (await talk.until("response.done"))["response"]["output"]
        for one in (item_id, items[1]["id"]):
            await talk.send("conversation.item.retrieve", item_id=one)
            await talk.until("conversation.item.retrieved")
        for limit in ("inf", 3):
            await talk.send("response.create", response={"max_output_tokens": limit})
            await talk.until("response.done")
        await talk.send("response.create", response={"conversation": "none", "input": []})
        await talk.until("response.done")

    statuses = [e["response"]["status"] for e in talk.of("response.done")]
    assert statuses == ["completed", "failed", "incomplete", "completed"]


@pytest.mark.parametrize(
    ("query", "key"),
    [("?model=gpt-realtime-2.1", "sk-wrong"), ("", DEFAULT_KEY), ("?model=gpt-9", DEFAULT_KEY)],
)
async def test_refusal_of_a_session_is_of_the_vendors_types(
    model: Model, query: str, key: str
) -> None:
    async with model.connected(query, key) as plain:
        talk = Checked(plain.socket)

        await talk.closed()

    assert [e["type"] for e in talk.events] == ["error"]


async def test_end_of_a_sessions_time_is_of_the_vendors_types(model: Model) -> None:
    async with model.connected() as plain:
        talk = Checked(plain.socket)
        await talk.until("session.created")
        await model.control("POST", "sessions/last/do", {"do": "expire"})

        await talk.closed()

    assert talk.events[-1]["error"]["code"] == "session_expired"


async def test_silence_that_times_out_is_of_the_vendors_types() -> None:
    async with model_server(speed=40.0) as fast, fast.connected() as plain:
        talk = Checked(plain.socket)
        await talk.until("session.created")
        await talk.phone(idle_timeout_ms=5000)
        await talk.send("response.create")

        await talk.until("input_audio_buffer.timeout_triggered")
        await talk.until("response.done")


async def test_session_is_what_both_of_the_vendors_types_say(model: Model) -> None:
    """Sent as the request's type on the socket, and with the response's `id` and `object`."""
    async with model.talking() as talk:
        created = talk.events[0]["session"]
        updated = await talk.update(tools=[END_CALL])

    for session in (created, updated):
        RealtimeSessionCreateRequest.model_validate(session)
        parsed = RealtimeSessionCreateResponse.model_validate(session)
        assert extras(parsed) == set()


async def test_models_and_client_secrets_are_of_the_vendors_types(model: Model) -> None:
    headers = {"Authorization": f"Bearer {DEFAULT_KEY}"}
    secrets = f"{model.url}/v1/realtime/client_secrets"

    async with model.http.get(f"{model.url}/v1/models", headers=headers) as response:
        listed = await response.json()
    async with model.http.post(secrets, json={}, headers=headers) as response:
        secret = await response.json()

    assert [extras(OpenAIModel.model_validate(m)) for m in listed["data"]] == [set()] * 16
    assert ClientSecretCreateResponse.model_validate(secret).value.startswith("ek_")


async def test_vendors_package_is_needed_for_its_types_alone(model: Model) -> None:
    """Its own client wants an older `websockets`; ours talks to the same server without it.

    The `realtime` extra of `openai` forbids the version installed here, so that
    `AsyncOpenAI().realtime.connect()` is no part of this project, in tests or elsewhere.
    """
    wanted = [
        r
        for r in importlib.metadata.requires("openai") or []
        if r.startswith("websockets") and "realtime" in r
    ]

    async with model.talking() as talk:
        await talk.send("response.create")
        done = await talk.until("response.done")

    assert wanted
    assert "<16" in wanted[0].replace(" ", "")
    assert int(importlib.metadata.version("websockets").split(".")[0]) >= 17
    assert done["response"]["status"] == "completed"
    assert "openai.resources.realtime.realtime" not in _imported_by("sandbox")


def _imported_by(package: str) -> set[str]:
    """Modules of the vendor's package that the sandbox's own modules hold."""
    modules = [m for name, m in sys.modules.items() if name.startswith(f"{package}.")]
    names = {getattr(v, "__name__", "") for m in modules for v in vars(m).values()}
    return {n for n in names if n.startswith("openai")}


def test_a_misspelt_field_would_be_noticed() -> None:
    """The check itself can fail."""
    event = json.loads(
        '{"type":"input_audio_buffer.speech_started","event_id":"e","audio_start_ms":0,'
        '"item_id":"i","item":"oops"}'
    )

    with pytest.raises(AssertionError, match="item"):
        strict(SERVER.validate_python(event), event)
