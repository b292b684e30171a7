"""What the model says: OpenAI's Realtime server events (GA), parsed.

Source: OpenAI, Realtime API reference, "Server events".
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

# No session lasts a day.
MAX_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class SessionReady:
    """`session.created` or `session.updated`, with the formats that are really in force."""

    session_id: str
    is_update: bool
    input_format: str
    output_format: str


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The recipient began to speak, at `audio_start_ms` of the audio appended."""

    item_id: str
    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The recipient fell silent; `audio_end_ms` includes the silence that proved it."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class Committed:
    """The recipient's say became an item of the conversation."""

    item_id: str


@dataclass(frozen=True, slots=True)
class Transcribed:
    """What the recipient said, from a separate transcription; `text` None where it failed."""

    item_id: str
    text: str | None
    usage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    """The model began to answer; `purpose` is ours, echoed, or empty for its own decision."""

    response_id: str
    purpose: str


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """A piece of the agent's speech, in the session's output format; any length."""

    response_id: str
    item_id: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class AudioDone:
    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    response_id: str
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class TextDone:
    response_id: str
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The agent wants a tool run; `arguments` is JSON text, unchecked."""

    response_id: str
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """A response ended: completed, cancelled, incomplete or failed."""

    response_id: str
    status: str
    reason: str
    error_code: str
    error_message: str
    usage: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelError:
    """An `error` event; most leave the session open."""

    type: str
    code: str
    message: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event that we need not know."""

    type: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Not what the reference describes; `response_id` where the event names one."""

    why: str
    response_id: str = ""
    ends_response: bool = False  # a `response.done` of which no more is known


Event = (
    SessionReady
    | SpeechStarted
    | SpeechStopped
    | Committed
    | Transcribed
    | ResponseStarted
    | AudioDelta
    | AudioDone
    | TextDelta
    | TextDone
    | ToolCalled
    | ResponseDone
    | ModelError
    | Ignored
    | Unreadable
)


def parse(text: str | bytes) -> Event:
    """What the model says; malformed input becomes `Unreadable`, never an exception."""
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Unreadable("not JSON")
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        return Unreadable("no type")
    kind = data["type"]
    reader = _READERS.get(kind)
    if reader is None:
        return Ignored(kind)
    try:
        return reader(data)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        why = f"{kind}: {type(exc).__name__}"
        if kind == "response.done":
            return Unreadable(why, _id(data.get("response"), "id"), ends_response=True)
        return Unreadable(why, _id(data, "response_id"))


def _id(data: Any, name: str) -> str:
    found = data.get(name) if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _ms(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not 0 <= value < MAX_MS:
        raise ValueError
    return int(value)


def _object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError
    return value


def _session(data: dict[str, Any]) -> Event:
    session = data["session"]
    audio = session.get("audio") or {}

    def format_of(side: str) -> str:
        form = (audio.get(side) or {}).get("format") or {}
        return _text(form.get("type", "")) if isinstance(form, dict) else _text(form)

    return SessionReady(
        _text(session.get("id", "")),
        data["type"] == "session.updated",
        format_of("input"),
        format_of("output"),
    )


def _response_done(data: dict[str, Any]) -> Event:
    response = data["response"]
    details = response.get("status_details") or {}
    error = details.get("error") or {}
    return ResponseDone(
        _text(response["id"]),
        _text(response["status"]),
        _text(details.get("reason") or ""),
        _text(error.get("code") or error.get("type") or ""),
        _text(error.get("message") or ""),
        _object(response.get("usage")),
    )


def _error(data: dict[str, Any]) -> Event:
    error = data["error"]
    return ModelError(
        _text(error.get("type") or ""),
        _text(error.get("code") or ""),
        _text(error.get("message") or ""),
        _text(error.get("event_id") or ""),
    )


_READERS: dict[str, Callable[[dict[str, Any]], Event]] = {
    "session.created": _session,
    "session.updated": _session,
    "error": _error,
    "input_audio_buffer.speech_started": lambda d: SpeechStarted(
        _text(d["item_id"]), _ms(d["audio_start_ms"])
    ),
    "input_audio_buffer.speech_stopped": lambda d: SpeechStopped(
        _text(d["item_id"]), _ms(d["audio_end_ms"])
    ),
    "input_audio_buffer.committed": lambda d: Committed(_text(d["item_id"])),
    "conversation.item.input_audio_transcription.completed": lambda d: Transcribed(
        _text(d["item_id"]), _text(d["transcript"]), _object(d.get("usage"))
    ),
    "conversation.item.input_audio_transcription.failed": lambda d: Transcribed(
        _text(d["item_id"]), None
    ),
    "response.created": lambda d: ResponseStarted(
        _text(d["response"]["id"]),
        _text((d["response"].get("metadata") or {}).get("purpose", "")),
    ),
    "response.output_audio.delta": lambda d: AudioDelta(
        _text(d["response_id"]),
        _text(d["item_id"]),
        binascii.a2b_base64(_text(d["delta"]), strict_mode=True),
    ),
    "response.output_audio.done": lambda d: AudioDone(_text(d["response_id"]), _text(d["item_id"])),
    "response.output_audio_transcript.delta": lambda d: TextDelta(
        _text(d["response_id"]), _text(d["item_id"]), _text(d["delta"])
    ),
    "response.output_audio_transcript.done": lambda d: TextDone(
        _text(d["response_id"]), _text(d["item_id"]), _text(d["transcript"])
    ),
    "response.function_call_arguments.done": lambda d: ToolCalled(
        _text(d["response_id"]), _text(d["call_id"]), _text(d["name"]), _text(d["arguments"])
    ),
    "response.done": _response_done,
}
