"""The models and keys that the sandbox knows.

Source: OpenAI, Models and Deprecations pages, as of November 2026.
"""

from __future__ import annotations

import re

from sandbox.openai import errors
from sandbox.openai.errors import Json, RealtimeError

_REALTIME: dict[str, str | None] = {
    "gpt-realtime-2.1": None,
    "gpt-realtime-2.1-mini": None,
    "gpt-realtime-2": None,
    "gpt-realtime-1.5": None,
    "gpt-realtime": "2027-01-20",
    "gpt-realtime-2025-08-28": "2027-01-20",
    "gpt-realtime-mini": "2027-01-20",
    "gpt-realtime-mini-2025-12-15": "2027-01-20",
}
_OTHERS: dict[str, str | None] = {
    "gpt-live-1": None,
    "gpt-live-1.1": None,
    "gpt-transcribe": None,
    "gpt-live-transcribe": None,
    "gpt-realtime-whisper": None,
    "whisper-1": "2027-02-26",
    "gpt-4o-transcribe": "2027-02-26",
    "gpt-4o-mini-transcribe": "2027-02-26",
}
_CREATED = 1_760_000_000


def check(model: str | None) -> str:
    """The model, if a Realtime session may use it. Raises RealtimeError."""
    if not model:
        raise errors.missing_model()
    if model in _OTHERS:
        raise errors.invalid_model(model)
    if model not in _REALTIME:
        raise errors.model_not_found(model)
    return model


def reasons(model: str) -> bool:
    """Whether it is of the second generation; "gpt-realtime-2025-08-28" is of the first."""
    return re.match(r"gpt-realtime-2(\.|$)", model) is not None


def listed() -> Json:
    """`GET /v1/models`."""
    return {"object": "list", "data": [_shown(m) for m in (*_REALTIME, *_OTHERS)]}


def one(model: str) -> Json:
    """`GET /v1/models/{id}`. Raises RealtimeError."""
    if model not in _REALTIME and model not in _OTHERS:
        raise RealtimeError(
            "model_not_found",
            f"The model '{model}' does not exist or you do not have access to it.",
            param="model",
        )
    return _shown(model)


def _shown(model: str) -> Json:
    return {
        "id": model,
        "object": "model",
        "created": _CREATED,
        "owned_by": "system",
        "shutdown_date": {**_REALTIME, **_OTHERS}[model],
    }
