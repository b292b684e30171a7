"""The Realtime API's error codes in plain words: what happened, and what to do about it.

Source: OpenAI, Realtime API guide and error code reference.
"""

from __future__ import annotations

from typing import Final

from calls.core.explanation import Explanation

_KEY = Explanation(
    "OpenAI does not accept our key.",
    "Check OPENAI_API_KEY, restart, then lift the pause.",
    stops_dialling=True,
)
_PERMISSION = Explanation(
    "OpenAI denies our key the use of the Realtime API.",
    "Give the key's project access to Realtime models, then lift the pause.",
    stops_dialling=True,
)
_FUNDS = Explanation(
    "The OpenAI account has run out of funds or reached its limit.",
    "Check billing and limits at OpenAI, then lift the pause.",
    stops_dialling=True,
)
_MODEL = Explanation(
    "OpenAI does not offer this agent's model to us.",
    "Choose another model in the agent's form, then lift the pause.",
    stops_dialling=True,
)
_BUSY = Explanation(
    "OpenAI asked us to slow down.", "Call again later, or ask OpenAI for a higher rate limit."
)
_FAULTS: Final[dict[str, Explanation]] = {
    "invalid_api_key": _KEY,
    "http_401": _KEY,
    "insufficient_permissions": _PERMISSION,
    "http_403": _PERMISSION,
    "insufficient_quota": _FUNDS,
    "billing_hard_limit_reached": _FUNDS,
    "account_deactivated": Explanation(
        "The OpenAI account is deactivated.",
        "Ask OpenAI's support, then lift the pause.",
        stops_dialling=True,
    ),
    "model_not_found": _MODEL,
    "invalid_model": _MODEL,
    "missing_model": _MODEL,
    "rate_limit_exceeded": _BUSY,
    "http_429": _BUSY,
    "session_expired": Explanation(
        "The model's session reached its longest duration.",
        "Give the agent a shorter maximum duration.",
    ),
}


def explain(code: str) -> Explanation | None:
    """What a code means, or None where it explains nothing to staff."""
    return _FAULTS.get(code)
