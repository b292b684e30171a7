"""The model's events: what is well formed is understood, everything else is harmless."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.core.brief import AudioFormat, NoiseReduction, TurnDetection
from realtime.core import realtime_api as api
from realtime.core import realtime_events as events
from tests.realtime.talk import BRIEF, Talk

EVENTS: list[tuple[dict[str, Any], events.Event]] = [
    (
        {
            "type": "session.updated",
            "session": {
                "id": "sess_1",
                "audio": {
                    "input": {"format": {"type": "audio/pcm", "rate": 24000}},
                    "output": {"format": {"type": "audio/pcmu"}},
                },
            },
        },
        events.SessionReady("sess_1", True, "audio/pcm", "audio/pcmu"),
    ),
    (
        {
            "type": "input_audio_buffer.speech_started",
            "audio_start_ms": 120,
            "item_id": "item_1",
        },
        events.SpeechStarted("item_1", 120),
    ),
    (
        {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 990, "item_id": "item_1"},
        events.SpeechStopped("item_1", 990),
    ),
    (
        {"type": "input_audio_buffer.committed", "item_id": "item_1", "previous_item_id": None},
        events.Committed("item_1"),
    ),
    (
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": "item_1",
            "content_index": 0,
            "transcript": "Hello?",
            "usage": {"type": "duration", "seconds": 2},
        },
        events.Transcribed("item_1", "Hello?", {"type": "duration", "seconds": 2}),
    ),
    (
        {"type": "conversation.item.input_audio_transcription.failed", "item_id": "item_1"},
        events.Transcribed("item_1", None),
    ),
    (
        {"type": "response.created", "response": {"id": "r1", "metadata": {"purpose": "nudge"}}},
        events.ResponseStarted("r1", "nudge"),
    ),
    (
        {"type": "response.created", "response": {"id": "r1", "metadata": None}},
        events.ResponseStarted("r1", ""),
    ),
    (
        {
            "type": "response.output_audio.delta",
            "response_id": "r1",
            "item_id": "i1",
            "delta": "/w==",
            "obfuscation": "xyz",
        },
        events.AudioDelta("r1", "i1", b"\xff"),
    ),
    (
        {"type": "response.output_audio.done", "response_id": "r1", "item_id": "i1"},
        events.AudioDone("r1", "i1"),
    ),
    (
        {
            "type": "response.output_audio_transcript.done",
            "response_id": "r1",
            "item_id": "i1",
            "transcript": "Hi",
        },
        events.TextDone("r1", "i1", "Hi"),
    ),
    (
        {
            "type": "response.function_call_arguments.done",
            "response_id": "r1",
            "item_id": "i1",
            "call_id": "c1",
            "name": "end_call",
            "arguments": "{}",
        },
        events.ToolCalled("r1", "c1", "end_call", "{}"),
    ),
    (
        {
            "type": "response.done",
            "response": {
                "id": "r1",
                "status": "failed",
                "status_details": {
                    "type": "failed",
                    "error": {"type": "server_error", "code": None, "message": "Sorry"},
                },
                "usage": None,
            },
        },
        events.ResponseDone("r1", "failed", "", "server_error", "Sorry", {}),
    ),
    (
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "code": "x", "message": "m", "param": None},
        },
        events.ModelError("invalid_request_error", "x", "m", ""),
    ),
    ({"type": "rate_limits.updated", "rate_limits": []}, events.Ignored("rate_limits.updated")),
    ({"type": "something.new"}, events.Ignored("something.new")),
]


@pytest.mark.parametrize(("event", "meaning"), EVENTS)
def test_an_event_is_understood(event: dict[str, Any], meaning: events.Event) -> None:
    assert events.parse(json.dumps({"event_id": "event_1", **event})) == meaning


@pytest.mark.parametrize("text", ["", "{", "[]", "null", b"\x00", '{"type": 5}', '{"x": 1}'])
def test_what_is_no_event_is_unreadable(text: str | bytes) -> None:
    """[D8] Not JSON, binary, no type."""
    assert isinstance(events.parse(text), events.Unreadable)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.sampled_from(EVENTS), st.integers(0, 9), json_values, st.booleans())
def test_no_mutation_of_an_event_harms_the_conversation(
    recorded: tuple[dict[str, Any], events.Event], index: int, value: Any, remove: bool
) -> None:
    """[D8] Every recorded event, with any field gone or replaced, in any state."""
    event = json.loads(json.dumps(recorded[0]))
    key = list(event)[index % len(event)]
    if remove:
        del event[key]
    else:
        event[key] = value
    talk = Talk().opened()
    talk.model(events.ResponseStarted("r1", ""))

    talk.model(events.parse(json.dumps(event)))
    talk.wait(0.3)

    assert talk.ending() is None or recorded[0]["type"] in {"error", "session.updated"}


def test_the_session_asks_for_what_the_brief_says() -> None:
    brief = Talk(
        audio_format=AudioFormat.PCM,
        turn_detection=TurnDetection.SEMANTIC_VAD,
        noise_reduction=NoiseReduction.FAR_FIELD,
        language="pt-BR",
    ).brief

    session = json.loads(api.session_update(brief, []))["session"]

    assert session["type"] == "realtime"
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"
    assert session["audio"]["input"]["noise_reduction"] == {"type": "far_field"}
    assert session["audio"]["input"]["transcription"]["language"] == "pt"


def test_closing_keeps_hearing_but_answers_no_more() -> None:
    session = json.loads(api.stop_answering(BRIEF))["session"]

    detection = session["audio"]["input"]["turn_detection"]
    assert detection["type"] == "server_vad"
    assert (detection["create_response"], detection["interrupt_response"]) == (False, False)
