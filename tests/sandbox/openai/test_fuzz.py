"""Whatever a client sends, the session answers with events or errors, and never falls over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.openai.behaviour import Behaviour
from sandbox.openai.client_events import EVENTS
from sandbox.openai.effects import Send
from sandbox.openai.session import Session
from sandbox.openai.state import State
from tests.sandbox.openai.talk import END_CALL

WHOLE: list[Any] = [
    {
        "type": "session.update",
        "event_id": "e",
        "session": {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": "x",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "noise_reduction": {"type": "near_field", "strength": 0.5},
                    "transcription": {"model": "gpt-transcribe", "keywords": ["x"]},
                    "turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000},
                },
                "output": {"format": {"type": "audio/pcmu"}, "voice": "ash", "speed": 1.1},
            },
            "tools": [END_CALL],
            "tool_choice": {"type": "function", "name": "end_call"},
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
            "tracing": "auto",
            "prompt": {"id": "p"},
            "include": ["item.input_audio_transcription.logprobs"],
            "max_output_tokens": 100,
            "reasoning": {"effort": "low"},
        },
    },
    {"type": "input_audio_buffer.append", "audio": "AAAA" * 400},
    {"type": "input_audio_buffer.commit"},
    {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {
            "id": "i",
            "type": "message",
            "role": "user",
            "content": [{"type": "input_audio", "audio": "AAAA", "transcript": "x"}],
        },
    },
    {
        "type": "response.create",
        "response": {
            "instructions": "x",
            "audio": {"output": {"format": {"type": "audio/pcma"}, "voice": {"id": "v"}}},
            "tools": [END_CALL],
            "metadata": {"a": "b"},
            "conversation": "none",
            "input": [{"type": "item_reference", "id": "i"}],
        },
    },
    {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 0},
    {"type": "response.cancel", "response_id": "r"},
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        inner = [p for k, v in value.items() for p in _places(v, (*path, k))]
    elif isinstance(value, list):
        inner = [p for n, v in enumerate(value) for p in _places(v, (*path, n))]
    return [path, *inner] if path else inner


@st.composite
def _mutated(draw: st.DrawFn) -> str:
    event = json.loads(json.dumps(draw(st.sampled_from(WHOLE))))
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(_places(event) or [("type",)]))
        parent = event
        for step in path[:-1]:
            parent = parent[step]
        if draw(st.booleans()):
            parent[path[-1]] = draw(JSON)
        elif isinstance(parent, dict):
            parent.pop(path[-1], None)
    return json.dumps(event)


@pytest.fixture(scope="module")
def state() -> State:
    """One world is enough for sessions that only misbehave."""
    return State()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    frames=st.lists(
        _mutated()
        | st.text(max_size=30)
        | JSON.map(json.dumps)
        | st.builds(
            lambda t, j: json.dumps({"type": t, "session": j}),
            st.sampled_from(sorted(EVENTS)),
            JSON,
        ),
        max_size=8,
    )
)
def test_no_input_breaks_a_session(state: State, frames: list[str]) -> None:
    """[D8] Every refusal is an error event with a message; every answer can be sent."""
    session = Session(
        id="s", model="gpt-realtime-2.1", mind=state, behaviour=Behaviour(), now=0.0, unix_now=0.0
    )

    effects = session.open(0.0)
    for n, frame in enumerate(frames):
        effects += session.receive_text(frame, float(n))
        effects += session.tick(n + 0.9)

    for effect in effects:
        if isinstance(effect, Send):
            json.dumps(effect.event).encode()
            if effect.event["type"] == "error":
                assert effect.event["error"]["message"]
