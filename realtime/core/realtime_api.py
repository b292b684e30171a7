"""What we tell the model: OpenAI's Realtime client events (GA), built.

Source: OpenAI, Realtime API reference, "Client events".
"""

from __future__ import annotations

import binascii
from typing import Any

import orjson

from calls.core.brief import AudioFormat, Brief, NoiseReduction, TurnDetection
from realtime.core.tools import ToolSpec


def _dump(event: dict[str, Any]) -> str:
    return orjson.dumps(event).decode()


def append(audio: bytes) -> str:
    """Audio of the recipient, in the session's input format. The model does not answer it."""
    return (
        '{"type":"input_audio_buffer.append","audio":"'
        + binascii.b2a_base64(audio, newline=False).decode("ascii")
        + '"}'
    )


def session_update(brief: Brief, tools: list[ToolSpec]) -> str:
    """Configure the session for a call."""
    form: dict[str, Any] = {"type": brief.audio_format.value}
    if brief.audio_format is AudioFormat.PCM:
        form["rate"] = 24_000
    noise = brief.noise_reduction
    return _dump(
        {
            "type": "session.update",
            "event_id": "configure",
            "session": {
                "type": "realtime",
                "output_modalities": ["audio"],
                "instructions": brief.instructions,
                "audio": {
                    "input": {
                        "format": form,
                        "noise_reduction": None
                        if noise is NoiseReduction.NONE
                        else {"type": noise.value},
                        "transcription": {
                            "model": brief.transcription_model,
                            "language": brief.language.split("-")[0],
                        },
                        "turn_detection": _turn_detection(brief),
                    },
                    "output": {"format": form, "voice": brief.voice},
                },
                "tools": [tool.to_json() for tool in tools],
                "tool_choice": "auto",
            },
        }
    )


def _turn_detection(brief: Brief) -> dict[str, Any]:
    common = {"create_response": True, "interrupt_response": True}
    if brief.turn_detection is TurnDetection.SEMANTIC_VAD:
        return {"type": "semantic_vad", "eagerness": "auto", **common}
    return {
        "type": "server_vad",
        "threshold": brief.vad_threshold,
        "prefix_padding_ms": 300,
        "silence_duration_ms": brief.vad_silence_ms,
        **common,
    }


def stop_answering(brief: Brief) -> str:
    """The conversation is closing: keep hearing the recipient, but start no more responses."""
    detection = {
        **_turn_detection(brief),
        "create_response": False,
        "interrupt_response": False,
    }
    return _dump(
        {
            "type": "session.update",
            "event_id": "closing",
            "session": {"type": "realtime", "audio": {"input": {"turn_detection": detection}}},
        }
    )


def response_create(purpose: str, instructions: str = "", *, may_use_tools: bool = True) -> str:
    """Ask for a response; `instructions` replace the session's for this one, if given."""
    response: dict[str, Any] = {"metadata": {"purpose": purpose}}
    if instructions:
        response["instructions"] = instructions
    if not may_use_tools:
        response["tool_choice"] = "none"
    return _dump({"type": "response.create", "event_id": f"ask-{purpose}", "response": response})


def response_cancel(response_id: str) -> str:
    return _dump({"type": "response.cancel", "event_id": "cancel", "response_id": response_id})


def truncate(item_id: str, heard_ms: int) -> str:
    """Tell the model how much of its item was heard; more than it generated is an error."""
    return _dump(
        {
            "type": "conversation.item.truncate",
            "event_id": f"truncate-{item_id}"[:64],
            "item_id": item_id,
            "content_index": 0,
            "audio_end_ms": heard_ms,
        }
    )


def message(role: str, text: str) -> str:
    """Put a text message into the conversation; role is user, assistant or system."""
    kind = "output_text" if role == "assistant" else "input_text"
    return _dump(
        {
            "type": "conversation.item.create",
            "item": {"type": "message", "role": role, "content": [{"type": kind, "text": text}]},
        }
    )


def tool_output(call_id: str, output: str) -> str:
    """The result of a tool, as text or JSON text."""
    return _dump(
        {
            "type": "conversation.item.create",
            "event_id": "tool-output",
            "item": {"type": "function_call_output", "call_id": call_id, "output": output},
        }
    )
