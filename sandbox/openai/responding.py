"""The responses of a session: one at a time in the conversation, others beside it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sandbox.openai import brain, errors, settings
from sandbox.openai.conversation import Item, item_of
from sandbox.openai.effects import Effect
from sandbox.openai.errors import Json, RealtimeError
from sandbox.openai.generation import Generation, Options, item_format
from sandbox.openai.replies import Part, Reply, Say, ending_of
from sandbox.openai.usage import Meter, input_shares
from sandbox.openai.voice import Utterance

if TYPE_CHECKING:
    from sandbox.openai.session import Session

_TOKENS_PER_MINUTE = 15_000_000


class Desk:
    """Starts, advances and stops the responses of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._running: list[Generation] = []
        self._meter = Meter()
        self._used_tokens = 0

    @property
    def active(self) -> Generation | None:
        """The response that writes to the conversation."""
        return next((g for g in self._running if g.in_band), None)

    @property
    def due(self) -> float:
        """When the next event of any response is due."""
        return min((g.due for g in self._running), default=math.inf)

    @property
    def sent_format(self) -> str:
        """The audio format of what is being sent."""
        if self._running:
            return item_format(self._running[0].options)
        return str(self._session.config["audio"]["output"]["format"]["type"])

    def create(self, wanted: Json, now: float) -> list[Effect]:
        """The client asks for a response. Raises RealtimeError."""
        wanted = {name: value for name, value in wanted.items() if value is not None}
        self._check(wanted)
        if wanted.get("conversation", "auto") == "auto":
            self._refuse_second()
        return self._start(wanted, now)

    def answer_turn(self, now: float, *, silent: bool = False) -> list[Effect]:
        """A turn was committed by the detector: answer it, if nothing else is being said."""
        try:
            self._refuse_second()
        except RealtimeError as error:
            return [self._session.event("error", error=error.to_json())]
        return self._start({}, now, silent=silent)

    def interrupt(self, now: float) -> list[Effect]:
        """The person speaks: stop what goes into the conversation."""
        return self._stop(self.active, "turn_detected", now) if self.active is not None else []

    def cancel(self, response_id: str | None, now: float) -> list[Effect]:
        """The client has heard enough. Raises RealtimeError if nothing is being said."""
        found = self.active
        if response_id is not None:
            found = next((g for g in self._running if g.id == response_id), None)
        if found is None:
            raise RealtimeError(
                "response_cancel_not_active", "Cancellation failed: no active response found"
            )
        return self._stop(found, "client_cancelled", now)

    def advance(self, now: float) -> list[Effect]:
        """Send what is due."""
        effects: list[Effect] = []
        for generation in [g for g in self._running if g.due <= now]:
            effects += generation.advance(now)
            if generation.is_over:
                effects += self._over(generation, now)
        return effects

    # --- starting ---------------------------------------------------------------------------------

    def _check(self, wanted: Json) -> None:
        settings.check_modalities(wanted.get("output_modalities"), "response.output_modalities")
        settings.check_reasoning(wanted, self._session.ledger.model, "response")
        output = wanted.get("audio", {}).get("output", {})
        settings.check_format(output.get("format"), "response.audio.output.format")
        voice = self._session.config["audio"]["output"]["voice"]
        if self._session.has_spoken and output.get("voice", voice) != voice:
            raise RealtimeError(
                "cannot_update_voice",
                "Cannot update a conversation's voice if assistant audio is present.",
            )

    def _refuse_second(self) -> None:
        if (active := self.active) is not None:
            raise RealtimeError(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {active.id}. Wait until "
                "the response is finished before creating a new one.",
            )

    def _start(self, wanted: Json, now: float, *, silent: bool = False) -> list[Effect]:
        session = self._session
        effective: Json = {**session.config, **wanted}
        items = self._context(wanted.get("input"))
        shares = input_shares(effective["instructions"], effective["tools"], items)
        meter = self._meter if wanted.get("conversation") != "none" else Meter()
        reply = self._reply()
        situation = brain.Situation(
            orders=brain.orders_in(wanted.get("instructions", ""), session.config["instructions"]),
            items=items,
            tools=effective["tools"],
            tool_choice=effective["tool_choice"],
            silent=silent,
        )
        generation = Generation(
            id=session.new_id("resp"),
            options=self._options(wanted),
            reply=reply,
            parts=tuple(self._worded(p) for p in reply.parts or brain.answer(situation)),
            conversation=session.conversation,
            new_id=session.new_id,
            speak=self._speak,
            usage=lambda text, audio: meter.measure(shares, text_out=text, audio_out=audio),
            started=now,
            seed=session.random.getrandbits(32),
        )
        self._running.append(generation)
        return generation.advance(now)

    def _context(self, wanted: list[Json] | None) -> list[Item]:
        if wanted is None:
            return list(self._session.conversation)
        return [self._context_item(entry, n) for n, entry in enumerate(wanted)]

    def _context_item(self, entry: Json, n: int) -> Item:
        session = self._session
        if entry["type"] != "item_reference":
            return item_of(
                entry, session.new_id("item"), session.input_format, f"response.input[{n}]"
            )
        item = session.conversation.get(entry["id"])
        if item is None:
            raise errors.invalid_value(
                f"response.input[{n}].id", f"Item with id '{entry['id']}' not found."
            )
        return item

    def _options(self, wanted: Json) -> Options:
        config = self._session.config
        effective: Json = {**config, **wanted}
        output: Json = {**config["audio"]["output"], **wanted.get("audio", {}).get("output", {})}
        voice: Any = output["voice"]
        out_of_band = wanted.get("conversation") == "none"
        return Options(
            modality=effective["output_modalities"][0],
            format=output["format"],
            voice=voice["id"] if isinstance(voice, dict) else voice,
            speed=float(output["speed"]),
            max_tokens=effective["max_output_tokens"],
            metadata=wanted.get("metadata"),
            conversation_id=None if out_of_band else self._session.conversation.id,
        )

    def _reply(self) -> Reply:
        """What was scripted, or anything, at the usual pace; with a fault if one is due."""
        session = self._session
        told = str(session.config["instructions"])
        reply = session.mind.next_reply(session.id, told) or Reply(pace=session.behaviour.pace)
        fault = session.mind.take_fault("openai.response")
        if fault is None:
            return reply
        kind, _, rest = fault.partition(":")
        if kind == "delay":
            slow = replace(reply.pace, first_byte_ms=int(float(rest) * 1000))
            return replace(reply, pace=slow)
        return replace(reply, ending=ending_of(fault))

    def _worded(self, part: Part) -> Part:
        if isinstance(part, Say) and part.clip is not None and not part.text:
            return Say(self._session.mind.voice.text_of(part.clip), part.clip)
        return part

    def _speak(self, part: Say, options: Options) -> Utterance:
        return self._session.mind.voice.say(
            part.text,
            format=item_format(options),
            voice=options.voice,
            speed=options.speed,
            clip=part.clip,
        )

    # --- ending -----------------------------------------------------------------------------------

    def _stop(self, generation: Generation, reason: str, now: float) -> list[Effect]:
        return [*generation.cancel(reason), *self._over(generation, now)]

    def _over(self, generation: Generation, now: float) -> list[Effect]:
        session = self._session
        self._running.remove(generation)
        self._used_tokens += generation.total_tokens
        for item in generation.items:
            if item.kind == "message":
                session.ledger.said(item.id, item.text, item.audio_ms)
        session.later(now + session.behaviour.rate_limits_ms / 1000, self._limits)
        if not generation.in_band:
            return []
        return session.response_is_over(generation.audio_ms, now)

    def _limits(self, now: float) -> list[Effect]:
        limit = {
            "name": "tokens",
            "limit": _TOKENS_PER_MINUTE,
            "remaining": _TOKENS_PER_MINUTE - self._used_tokens % _TOKENS_PER_MINUTE,
            "reset_seconds": round(self._used_tokens / _TOKENS_PER_MINUTE * 60, 3),
        }
        return [self._session.event("rate_limits.updated", rate_limits=[limit])]
