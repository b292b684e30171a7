"""What a probe found, and how probes are run: one after the other, each with a deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from django.db import connections

DEADLINE_S = 15.0


class Trouble(Exception):
    """A probe found a fault: what is wrong, and how to mend it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Probe:
    """One question. `ask` returns what is well, in a few words, or raises `Trouble`."""

    name: str
    ask: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question; `fix` is empty where all is well."""

    name: str
    text: str
    fix: str = ""

    @property
    def is_well(self) -> bool:
        return not self.fix

    def __str__(self) -> str:
        # One line, whatever a library put into its message.
        text = " ".join(self.text.split()).rstrip(".")
        if self.is_well:
            return f"ok    {self.name}: {text}"
        return f"FAIL  {self.name}: {text}. Fix: {self.fix}"


def examine(probes: Iterable[Probe], *, deadline_s: float = DEADLINE_S) -> Iterator[Finding]:
    """Ask the probes in turn."""
    for probe in probes:
        yield _examine(probe, deadline_s)


def _examine(probe: Probe, deadline_s: float) -> Finding:
    """On a thread of its own: whatever the probe hangs in, the doctor goes on."""
    findings: list[Finding] = []

    def run() -> None:
        try:
            findings.append(Finding(probe.name, probe.ask()))
        except Trouble as trouble:
            findings.append(Finding(probe.name, trouble.what, trouble.fix))
        except Exception as exc:  # noqa: BLE001 - a fault of the probe must not hide the others
            text = f"the check itself failed: {type(exc).__name__}: {exc}"
            findings.append(Finding(probe.name, text, "report this as a bug"))
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name=f"doctor: {probe.name}", daemon=True)
    thread.start()
    thread.join(deadline_s)
    if findings:
        return findings[0]
    return Finding(
        probe.name,
        f"no answer within {deadline_s:g} s",
        "look at what it depends on: a firewall that drops packets, a server that hangs",
    )
