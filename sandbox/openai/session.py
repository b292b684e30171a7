"""One Realtime session as a state machine: no sockets, no clock.

`now` is seconds on any monotonic clock. Feed it what the client sends and call `tick` at
`deadline`; carry out the effects in order.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from sandbox.openai import client_events, errors, settings
from sandbox.openai.behaviour import Behaviour
from sandbox.openai.conversation import Conversation, Item, decoded, item_of
from sandbox.openai.effects import Effect, HangUp, Send
from sandbox.openai.errors import Closing, FatalError, Json, RealtimeError
from sandbox.openai.generation import Generation
from sandbox.openai.hearing import Detection, Ear, SpeechStarted, SpeechStopped
from sandbox.openai.ledger import Ledger
from sandbox.openai.outbox import Outbox, new_id
from sandbox.openai.recognition import Recogniser
from sandbox.openai.replies import Reply
from sandbox.openai.responding import Desk
from sandbox.openai.transcribing import Scribe
from sandbox.openai.voice import Voice

MAX_AUDIO_BYTES = 15 * 1024 * 1024
_LEAST_COMMIT_MS = 100

Later = Callable[[float], list[Effect]]


class Mind(Protocol):
    """What a session borrows from its world."""

    @property
    def voice(self) -> Voice: ...
    @property
    def recogniser(self) -> Recogniser: ...
    def next_reply(self, session_id: str, instructions: str) -> Reply | None: ...
    def take_fault(self, where: str) -> str | None: ...


class Session:
    """One conversation between a client and the model."""

    def __init__(
        self,
        *,
        id: str,
        model: str,
        mind: Mind,
        behaviour: Behaviour,
        now: float,
        unix_now: float,
        seed: int = 0,
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311  (ids and sizes, not secrets)
        self.id = id
        self.mind = mind
        self.behaviour = behaviour
        self.config = settings.defaults(id, model, int(unix_now + behaviour.session_s))
        self.conversation = Conversation(self.new_id("conv"))
        self.ledger = Ledger(id, model, now)
        self.ear = Ear(self.input_format, Detection.of(self.detection), mind.recogniser.is_finished)
        self._outbox = Outbox(self.random, behaviour, self.ledger)
        self._expires = now + behaviour.session_s
        self._idle_from: float | None = None
        self._speech_item: str | None = None
        self._later: list[tuple[float, int, Later]] = []
        self._order = itertools.count()
        self._desk = Desk(self)
        self._scribe = Scribe(self)

    # --- what the session is set to ---------------------------------------------------------------

    @property
    def input_format(self) -> str:
        return str(self.config["audio"]["input"]["format"]["type"])

    @property
    def detection(self) -> Json | None:
        found: Json | None = self.config["audio"]["input"]["turn_detection"]
        return found

    @property
    def has_spoken(self) -> bool:
        """Whether any audio of the model's has left; from then on its voice is fixed."""
        return self._outbox.has_spoken

    @property
    def is_closed(self) -> bool:
        """Whether the session has hung up."""
        return self._outbox.is_closed

    @property
    def active(self) -> Generation | None:
        """The response that writes to the conversation."""
        return self._desk.active

    @property
    def deadline(self) -> float | None:
        """When `tick` must next run, or None once the socket is closed."""
        if self.is_closed:
            return None
        dues = [self._expires, self._desk.due]
        if self._later:
            dues.append(self._later[0][0])
        if (idle := self._idle_at()) is not None:
            dues.append(idle)
        return min(dues)

    # --- what the shell calls ---------------------------------------------------------------------

    def configure(self, update: Json) -> None:
        """Begin with other settings, those of a client secret. Raises RealtimeError."""
        self.config = settings.updated(self.config, update, has_spoken=False, is_responding=False)
        self.ear.configure(self.input_format, Detection.of(self.detection))

    def open(self, now: float) -> list[Effect]:
        """The first event of every session."""
        return self._stamped([self.event("session.created", session=self.config)], now)

    def receive_text(self, text: str, now: float) -> list[Effect]:
        """One text frame of the client's."""
        effects = self.tick(now)
        if self.is_closed:
            return effects
        event_id: str | None = None
        try:
            event = _parsed(text)
            if isinstance(event, dict):
                self.ledger.note_received(event, now)
                given = event.get("event_id")
                event_id = given if isinstance(given, str) else None
            answer = self._handle(client_events.check(event), now)
        except RealtimeError as error:
            answer = self._refuse(error, event_id)
        return effects + self._stamped(answer, now)

    def receive_binary(self, now: float) -> list[Effect]:
        """A binary frame, which the API does not take."""
        refusal = errors.invalid_event("Binary messages are not supported; send JSON text frames.")
        return self.tick(now) + self._stamped(self._refuse(refusal, None), now)

    def tick(self, now: float) -> list[Effect]:
        """Whatever time has brought about."""
        effects: list[Effect] = []
        while (due := self.deadline) is not None and due <= now:
            effects += self._stamped(self._act(due), due)
        return effects

    def inject(self, event: Json, now: float) -> list[Effect]:
        """Send an event that a tester made up, as it stands."""
        self.ledger.note_injected(event, now)
        return [Send(event)]

    def expire(self, now: float) -> list[Effect]:
        """End the session as its time limit does."""
        return self._stamped(self._time_is_up(), now)

    # --- for the parts ----------------------------------------------------------------------------

    def new_id(self, prefix: str) -> str:
        """An id as OpenAI makes them."""
        return new_id(self.random, prefix)

    def event(self, type: str, **members: Any) -> Send:
        """An event; its own id is given when it is sent."""
        return Send({"type": type, **members})

    def later(self, due: float, act: Later) -> None:
        """Do something at a certain time."""
        heapq.heappush(self._later, (due, next(self._order), act))

    def response_is_over(self, audio_ms: float, now: float) -> list[Effect]:
        """A response has ended: the person is thought to hear it from now on."""
        self._idle_from = now + audio_ms / 1000
        return self._scribe.after_response(now)

    # --- events from the client -------------------------------------------------------------------

    def _handle(self, event: Json, now: float) -> list[Effect]:
        match event["type"]:
            case "session.update":
                return self._update(event["session"])
            case "input_audio_buffer.append":
                return self._append(event["audio"], now)
            case "input_audio_buffer.commit":
                return self._commit(now)
            case "input_audio_buffer.clear":
                self.ear.clear()
                self._speech_item = None
                return [self.event("input_audio_buffer.cleared")]
            case "response.create":
                return self._desk.create(event.get("response") or {}, now)
            case "response.cancel":
                return self._desk.cancel(event.get("response_id"), now)
            case "output_audio_buffer.clear":
                raise errors.invalid_event(
                    "output_audio_buffer.clear is only supported for WebRTC and SIP sessions."
                )
            case _:
                return self._handle_item(event, now)

    def _handle_item(self, event: Json, now: float) -> list[Effect]:
        match event["type"]:
            case "conversation.item.create":
                return self._create_item(event)
            case "conversation.item.retrieve":
                item = self.conversation.need(event["item_id"], "retrieve", "retrieving")
                return [self.event("conversation.item.retrieved", item=item.with_audio())]
            case "conversation.item.delete":
                self.conversation.remove(event["item_id"])
                return [self.event("conversation.item.deleted", item_id=event["item_id"])]
            case _:
                return self._truncate(event, now)

    def _update(self, update: object) -> list[Effect]:
        self.config = settings.updated(
            self.config,
            update,
            has_spoken=self.has_spoken,
            is_responding=self.active is not None,
        )
        self.ear.configure(self.input_format, Detection.of(self.detection))
        return [self.event("session.updated", session=self.config)]

    def _append(self, audio: object, now: float) -> list[Effect]:
        data = decoded(audio, "audio")
        if len(data) > MAX_AUDIO_BYTES:
            raise errors.invalid_value("audio", "Invalid 'audio': more than 15 MiB in one event.")
        effects: list[Effect] = []
        for noticed in self.ear.append(data):
            match noticed:
                case SpeechStarted(start_ms):
                    effects += self._speech_started(start_ms, now)
                case SpeechStopped(start_ms, end_ms):
                    effects += self._speech_stopped(start_ms, end_ms, now)
        self.ledger.appended_ms = self.ear.position_ms
        return effects

    def _commit(self, now: float) -> list[Effect]:
        waiting = self.ear.buffered_ms
        if waiting < _LEAST_COMMIT_MS:
            raise RealtimeError(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_LEAST_COMMIT_MS}ms of audio, but buffer only has {waiting:.2f}ms of audio.",
            )
        item_id, self._speech_item = self._speech_item or self.new_id("item"), None
        return self._add_turn(item_id, self.ear.take(), now)

    def _create_item(self, event: Json) -> list[Effect]:
        item = item_of(event["item"], self.new_id("item"), self.input_format)
        if item.audio:
            item.heard = self.mind.recogniser.transcript(item.audio, item.format)
        self.conversation.add(item, event.get("previous_item_id"))
        return self._item_events(item)

    def _truncate(self, event: Json, now: float) -> list[Effect]:
        item_id, end_ms = event["item_id"], event["audio_end_ms"]
        item = self.conversation.get(item_id)
        before_ms = item.audio_ms if item is not None else 0.0
        self.conversation.truncate(item_id, event["content_index"], end_ms)
        self.ledger.truncated(item_id, end_ms, before_ms, now)
        members = {k: event[k] for k in ("item_id", "content_index", "audio_end_ms")}
        return [self.event("conversation.item.truncated", **members)]

    # --- turns ------------------------------------------------------------------------------------

    def _speech_started(self, start_ms: int, now: float) -> list[Effect]:
        self._speech_item = self.new_id("item")
        effects: list[Effect] = [
            self.event(
                "input_audio_buffer.speech_started",
                audio_start_ms=start_ms,
                item_id=self._speech_item,
            )
        ]
        if self.detection is not None and self.detection["interrupt_response"]:
            effects += self._desk.interrupt(now)
        return effects

    def _speech_stopped(self, start_ms: int, end_ms: int, now: float) -> list[Effect]:
        item_id, self._speech_item = self._speech_item or self.new_id("item"), None
        self._idle_from = None  # the person was there; the next response starts it anew
        audio = self.ear.take(start_ms, end_ms)
        effects: list[Effect] = [
            self.event("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item_id),
            *self._add_turn(item_id, audio, now),
        ]
        if self.detection is not None and self.detection["create_response"]:
            effects += self._desk.answer_turn(now)
        return effects

    def _add_turn(
        self, item_id: str, audio: bytes, now: float, *, silent: bool = False
    ) -> list[Effect]:
        heard = "" if silent else self.mind.recogniser.transcript(audio, self.input_format)
        item = Item(
            {
                "id": item_id,
                "object": "realtime.item",
                "type": "message",
                "status": "completed",
                "role": "user",
                "content": [{"type": "input_audio", "transcript": None}],
            },
            audio,
            self.input_format,
            heard,
        )
        before = self.conversation.last_id
        self.conversation.add(item)
        self.ledger.heard(item_id, heard, item.audio_ms)
        return [
            self.event("input_audio_buffer.committed", previous_item_id=before, item_id=item_id),
            *self._item_events(item),
            *self._scribe.transcribe(item, now),
        ]

    def _item_events(self, item: Item) -> list[Effect]:
        before = self.conversation.before(item.id)
        return [
            self.event(f"conversation.item.{word}", previous_item_id=before, item=item.public())
            for word in ("added", "done")
        ]

    # --- time -------------------------------------------------------------------------------------

    def _act(self, due: float) -> list[Effect]:
        if self._expires <= due:
            return self._time_is_up()
        if self._later and self._later[0][0] <= due:
            return heapq.heappop(self._later)[2](due)
        if self._desk.due <= due:
            return self._desk.advance(due)
        return self._ask_whether_there(due)

    def _time_is_up(self) -> list[Effect]:
        error = errors.session_expired(self.behaviour.session_s / 60)
        return [*self._refuse(error, None), HangUp(Closing(1001, error.message))]

    def _idle_at(self) -> float | None:
        detection = self.detection
        limit_ms = detection.get("idle_timeout_ms") if detection is not None else None
        is_speaking = self.active is not None or self.ear.speaking_since_ms is not None
        if limit_ms is None or self._idle_from is None or is_speaking:
            return None
        return self._idle_from + float(limit_ms) / 1000

    def _ask_whether_there(self, now: float) -> list[Effect]:
        """Nobody has spoken for `idle_timeout_ms`: commit the silence and speak."""
        waited_ms = int((now - (self._idle_from or now)) * 1000)
        self._idle_from = None
        end_ms = self.ear.position_ms
        start_ms = max(0, end_ms - waited_ms)
        item_id = self.new_id("item")
        effects: list[Effect] = [
            self.event(
                "input_audio_buffer.timeout_triggered",
                audio_start_ms=start_ms,
                audio_end_ms=end_ms,
                item_id=item_id,
            ),
            *self._add_turn(item_id, self.ear.take(start_ms, end_ms), now, silent=True),
        ]
        return effects + self._desk.answer_turn(now, silent=True)

    # --- on the way out ---------------------------------------------------------------------------

    def _refuse(self, error: RealtimeError, client_event_id: str | None) -> list[Effect]:
        effects: list[Effect] = [self.event("error", error=error.to_json(client_event_id))]
        if isinstance(error, FatalError):
            effects.append(HangUp(error.close))
        return effects

    def _stamped(self, effects: list[Effect], now: float) -> list[Effect]:
        return self._outbox.stamped(effects, now, self._desk.sent_format)


def _parsed(text: str) -> object:
    # Stricter than the standard library: no NaN, no half surrogates that could not be sent back.
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise errors.invalid_json() from None
