"""What both ends of the line wrote down. Times are seconds of the machine's monotonic clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson


@dataclass(slots=True)
class Reply:
    """One reply of the model: when each delta left, and when the person barged in, if they did."""

    reply_ms: int
    sent_at: list[float] = field(default_factory=list)
    ends_ms: list[int] = field(default_factory=list)
    is_whole: bool = False
    cut_at: float | None = None


@dataclass(slots=True)
class ModelCall:
    """One session at the model: the audio that arrived, and the replies that it gave."""

    name: str
    audio_format: str
    appended_at: list[float] = field(default_factory=list)
    appended_bytes: list[int] = field(default_factory=list)  # cumulative
    pulses: list[int] = field(default_factory=list)  # positions in bytes
    replies: list[Reply] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class PhoneCall:
    """One call on the phone network: the frames that it sent, and the audio that arrived."""

    name: str
    started_at: float = 0.0
    sent_at: list[float] = field(default_factory=list)
    media_at: list[float] = field(default_factory=list)
    media_bytes: list[int] = field(default_factory=list)  # cumulative
    heads: list[int] = field(default_factory=list)  # positions in bytes
    cleared_at: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Lateness:
    """How far a load client was behind its own clock, in seconds: one sample per due time."""

    samples: list[float] = field(default_factory=list)


def write(path: Path, calls: list[Any], lateness: Lateness) -> None:
    """Keep the records of one end."""
    path.write_bytes(
        orjson.dumps({"calls": [asdict(call) for call in calls], "lateness": lateness.samples})
    )


def read_phone(path: Path) -> tuple[dict[str, PhoneCall], Lateness]:
    """The phone network's records, by call."""
    data = orjson.loads(path.read_bytes())
    calls = {call["name"]: PhoneCall(**call) for call in data["calls"]}
    return calls, Lateness(data["lateness"])


def read_model(path: Path) -> tuple[dict[str, ModelCall], Lateness]:
    """The model's records, by call."""
    data = orjson.loads(path.read_bytes())
    calls = {}
    for call in data["calls"]:
        call["replies"] = [Reply(**reply) for reply in call["replies"]]
        calls[call["name"]] = ModelCall(**call)
    return calls, Lateness(data["lateness"])
