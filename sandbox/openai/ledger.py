"""What happened in one session, for the tests that ask afterwards."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.openai.audio import duration_ms
from sandbox.openai.errors import Json

_KEPT_EVENTS = 5_000
_BULKY = frozenset({"input_audio_buffer.append", "response.output_audio.delta"})


@dataclass
class Ledger:
    """The record of one session; times are milliseconds since it opened."""

    id: str
    model: str
    began: float
    session: Json = field(default_factory=dict)
    events: deque[Json] = field(default_factory=lambda: deque(maxlen=_KEPT_EVENTS))
    received: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    appended_ms: int = 0
    truncations: list[Json] = field(default_factory=list)
    transcripts: list[Json] = field(default_factory=list)
    responses: list[Json] = field(default_factory=list)
    errors: list[Json] = field(default_factory=list)
    closed: Json | None = None
    tell: Callable[[str, Json], None] | None = None
    """Hears of every entry but the small pieces: takes the event's type and the entry."""

    def note_received(self, event: Json, now: float) -> None:
        """The client sent this."""
        self.received[str(event.get("type"))] += 1
        self._note("client", event, now)

    def note_sent(self, event: Json, now: float, format: str) -> None:
        """The server sent this; `format` is that of its audio."""
        kind = event["type"]
        self.sent[kind] += 1
        self._note("server", event, now, format)
        if kind == "error":
            self.errors.append(event["error"])
        elif kind == "response.done":
            self.responses.append(
                {k: event["response"][k] for k in ("id", "status", "status_details", "usage")}
            )
        elif kind in ("session.created", "session.updated"):
            self.session = event["session"]

    def note_injected(self, event: Json, now: float) -> None:
        """A tester put this on the wire, whatever it is; it tells nothing about the session."""
        kind = str(event.get("type"))
        self.sent[kind] += 1
        entry = {"at_ms": self._ms(now), "from": "server", "type": kind, "injected": True}
        self.events.append(entry)

    def heard(self, item_id: str, text: str, audio_ms: float) -> None:
        """The person's turn, as the model understood it."""
        self.transcripts.append(
            {"role": "user", "item_id": item_id, "text": text, "audio_ms": int(audio_ms)}
        )

    def said(self, item_id: str, text: str, audio_ms: float) -> None:
        """The agent's item, as far as it was generated."""
        self.transcripts.append(
            {"role": "assistant", "item_id": item_id, "text": text, "audio_ms": int(audio_ms)}
        )

    def truncated(self, item_id: str, end_ms: int, audio_ms: float, now: float) -> None:
        """The client told how much of an item was heard."""
        self.truncations.append({
            "item_id": item_id,
            "audio_end_ms": end_ms,
            "audio_ms": int(audio_ms),
            "at_ms": self._ms(now),
        })  # fmt: skip

    def close(self, by: str, code: int | None, reason: str, now: float) -> None:
        """The socket is gone; the first reason counts."""
        if self.closed is None:
            self.closed = {"by": by, "code": code, "reason": reason, "at_ms": self._ms(now)}

    def to_json(self, *, with_events: bool) -> Json:
        """The whole record."""
        record: Json = {
            "id": self.id,
            "model": self.model,
            "session": self.session,
            "received": dict(self.received),
            "sent": dict(self.sent),
            "appended_ms": self.appended_ms,
            "truncations": self.truncations,
            "transcripts": self.transcripts,
            "responses": self.responses,
            "errors": self.errors,
            "closed": self.closed,
        }
        if with_events:
            record["events"] = list(self.events)
        return record

    def _note(self, side: str, event: Json, now: float, format: str = "") -> None:
        kind = str(event.get("type"))
        last = self.events[-1] if self.events else None
        size = _audio_ms(event, format) if kind == "response.output_audio.delta" else 0
        if (
            kind in _BULKY
            and last is not None
            and last["type"] == kind
            and "count" in last
            and last.get("item_id") == event.get("item_id")
        ):
            last["count"] += 1
            last["until_ms"] = self._ms(now)
            last["audio_ms"] = last.get("audio_ms", 0) + size
            return
        entry: Json = {"at_ms": self._ms(now), "from": side, "type": kind}
        for name in ("item_id", "response_id", "call_id", "audio_end_ms", "audio_start_ms",
                     "event_id", "transcript", "name", "arguments", "error"):  # fmt: skip
            if event.get(name) is not None:
                entry[name] = event[name]
        for name in ("item", "response"):
            if isinstance(event.get(name), dict):
                entry[name] = {
                    k: event[name][k]
                    for k in ("id", "type", "role", "status", "instructions", "call_id")
                    if k in event[name]
                }
        if kind in _BULKY:
            entry |= {"count": 1, "until_ms": entry["at_ms"], "audio_ms": size}
        self.events.append(entry)
        if self.tell is not None and kind not in _BULKY and not kind.endswith(".delta"):
            self.tell(kind, entry)

    def _ms(self, now: float) -> int:
        return int((now - self.began) * 1000)


def _audio_ms(event: Json, format: str) -> float:
    text = event["delta"]
    return duration_ms(len(text) // 4 * 3 - text.count("=", -2), format)
