"""What the model answers next: its words and calls, its pace, and how the answer ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from sandbox.openai.errors import Json


class BadScript(ValueError):
    """A script that cannot be played; the message names the field and the fix."""


@dataclass(frozen=True, slots=True)
class Say:
    """A message: its words, and the clip to play for them (else the words find their own)."""

    text: str
    clip: str | None = None


@dataclass(frozen=True, slots=True)
class CallTool:
    """A function call; `arguments` is JSON text, or anything at all to provoke the client."""

    name: str
    arguments: str = "{}"
    call_id: str | None = None


Part = Say | CallTool


class EndKind(StrEnum):
    """How a response comes to its end."""

    COMPLETED = "completed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    STALL = "stall"
    DISCONNECT = "disconnect"


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a response, reached after `after_ms` of its audio (None: after all of it)."""

    kind: EndKind = EndKind.COMPLETED
    after_ms: int | None = None
    reason: str = "max_output_tokens"
    error: Json | None = None
    for_ms: int | None = None
    """How long a stall lasts before the response goes on; None: for ever."""
    close_code: int | None = None
    """The close code of a disconnect; None resets the connection."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a response is sent: times real time, in bursts, in pieces of these lengths."""

    pace: float = 8.0
    first_byte_ms: int = 250
    delta_ms: tuple[int, int] = (20, 400)
    burst_ms: int = 100


@dataclass(frozen=True, slots=True)
class Reply:
    """One response. Without `parts` the built-in conversationalist finds the words."""

    parts: tuple[Part, ...] = ()
    ending: Ending = field(default_factory=Ending)
    pace: Pace = field(default_factory=Pace)


FAILURES: dict[str, Json] = {
    "server_error": {
        "type": "server_error",
        "code": None,
        "message": "The server had an error while processing your request. Sorry about that! "
        "Please contact us through our help center if the error persists.",
    },
    "rate_limit_exceeded": {
        "type": "tokens",
        "code": "rate_limit_exceeded",
        "message": "Rate limit reached for this model on tokens per min (TPM). Please try again "
        "in 1.2s.",
    },
    "insufficient_quota": {
        "type": "insufficient_quota",
        "code": "insufficient_quota",
        "message": "You exceeded your current quota, please check your plan and billing details.",
    },
}
INCOMPLETE = ("max_output_tokens", "content_filter")
_UNSENDABLE = frozenset({1004, 1005, 1006, 1015, *range(1016, 3000)})
"""Close codes that no frame may hold. Source: RFC 6455, section 7.4."""
_LONGEST_MS = 3_600_000
_REPLY_FIELDS = frozenset({
    "say", "clip", "tool", "items", "fail", "incomplete", "stall", "disconnect", "pace",
    "first_byte_ms", "delta_ms", "burst_ms",
})  # fmt: skip


def reply_of(data: object, pace: Pace, where: str = "responses[0]") -> Reply:
    """Read one scripted response. Raises BadScript."""
    if not isinstance(data, dict):
        raise BadScript(f"{where} must be an object such as {{'say': 'Hello.'}}")
    if strange := data.keys() - _REPLY_FIELDS:
        raise BadScript(
            f"{where}.{min(strange)} is unknown; known are {', '.join(sorted(_REPLY_FIELDS))}"
        )
    entries = data.get("items") or [{k: data[k] for k in ("say", "clip", "tool") if data.get(k)}]
    if not isinstance(entries, list):
        raise BadScript(f"{where}.items must be a list of objects such as {{'say': 'Hello.'}}")
    parts = [p for n, e in enumerate(entries) for p in _parts(e, f"{where}.items[{n}]")]
    return Reply(tuple(parts), _ending(data, where), pace_of(data, pace, where))


def pace_of(data: Json, pace: Pace, where: str) -> Pace:
    """The pace, with what `data` says otherwise. Raises BadScript."""
    if "pace" in data:
        pace = replace(pace, pace=number(data["pace"], f"{where}.pace", 0.01, 1000))
    if "first_byte_ms" in data:
        value = int(number(data["first_byte_ms"], f"{where}.first_byte_ms", 0, 600_000))
        pace = replace(pace, first_byte_ms=value)
    if "burst_ms" in data:
        value = int(number(data["burst_ms"], f"{where}.burst_ms", 1, 60_000))
        pace = replace(pace, burst_ms=value)
    if "delta_ms" in data:
        bounds = data["delta_ms"]
        if not isinstance(bounds, list) or len(bounds) != 2:
            raise BadScript(f"{where}.delta_ms must be two numbers of milliseconds: [20, 400]")
        low, high = (int(number(b, f"{where}.delta_ms", 1, 60_000)) for b in bounds)
        if low > high:
            raise BadScript(f"{where}.delta_ms must begin with the smaller number")
        pace = replace(pace, delta_ms=(low, high))
    return pace


