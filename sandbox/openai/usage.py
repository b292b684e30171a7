"""Tokens of a response, counted from what was really heard and said.

User audio is one token for 100 ms, the model's own one for 50 ms, text about one for four letters.
Every response is billed for the whole conversation again; the part that stood at the same place
in the previous response's input is cached, in steps of 64. Source: OpenAI, Realtime costs guide.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sandbox.openai.conversation import Item
from sandbox.openai.errors import Json

_PER_MESSAGE = 4
_CACHE_STEP = 64


@dataclass(frozen=True, slots=True)
class Share:
    """What one piece of the input costs; equal shares at equal places are cached."""

    key: str
    text: int
    audio: int


def text_tokens(text: str) -> int:
    """About how many tokens a text is."""
    return math.ceil(len(text) / 4)


def spoken_tokens(audio_ms: float) -> int:
    """Tokens of the model's own audio."""
    return math.ceil(audio_ms / 50)


def heard_tokens(audio_ms: float) -> int:
    """Tokens of a person's audio."""
    return math.ceil(audio_ms / 100)


def input_shares(instructions: str, tools: Sequence[Json], items: Iterable[Item]) -> list[Share]:
    """The input of a response, piece by piece."""
    header = instructions + (json.dumps(tools) if tools else "")
    shares = [Share(header, text_tokens(header) + _PER_MESSAGE, 0)]
    for item in items:
        spoken = item.role == "assistant"
        audio = spoken_tokens(item.audio_ms) if spoken else heard_tokens(item.audio_ms)
        # What a person said is heard, not read: only written words count as text.
        words = item.text if spoken or not item.audio else ""
        shares.append(Share(f"{item.id}:{words}", text_tokens(words) + _PER_MESSAGE, audio))
    return shares


class Meter:
    """Counts the responses of one session."""

    def __init__(self) -> None:
        self._previous: list[Share] = []

    def measure(self, shares: list[Share], *, text_out: int, audio_out: int) -> Json:
        """The `usage` of a response; remembers its input for the next one's cache."""
        same = 0
        for ours, theirs in zip(shares, self._previous, strict=False):
            if ours != theirs:
                break
            same += 1
        self._previous = shares
        text = sum(s.text for s in shares[:same])
        cached = _stepped(text + sum(s.audio for s in shares[:same]))
        cached_text = min(text, cached)
        cached_audio = cached - cached_text
        text_in, audio_in = sum(s.text for s in shares), sum(s.audio for s in shares)
        return {
            "total_tokens": text_in + audio_in + text_out + audio_out,
            "input_tokens": text_in + audio_in,
            "output_tokens": text_out + audio_out,
            "input_token_details": {
                "text_tokens": text_in,
                "audio_tokens": audio_in,
                "image_tokens": 0,
                "cached_tokens": cached,
                "cached_tokens_details": {
                    "text_tokens": cached_text,
                    "audio_tokens": cached_audio,
                    "image_tokens": 0,
                },
            },
            "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
        }


def transcription_usage(model: str, audio_ms: float, text: str) -> Json:
    """Usage of a transcription: by time or by tokens, as the model is priced."""
    if not model.startswith("gpt-4o"):
        return {"type": "duration", "seconds": round(audio_ms / 1000, 3)}
    audio, words = heard_tokens(audio_ms), text_tokens(text)
    return {
        "type": "tokens",
        "total_tokens": audio + words,
        "input_tokens": audio,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio},
        "output_tokens": words,
    }


def _stepped(tokens: int) -> int:
    return tokens - tokens % _CACHE_STEP
