"""The one owner of `response.create`: at most one response at a time, the rest wait in line.

With server VAD the model also starts responses by itself; a request of ours that loses that race
is refused with `conversation_already_has_active_response`, which is no fault.

Source: OpenAI, Realtime API reference, `response.create`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from calls.core.brief import Brief, OpeningKind
from realtime.core import prompts, realtime_api


class Purpose(StrEnum):
    """Why we ask the model to speak."""

    OPENING = "opening"
    TOOL_RESULT = "tool_result"
    KEYS = "keys"
    NUDGE = "nudge"
    RETRY = "retry"
    RESUME = "resume"
    GOODBYE = "goodbye"


_SUPERSEDED = {Purpose.TOOL_RESULT, Purpose.KEYS, Purpose.NUDGE, Purpose.RETRY}


@dataclass(frozen=True, slots=True)
class Request:
    """A response that we want; `instructions` replace the session's if given."""

    purpose: Purpose
    instructions: str = ""
    may_use_tools: bool = True

    @property
    def yields_to_speech(self) -> bool:
        """Whether the model's own answer to the recipient makes this pointless."""
        is_free_opening = self.purpose is Purpose.OPENING and not self.instructions
        return self.purpose in _SUPERSEDED or is_free_opening

    @property
    def is_exact(self) -> bool:
        """Whether these very words are owed to the recipient, whatever is said meanwhile."""
        return self.purpose is Purpose.OPENING and bool(self.instructions)


def opening_request(brief: Brief, generation: int) -> Request:
    """The first words of a call, or those that bridge a gap in it."""
    if generation > 1:
        return Request(Purpose.RESUME, prompts.with_task(brief, prompts.RESUMED))
    if brief.opening.kind is OpeningKind.VERBATIM:
        words = prompts.verbatim(brief.opening.text)
        return Request(Purpose.OPENING, words, may_use_tools=False)
    return Request(Purpose.OPENING)


class Responses:
    """Which response is active, which are wanted, and which must not be heard any more."""

    MAX_WAITING = 8
    MAX_DROPPED = 32

    def __init__(self) -> None:
        self.active: str | None = None
        self.active_request: Request | None = None
        self._sent: Request | None = None
        self._waiting: deque[Request] = deque()
        self._dropped: deque[str] = deque(maxlen=self.MAX_DROPPED)

    @property
    def is_idle(self) -> bool:
        """Nothing is being generated, asked for or waiting."""
        return self.active is None and self._sent is None and not self._waiting

    @property
    def is_due(self) -> bool:
        """The model owes us something."""
        return self.active is not None or self._sent is not None

    def ask(self, request: Request) -> str | None:
        """The event to send now, or None when the request has to wait (or is waiting already)."""
        if any(waiting.purpose is request.purpose for waiting in self._waiting):
            return None
        if self.active is not None or self._sent is not None:
            if len(self._waiting) < self.MAX_WAITING:
                self._waiting.append(request)
            return None
        self._sent = request
        return realtime_api.response_create(
            request.purpose.value, request.instructions, may_use_tools=request.may_use_tools
        )

    def started(self, response_id: str, purpose: str) -> None:
        """The model began a response, ours (it echoes the purpose) or its own."""
        if self.is_dropped(response_id):
            return  # it is over already
        self.active, self.active_request = response_id, None
        if self._sent is not None and purpose == self._sent.purpose.value:
            self.active_request, self._sent = self._sent, None
        if not purpose:
            self.yield_to_speech()

    def done(self, response_id: str) -> str | None:
        """A response ended; returns the next request's event, if one waits."""
        is_news = not self.is_dropped(response_id)
        self.drop(response_id)  # nothing may follow its end
        if self.active == response_id or (self.active is None and is_news):
            self.active, self.active_request = None, None
            # A refusal of ours would have come by now: this was our response, unmarked, or one
            # of whose beginning we were not told.
            self._sent = None
        return self._next()

    def refused(self) -> None:
        """`conversation_already_has_active_response`: what must be said waits for its turn."""
        request = self.take_back()
        if request is not None and not request.yields_to_speech:
            self._waiting.appendleft(request)

    def take_back(self) -> Request | None:
        """The request that was sent and not begun; it counts as never sent."""
        request, self._sent = self._sent, None
        return request

    def yield_to_speech(self) -> None:
        """The model will answer the recipient: forget what that makes pointless."""
        self._waiting = deque(r for r in self._waiting if not r.yields_to_speech)

    def drop(self, response_id: str) -> None:
        """Nothing more of this response may be heard."""
        if response_id not in self._dropped:
            self._dropped.append(response_id)

    def is_dropped(self, response_id: str) -> bool:
        return response_id in self._dropped

    def clear_waiting(self) -> None:
        """Forget what was wanted: the conversation is closing."""
        self._waiting.clear()

    def _next(self) -> str | None:
        if self.active is not None or self._sent is not None or not self._waiting:
            return None
        return self.ask(self._waiting.popleft())
