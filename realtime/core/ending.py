"""How a conversation comes to its end: last words, the reason on record, both legs let go."""

from __future__ import annotations

from calls.core.facts import ConversationEnded
from calls.core.lifecycle import EndReason
from realtime.core import realtime_api
from realtime.core.call import SessionCall
from realtime.core.closing import Closing
from realtime.core.dialogue import Dialogue
from realtime.core.effects import Finish
from realtime.core.outbox import Outbox
from realtime.core.responses import Responses

# The recipient's last words are still being transcribed when the line is cut.
LAST_WORDS_S = 0.8
# Endings after which the model can still tell what they were.
_SETTLED = {
    EndReason.AGENT_ENDED,
    EndReason.RECIPIENT_HUNG_UP,
    EndReason.MAX_DURATION,
    EndReason.SILENCE,
}


class Ending:
    """The end, once. `closing` is set while only a goodbye is left to be heard."""

    def __init__(
        self, call: SessionCall, out: Outbox, dialogue: Dialogue, responses: Responses
    ) -> None:
        self._call = call
        self._out = out
        self._dialogue = dialogue
        self._responses = responses
        self._last: Finish | None = None
        self._let_go_at = 0.0
        self.closing: Closing | None = None
        self.is_finished = False

    def close(self, reason: EndReason, now: float, *, spoken_by: str = "") -> None:
        """From here on nothing new is said but a goodbye (perhaps in response `spoken_by`)."""
        self.closing = Closing(reason, now, spoken_by=spoken_by)
        self._responses.clear_waiting()
        self._out.send(realtime_api.stop_answering(self._call.brief))
        self._out.happened("conversation.closing", now, reason=reason.value)

    def give_up_waiting(self, now: float) -> None:
        """No goodbye will come any more; what is on its way is heard to its end."""
        if self.closing is not None:
            self.closing.give_up_waiting()
            self._out.add(self._dialogue.all_complete(now))
            self.finish_if_heard(now)

    def finish_if_heard(self, now: float) -> None:
        """Hang up once the last word was confirmed to be played."""
        closing = self.closing
        if closing and not closing.waits_for_response and self._dialogue.is_agent_silent:
            self.finish(closing.reason, "", now)

    def finish(self, reason: EndReason | None, detail: str, now: float, code: str = "") -> None:
        """Settle what was heard, say why, and let go. `reason` None: the stream may come back."""
        if self.is_finished:
            return
        if reason in {None, EndReason.RECIPIENT_HUNG_UP} and self.closing is not None:
            reason = self.closing.reason
        self.is_finished = True
        self._out.add(self._dialogue.settle(now))
        if reason is None:
            self._out.happened("stream.lost", now, detail=detail)
        else:
            at, call = self._dialogue.iso(now), self._call
            self._out.record(
                ConversationEnded(
                    call.call_id, reason.value, detail[:500], at, call.generation, code[:64]
                )
            )
        self._last = Finish(reason, detail, code)
        may_still_hear = reason in _SETTLED and not self._dialogue.is_person_speaking
        self._let_go_at = now + LAST_WORDS_S if may_still_hear else now
        self.let_go(now)

    def let_go(self, now: float, *, at_once: bool = False) -> None:
        """Close both legs, as soon as nothing more is to be expected."""
        is_time = at_once or now >= self._let_go_at
        if self._last is None or (self._dialogue.awaits_words and not is_time):
            return
        self._out.add([*self._dialogue.give_up_words(), self._last])
        self._last = None
