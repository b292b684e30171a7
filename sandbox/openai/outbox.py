"""The last stop of every event: it gets its id, and the ledger hears of it."""

from __future__ import annotations

import random

from sandbox.openai.behaviour import Behaviour
from sandbox.openai.effects import Effect, HangUp, Send
from sandbox.openai.errors import Closing, Json
from sandbox.openai.ledger import Ledger

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def new_id(source: random.Random, prefix: str) -> str:
    """An id as OpenAI makes them."""
    return f"{prefix}_{''.join(source.choices(_ALPHABET, k=21))}"


class Outbox:
    """Dresses the events of one session; nothing leaves it after the end of the socket."""

    def __init__(self, source: random.Random, behaviour: Behaviour, ledger: Ledger) -> None:
        self._random = source
        self._behaviour = behaviour
        self._ledger = ledger
        self.is_closed = False
        self.has_spoken = False

    def stamped(self, effects: list[Effect], now: float, audio_format: str) -> list[Effect]:
        """The effects with every event ready to be sent."""
        result: list[Effect] = []
        for effect in effects:
            if self.is_closed:
                break
            if isinstance(effect, Send):
                result += self._dressed(effect.event, now, audio_format)
                continue
            result.append(effect)
            self.is_closed = True
            closing = effect.closing if isinstance(effect, HangUp) else Closing(1006, "reset")
            self._ledger.close("server", closing.code, closing.reason, now)
        return result

    def _dressed(self, event: Json, now: float, audio_format: str) -> list[Effect]:
        kind = event["type"]
        stamped = {"type": kind, "event_id": new_id(self._random, "event"), **event}
        if kind == "response.output_audio.delta":
            self.has_spoken = True
        if self._behaviour.obfuscation and kind.endswith(".delta"):
            size = self._random.randint(1, 16)
            stamped["obfuscation"] = "".join(self._random.choices(_ALPHABET, k=size))
        self._ledger.note_sent(stamped, now, audio_format)
        if not self._behaviour.unknown_events or kind not in (
            "session.created",
            "response.created",
        ):
            return [Send(stamped)]
        stamped["revision"] = {"build": 7}
        news = {"type": "session.weather_changed", "event_id": new_id(self._random, "event")}
        return [Send(stamped), Send({**news, "weather": {"sky": "blue"}})]
