"""Recorded speech for both sides of a call: the sandbox's people and its model."""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Clip:
    """One recorded sentence."""

    id: str
    speaker: str
    """`person` (8 kHz) or `agent` (24 kHz)."""
    text: str
    rate_hz: int
    pcm: bytes
    """Mono, signed 16-bit little-endian."""

    @property
    def duration_ms(self) -> int:
        return len(self.pcm) // 2 * 1000 // self.rate_hz


@cache
def load() -> dict[str, Clip]:
    """Return every clip by id (`agent.greeting`, `person.yes`, …); read once per process."""
    index = json.loads((HERE / "index.json").read_text(encoding="utf-8"))
    return {clip_id: _read(clip_id, **entry) for clip_id, entry in index.items()}


def find(text: str, speaker: str) -> Clip | None:
    """Return the speaker's clip of this text; case, spaces and punctuation do not matter."""
    return _by_text().get((speaker, _plain(text)))


@cache
def _by_text() -> dict[tuple[str, str], Clip]:
    return {(clip.speaker, _plain(clip.text)): clip for clip in load().values()}


def _plain(text: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in text.lower())
    return " ".join(words.split())


def _read(clip_id: str, *, file: str, text: str, speaker: str) -> Clip:
    with wave.open(str(HERE / file), "rb") as wav:
        pcm = wav.readframes(wav.getnframes())
        return Clip(clip_id, speaker, text, wav.getframerate(), pcm)
