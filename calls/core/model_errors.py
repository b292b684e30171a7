"""The Realtime API's error codes in plain words: what happened, and what to do about it.

Source: OpenAI, Realtime API guide and error code reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ModelFault:
    """What a code means to staff; `stops_dialling`: every other call would fail as well."""

    what: str
    fix: str
    stops_dialling: bool = False

    def __str__(self) -> str:
        return f"{self.what} {self.fix}"


_KEY = ModelFault(
    "OpenAI does not accept our key.",
    "Check OPENAI_API_KEY, restart, then lift the pause.",
    stops_dialling=True,
)
_PERMISSION = ModelFault(
    "OpenAI denies our key the use of the Realtime API.",
    "Give the key's project access to Realtime models, then lift the pause.",
    stops_dialling=True,
)
_FUNDS = ModelFault(
    "The OpenAI account has run out of funds or reached its limit.",
    "Check billing and limits at OpenAI, then lift the pause.",
    stops_dialling=True,
)
_MODEL = ModelFault(
    "OpenAI does not offer this agent's model to us.",
    "Choose another model in the agent's form, then lift the pause.",
    stops_dialling=True,
)
_BUSY = ModelFault(
    "OpenAI asked us to slow down.", "Call again later, or ask OpenAI for a higher rate limit."
)
_FAULTS: Final[dict[str, ModelFault]] = {
    "invalid_api_key": _KEY,
    "http_401": _KEY,
    "insufficient_permissions": _PERMISSION,
    "http_403": _PERMISSION,
    "insufficient_quota": _FUNDS,
    "billing_hard_limit_reached": _FUNDS,
    "account_deactivated": ModelFault(
        "The OpenAI account is deactivated.",
        "Ask OpenAI's support, then lift the pause.",
        stops_dialling=True,
    ),
    "model_not_found": _MODEL,
    "invalid_model": _MODEL,
    "missing_model": _MODEL,
    "rate_limit_exceeded": _BUSY,
    "http_429": _BUSY,
    "session_expired": ModelFault(
        "The model's session reached its longest duration.",
        "Give the agent a shorter maximum duration.",
    ),
}


def explain(code: str) -> ModelFault | None:
    """What a code means, or None where it explains nothing to staff."""
    return _FAULTS.get(code)
