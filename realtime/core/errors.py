"""What to do about an error of the model.

Source: OpenAI, Realtime API guide, "Error handling"; error codes as observed on the wire.
"""

from __future__ import annotations

from enum import Enum


class Severity(Enum):
    """How an error bears on the conversation."""

    BENIGN = "benign"
    """A race that resolves itself."""
    RETRY = "retry"
    """Ask once more."""
    FATAL = "fatal"
    """The conversation cannot go on."""


_BENIGN = {
    "response_cancel_not_active",
    "conversation_already_has_active_response",
    "input_audio_buffer_commit_empty",
    "item_truncate_invalid_item_id",
}
_FATAL = {
    "session_expired",
    "invalid_api_key",
    "insufficient_permissions",
    "model_not_found",
    "invalid_model",
    "missing_model",
    "beta_api_shape_disabled",
    "insufficient_quota",
    "account_deactivated",
    "billing_hard_limit_reached",
}


def severity(code: str, event_id: str = "") -> Severity:
    """Of an `error` event or a failed response; an unknown code is worth one more try."""
    if code in _FATAL or event_id == "configure":
        # A refused configuration leaves a session that does not know its task.
        return Severity.FATAL
    if code in _BENIGN or event_id.startswith("truncate-") or event_id == "cancel":
        return Severity.BENIGN
    return Severity.RETRY
