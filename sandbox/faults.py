"""Faults on order: where something goes wrong next, how, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FOR_EVER = 1_000_000

# Where, and what can go wrong there; sandbox/README.md explains each.
KINDS: dict[str, frozenset[str]] = {
    "rest": frozenset(
        {"status", "code", "after", "reset", "hang", "429", "html", "delay", "early"}
    ),
    "webhook": frozenset(
        {"drop", "duplicate", "reorder", "bad-signature", "delay", "reset", "early", "late"}
    ),
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
        times = order.get("times", 1)
        if not isinstance(times, int) or times < 0:
            raise FaultError("times: must be a whole number; 0 means for ever.")
        fault = Fault(where, what, times or FOR_EVER, str(order.get("call") or ""))
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


def _check_kind(fault: Fault) -> None:
    place = fault.where.rstrip("*").rstrip(".")
    known = KINDS.get(place) or KINDS.get(place.partition(".")[0])
    if known is None:
        return  # openai.*: that half reads its own
    if fault.kind not in known:
        raise FaultError(f"what: {fault.kind!r} is unknown at {fault.where}; use {sorted(known)}.")
    numeric = {"delay", "reset", "half-open", "burst", "gap", "jitter", "not-ready", "truncate"}
    if fault.kind in numeric and fault.argument:
        try:
            float(fault.argument)
        except ValueError:
            raise FaultError(f"what: {fault.what!r} needs a number after the colon.") from None
