"""What a conversation is told about its call: frozen when the call is asked for.

A later edit of the agent or the recipient does not reach a call that is already on its way.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self


class OpeningKind(StrEnum):
    """Who says the first word."""

    SPEAKS_FIRST = "speaks_first"
    LISTENS_FIRST = "listens_first"
    VERBATIM = "verbatim"


class AudioFormat(StrEnum):
    """What we exchange with the model: 24 kHz PCM16, converted, or 8 kHz mu-law, passed through."""

    PCM = "audio/pcm"
    PCMU = "audio/pcmu"


class TurnDetection(StrEnum):
    """How the model decides that the person has finished speaking."""

    SERVER_VAD = "server_vad"
    SEMANTIC_VAD = "semantic_vad"


class NoiseReduction(StrEnum):
    """The model's filter for the caller's microphone."""

    NONE = "none"
    NEAR_FIELD = "near_field"
    FAR_FIELD = "far_field"


@dataclass(frozen=True, slots=True)
class Opening:
    """The first words: `wait_s` counts for `listens_first`, `text` for `verbatim`."""

    kind: OpeningKind = OpeningKind.SPEAKS_FIRST
    wait_s: float = 3.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Brief:
    """Everything the conversation needs; `instructions` are rendered, house rules included."""

    agent: str
    model: str
    voice: str
    instructions: str
    opening: Opening = field(default_factory=Opening)
    language: str = "en"
    turn_detection: TurnDetection = TurnDetection.SERVER_VAD
    vad_threshold: float = 0.5
    vad_silence_ms: int = 500
    noise_reduction: NoiseReduction = NoiseReduction.NONE
    audio_format: AudioFormat = AudioFormat.PCM
    transcription_model: str = "gpt-transcribe"
    max_duration_s: int = 600
    silence_s: int = 10
    tools: tuple[str, ...] = ("end_call",)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for the call's row."""
        return {**asdict(self), "tools": list(self.tools)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` wrote; unknown keys of a newer release are ignored.

        Raises:
            KeyError, TypeError, ValueError: the JSON was not written by `to_json`.
        """
        known = {f.name for f in fields(cls)}
        values = {k: v for k, v in data.items() if k in known}
        opening = dict(values.pop("opening", {}))
        if "kind" in opening:
            opening["kind"] = OpeningKind(opening["kind"])
        enums = {
            "turn_detection": TurnDetection,
            "noise_reduction": NoiseReduction,
            "audio_format": AudioFormat,
        }
        for name, enum in enums.items():
            if name in values:
                values[name] = enum(values[name])
        values["tools"] = tuple(values.get("tools", ()))
        return cls(**values, opening=Opening(**opening))
