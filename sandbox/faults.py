"""Faults on order: where something goes wrong next, how, and how often."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

FOR_EVER = 1_000_000

_REST = frozenset({"status", "code", "after", "reset", "hang", "429", "html", "delay"})
_DOCUMENT = frozenset({"drop", "duplicate", "delay", "bad-signature", "reset"})
_REPORT = _DOCUMENT | {"reorder"}

# Where, and what can go wrong there; sandbox/README.md explains each.
KINDS: dict[str, frozenset[str]] = {
    "rest.create": _REST | {"early"},
    **dict.fromkeys(
        (
            "rest.fetch", "rest.list", "rest.update", "rest.delete", "rest.account", "rest.numbers",
            "rest.caller-ids", "rest.recordings.list", "rest.recordings.fetch",
            "rest.recordings.create", "rest.recordings.update", "rest.recordings.delete",
            "rest.none",
        ),
        _REST,
    ),
    "webhook.voice": _DOCUMENT,
    "webhook.fallback": _DOCUMENT,
    "webhook.status": _REPORT | {"late"},
    "webhook.amd": _REPORT | {"late"},
    "webhook.recording": _REPORT | {"early"},
    "webhook.stream": _REPORT,
    "stream": frozenset(
        {
            "refuse", "bad-signature", "no-start", "no-stop", "drop-marks", "bad-frames",
            "duplicate", "reset", "half-open", "stop-reading", "burst", "gap", "jitter",
        }
    ),
    "recording.media": frozenset(
        {
            "status", "reset", "hang", "delay", "not-ready", "truncate", "html", "xml", "mono",
            "empty", "silence", "redirect", "endless", "json",
        }
    ),
    "recording": frozenset({"absent", "never", "delay"}),
}  # fmt: skip

_SECONDS = ("delay", "reset", "half-open", "burst", "gap", "jitter", "not-ready", "truncate",
            "stop-reading")  # fmt: skip
# What must follow the colon of other kinds, and how to say so.
_ARGUMENTS = {
    "code": (r"[0-9]{5}", "an error code of five digits"),
    "status": (r"([1-5][0-9]{2})?", "an HTTP status"),
    "after": (r"([1-5][0-9]{2}|reset|hang|html)?", "an HTTP status, reset, hang or html"),
    "redirect": (r"https?://.+", "an address"),
}


@dataclass(slots=True)
class Fault:
    """One order: `where` may end in `*`; `what` is `kind` or `kind:argument`."""

    where: str
    what: str
    times: int = 1
    call: str = ""
    """Only for calls to this number, if given."""

    @property
    def kind(self) -> str:
        return self.what.partition(":")[0]

    @property
    def argument(self) -> str:
        return self.what.partition(":")[2]

    @property
    def seconds(self) -> float:
        """The argument as a number, 0 without one."""
        return float(self.argument or 0)

    def is_for(self, where: str, kinds: tuple[str, ...], call: str) -> bool:
        if self.where.endswith("*"):
            here = where.startswith(self.where[:-1])
        else:
            # A webhook's place ends in its event: an order may name it or leave it open.
            here = where == self.where or (
                self.where.startswith("webhook.") and where.startswith(f"{self.where}.")
            )
        return here and (not kinds or self.kind in kinds) and self.call in ("", call)


class FaultError(ValueError):
    """The order cannot be carried out; the text names the field and the fix."""


class Faults:
    """The orders that are still open."""

    def __init__(self) -> None:
        self._open: list[Fault] = []

    def add(self, order: dict[str, Any]) -> Fault:
        """Take an order as the control API receives it; raises FaultError."""
        unknown = set(order) - {"where", "what", "times", "call"}
        if unknown:
            raise FaultError(f"{min(unknown)}: not a field; use where, what, times, call.")
        where, what = order.get("where"), order.get("what")
        if not isinstance(where, str) or not where:
            raise FaultError("where: missing; for example rest.create, webhook.status or stream.")
        if not isinstance(what, str) or not what:
            raise FaultError("what: missing; for example status:500, drop or delay:2.0.")
        call = order.get("call") or ""
        if not isinstance(call, str):
            raise FaultError(f"call: must be a number such as +14155550123, not {call!r}.")
        fault = Fault(where, what, read_times(order) or FOR_EVER, call)
        _check_kind(fault)
        self._open.append(fault)
        return fault

    def take(self, where: str, *kinds: str, call: str = "") -> Fault | None:
        """Return the first open fault for this place (and of these kinds), and use it up once."""
        for fault in self._open:
            if fault.is_for(where, kinds, call):
                fault.times -= 1
                if fault.times <= 0:
                    self._open.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        self._open.clear()

    def __iter__(self) -> Any:
        return iter(list(self._open))


def read_times(order: dict[str, Any]) -> int:
    """How often a fault was ordered; 0 is for ever. Raises FaultError."""
    times = order.get("times", 1)
    if isinstance(times, bool) or not isinstance(times, int) or times < 0:
        raise FaultError("times: must be a whole number; 0 means for ever.")
    return times


def _kinds_at(where: str) -> frozenset[str]:
    """What can go wrong at the places that `where` names; nothing if there is no such place."""
    start = where.removesuffix("*")
    found = [
        kinds
        for place, kinds in KINDS.items()
        if where == place
        or (place.startswith("webhook.") and where.startswith(f"{place}."))
        or (where.endswith("*") and place.startswith(start))
    ]
    return frozenset().union(*found)


def _check_kind(fault: Fault) -> None:
    known = _kinds_at(fault.where)
    if not known:
        raise FaultError(f"where: {fault.where!r} is no such place; use one of {sorted(KINDS)}.")
    if fault.kind not in known:
        raise FaultError(f"what: {fault.kind!r} is unknown at {fault.where}; use {sorted(known)}.")
    if fault.kind in _SECONDS and fault.argument:
        _check_number(fault)
    pattern, meaning = _ARGUMENTS.get(fault.kind, (".*", ""))
    if not re.fullmatch(pattern, fault.argument):
        raise FaultError(f"what: {fault.what!r} needs {meaning} after the colon.")


def _check_number(fault: Fault) -> None:
    try:
        number = float(fault.argument)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise FaultError(f"what: {fault.what!r} needs a number from 0 upwards after the colon.")
