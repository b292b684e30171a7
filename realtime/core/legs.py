"""When a leg counts as dead: nothing is waited for without an end."""

from __future__ import annotations

from dataclasses import dataclass

from calls.core.lifecycle import EndReason

CONNECT_DEADLINE_S = 10.0
ANSWER_DEADLINE_S = 10.0
NO_FRAME_S = 5.0
RECEIPT_OVERDUE_S = 10.0

Fault = tuple[EndReason | None, str]


@dataclass(frozen=True, slots=True)
class Legs:
    """For how long each leg has been silent when it should not be, in seconds."""

    quiet_phone_s: float
    overdue_receipt_s: float
    connecting_s: float
    owed_answer_s: float

    def fault(self) -> Fault | None:
        """Why the conversation cannot go on; reason None: only the stream is lost.

        Twilio sends a frame every 20 ms, silence included.
        """
        if self.quiet_phone_s > NO_FRAME_S:
            return None, f"No audio from the phone for {NO_FRAME_S:.0f} s."
        if self.overdue_receipt_s > RECEIPT_OVERDUE_S:
            return None, "The phone stopped confirming what it played."
        if self.connecting_s > CONNECT_DEADLINE_S:
            return EndReason.MODEL_FAILED, "The model was not ready in time."
        if self.owed_answer_s > ANSWER_DEADLINE_S:
            return EndReason.MODEL_FAILED, "The model stopped answering."
        return None
