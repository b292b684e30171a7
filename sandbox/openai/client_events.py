"""What a client may send. Source: OpenAI, Realtime API reference, "client events"."""

from __future__ import annotations

from sandbox.openai import errors, settings
from sandbox.openai.conversation import ITEM
from sandbox.openai.errors import Json
from sandbox.openai.shapes import (
    Check,
    Either,
    Flag,
    Items,
    Number,
    Object,
    Text,
    Variant,
    anything,
)

_COMMON: dict[str, Check] = {"type": anything, "event_id": Text(longest=512)}


def _event(required: tuple[str, ...] = (), **members: Check) -> Object:
    return Object({**_COMMON, **members}, required=required)


_INPUT_ITEM = Variant({
    **ITEM.shapes,
    "item_reference": Object({"type": anything, "id": Text()}, required=("id",)),
})  # fmt: skip


def _metadata(value: object, path: str) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise errors.wrong_type(path, "an object", value)
    if len(value) > 16:
        raise errors.invalid_value(path, f"Invalid '{path}': at most 16 keys are allowed.")
    for key, text in value.items():
        Text(longest=64)(key, path)
        Text(longest=512)(text, f"{path}.{key}")


RESPONSE = Object({
    "instructions": Text(nullable=True),  # as a client in wide use sends it
    "output_modalities": settings.MODALITIES,
    "audio": Object({
        "output": Object({"format": settings.FORMAT, "voice": settings.VOICE}),
    }),
    "tools": settings.TOOLS,
    "tool_choice": settings.TOOL_CHOICE,
    "parallel_tool_calls": Flag(),
    "reasoning": settings.REASONING,
    "max_output_tokens": settings.MAX_TOKENS,
    "metadata": _metadata,
    "conversation": Either(("auto", "none")),
    "input": Items(_INPUT_ITEM, nullable=True),
    "prompt": anything,
})  # fmt: skip

# `session` and `item` are checked where they are used: their errors depend on the session.
EVENTS: dict[str, Object] = {
    "session.update": _event(("session",), session=anything),
    "input_audio_buffer.append": _event(("audio",), audio=anything),
    "input_audio_buffer.commit": _event(),
    "input_audio_buffer.clear": _event(),
    "conversation.item.create": _event(
        ("item",), item=anything, previous_item_id=Text(nullable=True)
    ),
    "conversation.item.retrieve": _event(("item_id",), item_id=Text()),
    "conversation.item.truncate": _event(
        ("item_id", "content_index", "audio_end_ms"),
        item_id=Text(),
        content_index=Number(0, 1_000),
        audio_end_ms=Number(0, 2**31),
    ),
    "conversation.item.delete": _event(("item_id",), item_id=Text()),
    "response.create": _event(response=RESPONSE),
    "response.cancel": _event(response_id=Text(nullable=True)),
    "output_audio_buffer.clear": _event(),
}


def check(event: object) -> Json:
    """The event, if it is one. Raises RealtimeError."""
    if not isinstance(event, dict):
        raise errors.invalid_event("Invalid event: expected a JSON object.")
    if "type" not in event:
        raise errors.missing("type")
    kind = event["type"]
    if not isinstance(kind, str):
        raise errors.wrong_type("type", "a string", kind)
    if kind not in EVENTS:
        raise errors.not_supported("type", kind, tuple(EVENTS))
    EVENTS[kind](event, "")
    return event
