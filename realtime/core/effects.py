"""What a session asks its shell to do, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calls.core.facts import Fact
from calls.core.lifecycle import EndReason


@dataclass(frozen=True, slots=True)
class ToPhone:
    """Send this text to Twilio."""

    text: str


@dataclass(frozen=True, slots=True)
class ToModel:
    """Send this text to the model; it may wait, but is never lost."""

    text: str


@dataclass(frozen=True, slots=True)
class AudioToModel:
    """Send this text to the model; when the connection stalls, the oldest of these goes first."""

    text: str


@dataclass(frozen=True, slots=True)
class Record:
    """Write this down."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a tool off the audio path and report with `tool_finished`."""

    call_id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finish:
    """Close both legs. `reason` None: the stream was lost, and the call may come back."""

    reason: EndReason | None
    detail: str = ""
    code: str = ""  # the model's error code, where it has one


Effect = ToPhone | ToModel | AudioToModel | Record | RunTool | Finish