def ending_of(what: str) -> Ending:
    """A fault in words ("failed:server_error", "stall:500", "close:1011:800") as an ending.

    Raises:
        BadScript: nobody knows this fault.
    """
    kind, _, rest = what.partition(":")
    try:
        if kind == "failed" and rest in FAILURES:
            return Ending(EndKind.FAILED, 0, error=FAILURES[rest])
        if kind == "incomplete" and rest in INCOMPLETE:
            return Ending(EndKind.INCOMPLETE, 300, reason=rest)
        if kind == "stall":
            return Ending(EndKind.STALL, _after(rest))
        if kind == "reset":
            return Ending(EndKind.DISCONNECT, _after(rest))
        if kind == "close":
            code, _, after = rest.partition(":")
            sent = close_code(int(code or 1011), "the close code")
            return Ending(EndKind.DISCONNECT, _after(after), close_code=sent)
    except ValueError as exc:
        raise BadScript(f"'{what}' holds a wrong number: {exc}") from exc
    raise BadScript(
        f"'{what}' is no fault of a response; known are failed:server_error, "
        "failed:rate_limit_exceeded, failed:insufficient_quota, incomplete:max_output_tokens, "
        "incomplete:content_filter, stall[:ms], reset[:ms], close:code[:ms], delay:seconds"
    )


def number(value: object, where: str, low: float, high: float) -> float:
    """A number within bounds. Raises BadScript."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadScript(f"{where} must be a number from {low:g} to {high:g}, not {value!r}")
    return value


def close_code(value: object, where: str) -> int:
    """A close code that a frame may hold. Raises BadScript."""
    code = int(number(value, where, 1000, 4999))
    if code in _UNSENDABLE:
        raise BadScript(f"{where} must be 1000-1003, 1007-1014 or 3000-4999; {code} is never sent")
    return code


def _after(text: str) -> int:
    return int(number(int(text or 0), "the milliseconds", 0, _LONGEST_MS))


def _parts(entry: object, where: str) -> list[Part]:
    if not isinstance(entry, dict) or entry.keys() - {"say", "clip", "tool"}:
        raise BadScript(f"{where} must be an object with 'say', 'clip' or 'tool'")
    for name in ("say", "clip"):
        if not isinstance(entry.get(name) or "", str):
            raise BadScript(f"{where}.{name} must be a text")
    parts: list[Part] = []
    if entry.get("say") or entry.get("clip"):
        parts.append(Say(entry.get("say") or "", entry.get("clip")))
    if tool := entry.get("tool"):
        parts.append(_tool(tool, f"{where}.tool"))
    return parts


def _tool(tool: Any, where: str) -> CallTool:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise BadScript(f"{where} must be an object with a 'name'")
    if not isinstance(tool.get("call_id") or "", str):
        raise BadScript(f"{where}.call_id must be a text")
    arguments = tool.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return CallTool(tool["name"], text, tool.get("call_id"))


def _ending(data: Json, where: str) -> Ending:
    named = [name for name in ("fail", "incomplete", "stall", "disconnect") if name in data]
    if len(named) > 1:
        raise BadScript(f"{where} ends in two ways, {' and '.join(named)}; choose one")
    if not named:
        return Ending()
    name = named[0]
    value = data[name]
    if isinstance(value, str) and name in ("fail", "incomplete"):
        return ending_of(f"{'failed' if name == 'fail' else name}:{value}")
    if not isinstance(value, dict):
        raise BadScript(f"{where}.{name} must be an object such as {{'after_ms': 500}}")
    where = f"{where}.{name}"
    after = _whole(value, "after_ms", where, 0, _LONGEST_MS)
    if name == "fail":
        error = {"type": "server_error", "code": None, "message": "The server had an error."}
        error |= {k: v for k, v in value.items() if k in error}
        return Ending(EndKind.FAILED, after or 0, error=error)
    if name == "incomplete":
        reason = value.get("reason", INCOMPLETE[0])
        if reason not in INCOMPLETE:
            raise BadScript(f"{where}.reason must be {' or '.join(INCOMPLETE)}, not {reason!r}")
        return Ending(EndKind.INCOMPLETE, after, reason=reason)
    if name == "stall":
        for_ms = _whole(value, "for_ms", where, 0, _LONGEST_MS)
        return Ending(EndKind.STALL, after or 0, for_ms=for_ms)
    code = close_code(value["code"], f"{where}.code") if value.get("code") is not None else None
    return Ending(EndKind.DISCONNECT, after or 0, close_code=code)


def _whole(value: Json, name: str, where: str, low: int, high: int) -> int | None:
    """A whole number that may be absent."""
    found = value.get(name)
    return None if found is None else int(number(found, f"{where}.{name}", low, high))
