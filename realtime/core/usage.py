"""Usage as the vendor reports it, as facts.

Source: OpenAI, Realtime API reference, `response.done` and transcription usage.
"""

from __future__ import annotations

from typing import Any

from calls.core.facts import TokensUsed
from realtime.core.realtime_events import MAX_MS, ResponseDone, Transcribed


def _count(details: Any, name: str) -> int:
    value = details.get(name) if isinstance(details, dict) else None
    return value if isinstance(value, int) and 0 <= value < 10**9 else 0


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < MAX_MS / 1000 else None


def of_response(call_id: str, done: ResponseDone, model: str) -> TokensUsed | None:
    """Tokens of one response; cancelled and failed ones carry usage too. None without usage."""
    if not done.usage:
        return None
    inputs = done.usage.get("input_token_details") or {}
    outputs = done.usage.get("output_token_details") or {}
    cached = inputs.get("cached_tokens_details") if isinstance(inputs, dict) else None
    if not isinstance(cached, dict):
        # Documented as optional: then assume that text was cached before audio.
        total = _count(inputs, "cached_tokens")
        text = min(total, _count(inputs, "text_tokens"))
        cached = {"text_tokens": text, "audio_tokens": total - text}
    return TokensUsed(
        call_id,
        done.response_id,
        "response",
        model,
        status=done.status,
        text_in=_count(inputs, "text_tokens"),
        audio_in=_count(inputs, "audio_tokens"),
        image_in=_count(inputs, "image_tokens"),
        cached_text_in=_count(cached, "text_tokens"),
        cached_audio_in=_count(cached, "audio_tokens"),
        cached_image_in=_count(cached, "image_tokens"),
        text_out=_count(outputs, "text_tokens"),
        audio_out=_count(outputs, "audio_tokens"),
    )


def of_transcription(call_id: str, event: Transcribed, model: str) -> TokensUsed:
    """Usage of one transcription: by tokens or by seconds, depending on its model."""
    details = event.usage.get("input_token_details") or {}
    return TokensUsed(
        call_id,
        event.item_id,
        "transcription",
        model,
        text_in=_count(details, "text_tokens"),
        audio_in=_count(details, "audio_tokens"),
        text_out=_count(event.usage, "output_tokens"),
        seconds=_seconds(event.usage.get("seconds")),
    )
