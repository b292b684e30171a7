"""The last words: which response may still be heard, and until when we wait for it."""

from __future__ import annotations

from calls.core.lifecycle import EndReason

GOODBYE_DEADLINE_S = 15.0


class Closing:
    """A conversation that is over but for its goodbye. Times are seconds."""

    def __init__(self, reason: EndReason, now: float, *, spoken_by: str = "") -> None:
        """`spoken_by`: the response that hung up, if the agent did; it may hold the goodbye."""
        self.reason = reason
        self._deadline = now + GOODBYE_DEADLINE_S
        self._response_id = spoken_by
        # An agent that hangs up without a word owes the person one.
        self._may_owe_goodbye = bool(spoken_by)
        self.waits_for_response = True

    def is_overdue(self, now: float) -> bool:
        """Whether the goodbye has taken too long to come; hearing it takes the time it takes."""
        return self.waits_for_response and now >= self._deadline

    def response_started(self, response_id: str, *, is_goodbye: bool) -> bool:
        """Whether this response may be heard."""
        if is_goodbye:
            self._response_id = response_id
        return is_goodbye

    def response_done(self, response_id: str, *, was_heard: bool) -> bool:
        """The response ended; True if a goodbye has to be asked for now."""
        if response_id != self._response_id:
            return False
        if self._may_owe_goodbye and not was_heard:
            self._may_owe_goodbye, self._response_id = False, ""
            return True
        self.waits_for_response = False
        return False

    def give_up_waiting(self) -> None:
        """Nothing more will come; what was sent may still be heard."""
        self.waits_for_response = False
