"""The items of a conversation: what was said by whom, and how long it sounds."""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.openai import errors
from sandbox.openai.audio import BYTES_PER_MS, duration_ms
from sandbox.openai.errors import Json
from sandbox.openai.shapes import Check, Items, Object, Text, Variant, anything

_COMMON: dict[str, Check] = {
    "type": anything,
    "id": Text(pattern="[a-zA-Z0-9_-]{1,64}"),
    "object": Text(among=("realtime.item",)),
    "status": Text(among=("completed", "incomplete", "in_progress")),
}
_TEXT = Object({"type": anything, "text": Text()}, required=("text",))
_CONTENT = {
    "user": {
        "input_text": _TEXT,
        "input_audio": Object(
            {"type": anything, "audio": Text(), "transcript": Text(nullable=True)},
            required=("audio",),
        ),
        "input_image": Object(
            {"type": anything, "image_url": Text(), "detail": Text(among=("auto", "low", "high"))},
            required=("image_url",),
        ),
    },
    "system": {"input_text": _TEXT},
    "assistant": {"output_text": _TEXT},
}


def _message(role: str) -> Object:
    return Object(
        {**_COMMON, "role": anything, "content": Items(Variant(_CONTENT[role]))},
        required=("content",),
    )


ITEM = Variant({
    "message": Variant({role: _message(role) for role in _CONTENT}, key="role"),
    "function_call": Object(
        {**_COMMON, "name": Text(), "call_id": Text(), "arguments": Text()},
        required=("name", "arguments"),
    ),
    "function_call_output": Object(
        {**_COMMON, "call_id": Text(), "output": Text()}, required=("call_id", "output")
    ),
})  # fmt: skip


@dataclass(slots=True)
class Item:
    """One item; `json` is what the client sees of it, without sound."""

    json: Json
    audio: bytes = b""
    format: str = ""
    heard: str | None = None
    """What the model itself understood, which no client sees."""
    is_cut: bool = False
    """It was truncated: nothing of it comes back, though the model may still be speaking."""

    @property
    def id(self) -> str:
        return str(self.json["id"])

    @property
    def kind(self) -> str:
        return str(self.json["type"])

    @property
    def role(self) -> str:
        return str(self.json.get("role", ""))

    @property
    def audio_ms(self) -> float:
        return duration_ms(len(self.audio), self.format) if self.audio else 0.0

    @property
    def has_sounded(self) -> bool:
        """Whether it ever held audio; what a client wrote for the model never does."""
        return bool(self.audio) or self.is_cut

    @property
    def text(self) -> str:
        """Every word in it, spoken or written."""
        if self.kind == "message":
            parts = (p.get("text") or p.get("transcript") or "" for p in self.json["content"])
            return " ".join(p for p in parts if p)
        return str(self.json.get("arguments") or self.json.get("output") or "")

    def public(self) -> Json:
        """A copy for an event."""
        return copy.deepcopy(self.json)

    def with_audio(self) -> Json:
        """A copy that holds the sound as well, as `conversation.item.retrieved` shows it."""
        shown = self.public()
        for part in shown.get("content", []):
            if part["type"] in ("input_audio", "output_audio"):
                part["audio"] = base64.b64encode(self.audio).decode()
        return shown


