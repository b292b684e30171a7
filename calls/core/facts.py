"""What a conversation reports about itself, on its way through the journal into the database.

Facts are plain data: they cross a thread, and a spill file while the database is away, so each
knows its JSON form. Applying one twice changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TurnSaid:
    """One speaker's say, as far as it is known now; a later fact of the same `item_id` replaces it.

    `position` orders the conversation. Times are milliseconds since the stream's `start`;
    `heard_ms` of `generated_ms` were really played to the recipient (agent's turns only).
    `heard_chars` is how much of `text` that is. Latencies count from the end of the recipient's
    speech to the first audio sent, and to the first audio heard.
    """

    call_id: str
    item_id: str
    position: int
    speaker: str  # "recipient" | "agent"
    text: str
    started_ms: int
    ended_ms: int | None = None
    generated_ms: int | None = None
    heard_ms: int | None = None
    heard_chars: int | None = None
    interrupted: bool = False
    latency_sent_ms: int | None = None
    latency_heard_ms: int | None = None
    is_final: bool = False
    generation: int = 1  # of the stream: a resumed call counts its times anew


@dataclass(frozen=True, slots=True)
class TokensUsed:
    """Usage of one response (`kind` "response") or one transcription ("transcription").

    `*_in` are totals, of which `cached_*` are a subset. `seconds` is set where the vendor bills
    by duration. `usage_id` is the response's or item's id: counted once.
    """

    call_id: str
    usage_id: str
    kind: str
    model: str
    status: str = "completed"
    text_in: int = 0
    audio_in: int = 0
    image_in: int = 0
    cached_text_in: int = 0
    cached_audio_in: int = 0
    cached_image_in: int = 0
    text_out: int = 0
    audio_out: int = 0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Happened:
    """An entry of the call's timeline; `key` makes it unique within the call."""

    call_id: str
    key: str
    kind: str  # "stream.start", "model.connected", "tool.end_call", "model.error", …
    at: str  # ISO 8601, UTC
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConversationEnded:
    """Why the conversation ended; the first report of a call wins."""

    call_id: str
    reason: str  # EndReason
    detail: str
    at: str  # ISO 8601, UTC
    generation: int = 1
    error_code: str = ""  # the model's, where it was the reason


Fact = TurnSaid | TokensUsed | Happened | ConversationEnded

_KINDS: dict[str, type[Fact]] = {
    c.__name__: c for c in (TurnSaid, TokensUsed, Happened, ConversationEnded)
}


def to_json(fact: Fact) -> dict[str, Any]:
    """The fact as plain JSON, with its kind."""
    return {"fact": type(fact).__name__, **asdict(fact)}


def from_json(data: dict[str, Any]) -> Fact:
    """Read what `to_json` wrote.

    Raises:
        KeyError, TypeError: the JSON was not written by `to_json`.
    """
    values = dict(data)
    return _KINDS[values.pop("fact")](**values)
