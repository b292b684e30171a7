"""The statuses of a call, their rank, and which may follow which.

The words are Twilio's own, plus the four that only we can know: `dialing`, `unknown`, `blocked`
and `expired`.

Source: Twilio, Call resource, "Call status values".
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a call is on its way."""

    QUEUED = "queued"
    """Asked for; nobody has dialled yet."""
    DIALING = "dialing"
    """Claimed by a worker that is asking Twilio right now."""
    UNKNOWN = "unknown"
    """Twilio was asked and the answer was lost: it is never dialled again before it is settled."""
    INITIATED = "initiated"
    """Twilio has accepted the call and given it a SID."""
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    FAILED = "failed"
    CANCELED = "canceled"
    BLOCKED = "blocked"
    """A rule forbade the call at the last moment (do-not-call, dialling paused for good)."""
    EXPIRED = "expired"
    """The hours in which it was allowed passed before it could be dialled."""

    @property
    def label(self) -> str:
        return _LABELS[self]

    @property
    def rank(self) -> int:
        """Reports may only raise the rank; every terminal status shares the highest."""
        return _RANK[self]

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


_LABELS: dict[Status, str] = {
    Status.QUEUED: "Waiting to be dialled",
    Status.DIALING: "Dialling",
    Status.UNKNOWN: "Checking with Twilio",
    Status.INITIATED: "Dialled",
    Status.RINGING: "Ringing",
    Status.IN_PROGRESS: "Talking",
    Status.COMPLETED: "Completed",
    Status.BUSY: "Busy",
    Status.NO_ANSWER: "No answer",
    Status.FAILED: "Failed",
    Status.CANCELED: "Cancelled",
    Status.BLOCKED: "Not allowed",
    Status.EXPIRED: "Too late to call",
}

TERMINAL = frozenset(
    {
        Status.COMPLETED,
        Status.BUSY,
        Status.NO_ANSWER,
        Status.FAILED,
        Status.CANCELED,
        Status.BLOCKED,
        Status.EXPIRED,
    }
)
LIVE = frozenset(set(Status) - TERMINAL)
"""Statuses in which the number is taken: no second call to it may exist."""
AT_TWILIO = frozenset({Status.INITIATED, Status.RINGING, Status.IN_PROGRESS})
"""Statuses in which Twilio knows the call by its SID."""

_RANK: dict[Status, int] = {
    Status.QUEUED: 0,
    Status.DIALING: 1,
    Status.UNKNOWN: 2,
    Status.INITIATED: 3,
    Status.RINGING: 4,
    Status.IN_PROGRESS: 5,
    **dict.fromkeys(TERMINAL, 6),
}


def may_follow(status: Status) -> frozenset[Status]:
    """The statuses from which a report of `status` moves a call: all of a lower rank."""
    return frozenset(s for s in Status if s.rank < status.rank)


class EndReason(StrEnum):
    """Why a conversation ended, or why a call never became one."""

    AGENT_ENDED = "agent_ended"
    RECIPIENT_HUNG_UP = "recipient_hung_up"
    STAFF_HUNG_UP = "staff_hung_up"
    MAX_DURATION = "max_duration"
    SILENCE = "silence"
    MODEL_FAILED = "model_failed"
    STREAM_LOST = "stream_lost"
    VOICEMAIL = "voicemail"
    NOT_REACHED = "not_reached"
    REJECTED = "rejected"
    NOT_ALLOWED = "not_allowed"
    CANCELED = "canceled"
    INTERNAL_ERROR = "internal_error"

    @property
    def label(self) -> str:
        return _REASONS[self]


_REASONS: dict[EndReason, str] = {
    EndReason.AGENT_ENDED: "The agent said goodbye and hung up",
    EndReason.RECIPIENT_HUNG_UP: "The person hung up",
    EndReason.STAFF_HUNG_UP: "A member of staff hung up",
    EndReason.MAX_DURATION: "The call reached its maximum duration",
    EndReason.SILENCE: "Nobody spoke any more",
    EndReason.MODEL_FAILED: "The AI model failed during the call",
    EndReason.STREAM_LOST: "The audio connection was lost",
    EndReason.VOICEMAIL: "An answering machine picked up",
    EndReason.NOT_REACHED: "The person was not reached",
    EndReason.REJECTED: "Twilio refused the call",
    EndReason.NOT_ALLOWED: "A rule did not allow the call",
    EndReason.CANCELED: "The call was cancelled before it was answered",
    EndReason.INTERNAL_ERROR: "An error on our side ended the call",
}