class Conversation:
    """The items in their order."""

    def __init__(self, id: str) -> None:
        self.id = id
        self._items: dict[str, Item] = {}
        self._order: list[str] = []

    def __iter__(self) -> Iterator[Item]:
        return (self._items[item_id] for item_id in self._order)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    @property
    def last_id(self) -> str | None:
        """The id of the newest item."""
        return self._order[-1] if self._order else None

    def get(self, item_id: str) -> Item | None:
        """The item of that id."""
        return self._items.get(item_id)

    def before(self, item_id: str) -> str | None:
        """The id of the item that stands in front."""
        place = self._order.index(item_id)
        return self._order[place - 1] if place else None

    def add(self, item: Item, after: str | None = None) -> None:
        """Insert at the end, behind another item, or ("root") in front.

        Raises:
            RealtimeError: `after` or the item's own id cannot be, or it answers no call.
        """
        call_id = item.json.get("call_id")
        if item.kind == "function_call_output" and not self._has_call(call_id):
            raise errors.RealtimeError(
                "invalid_tool_call_id", f"Tool call ID '{call_id}' not found in conversation."
            )
        if item.id in self._items:
            raise errors.RealtimeError(
                "item_create_duplicate_item_id",
                f"Error adding item: an item with id '{item.id}' already exists.",
                param="item.id",
            )
        if after is not None and after != "root" and after not in self._items:
            raise errors.RealtimeError(
                "item_create_invalid_previous_item_id",
                f"Error adding item: the previous item with id '{after}' does not exist.",
                param="previous_item_id",
            )
        place = len(self._order)
        if after is not None:
            place = 0 if after == "root" else self._order.index(after) + 1
        self._order.insert(place, item.id)
        self._items[item.id] = item

    def remove(self, item_id: str) -> None:
        """Forget an item. Raises RealtimeError if there is none."""
        self.need(item_id, "delete", "deleting")
        self._order.remove(item_id)
        del self._items[item_id]

    def need(self, item_id: str, verb: str, doing: str) -> Item:
        """The item, or the error of that request."""
        item = self._items.get(item_id)
        if item is None:
            raise errors.RealtimeError(
                f"item_{verb}_invalid_item_id",
                f"Error {doing} item: the item with id '{item_id}' does not exist.",
                param="item_id",
            )
        return item

    def truncate(self, item_id: str, content_index: int, end_ms: int) -> None:
        """Cut the sound of an assistant's item, and forget its words.

        Raises:
            RealtimeError: there is no such item, it is no assistant audio, or it is shorter.
        """
        item = self.need(item_id, "truncate", "truncating")
        content = item.json.get("content") or []
        part = content[content_index] if 0 <= content_index < len(content) else None
        # Before its first audio an item of the model's is refused as well, at 0 ms too.
        if part is None or part["type"] != "output_audio" or not item.has_sounded:
            raise errors.RealtimeError(
                "unsupported_content_type", "Only model output audio messages can be truncated"
            )
        if end_ms > item.audio_ms:
            raise errors.invalid_value(
                "audio_end_ms",
                f"Audio content of {int(item.audio_ms)}ms is already shorter than {end_ms}ms",
            )
        item.audio = item.audio[: end_ms * BYTES_PER_MS[item.format]]
        item.is_cut = True
        part.pop("transcript", None)

    def _has_call(self, call_id: str | None) -> bool:
        return any(i.kind == "function_call" and i.json.get("call_id") == call_id for i in self)


def item_of(json: Json, new_id: str, format: str, path: str = "item") -> Item:
    """An item as the client described it, completed.

    Raises:
        RealtimeError: it is not of a known shape.
    """
    ITEM(json, path)
    shown = copy.deepcopy(json)
    shown.setdefault("id", new_id)
    shown["object"] = "realtime.item"
    shown["status"] = "completed"
    if shown["type"] == "function_call":
        shown.setdefault("call_id", f"call_{new_id[5:]}")
    audio = b""
    for n, part in enumerate(shown.get("content", [])):
        if part["type"] == "input_audio":
            audio += decoded(part.pop("audio"), f"{path}.content[{n}].audio")
            part.setdefault("transcript", None)
    return Item(shown, audio, format if audio else "")


def decoded(text: object, path: str) -> bytes:
    """Base64 to bytes. Raises RealtimeError."""
    if not isinstance(text, str):
        raise errors.wrong_type(path, "a string", text)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise errors.invalid_value(
            path, f"Invalid '{path}'. Expected base64-encoded audio bytes, but got invalid base64."
        ) from None
