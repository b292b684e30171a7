"""What a tester may change about the model's manners."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from sandbox.openai.replies import BadScript, Pace, number, pace_of

TRANSCRIPTIONS = ("before", "during", "after", "failed", "never")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Settings of every session opened from now on."""

    pace: Pace = field(default_factory=Pace)
    transcription: str = "during"
    """When the caller's words arrive: before, during or after the response; or failed, never."""
    transcription_ms: int = 300
    obfuscation: bool = False
    """Deltas carry padding, as OpenAI's own do at times."""
    unknown_events: bool = False
    """Events and fields that no client knows yet are sent as well."""
    session_s: float = 3600.0
    ping_s: float = 20.0
    rate_limits_ms: int = 43
    """How long after `response.done` the rate limits follow."""

    def changed(self, data: object) -> Behaviour:
        """With other settings. Raises BadScript, which names the field."""
        if not isinstance(data, dict):
            raise BadScript("settings must be an object such as {'pace': 8.0}")
        result = replace(self, pace=pace_of(data, self.pace, "settings"))
        known = {f.name for f in fields(Behaviour)} | {f.name for f in fields(Pace)}
        for name, value in data.items():
            if name not in known:
                raise BadScript(f"settings.{name} is unknown; known are {', '.join(sorted(known))}")
            if name not in {f.name for f in fields(Pace)}:
                changes: dict[str, Any] = {name: _checked(name, value)}
                result = replace(result, **changes)
        return result

    def to_json(self) -> dict[str, Any]:
        """As the control API shows and takes it."""
        data = asdict(self)
        return {**data.pop("pace"), **data}


def _checked(name: str, value: object) -> Any:
    where = f"settings.{name}"
    if name == "transcription":
        if value not in TRANSCRIPTIONS:
            raise BadScript(f"{where} must be one of {', '.join(TRANSCRIPTIONS)}")
        return value
    if name in ("obfuscation", "unknown_events"):
        if not isinstance(value, bool):
            raise BadScript(f"{where} must be true or false")
        return value
    if name in ("transcription_ms", "rate_limits_ms"):
        return int(number(value, where, 0, 600_000))
    return float(number(value, where, 0.05, 86_400))
