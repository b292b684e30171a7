"""A session to talk to: builds calls and model events, and sorts effects for assertions."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from calls.core.brief import AudioFormat, Brief
from calls.core.facts import ConversationEnded, Fact, Happened, TokensUsed, TurnSaid
from realtime.core import media_streams, realtime_events
from realtime.core.call import SessionCall
from realtime.core.effects import AudioToModel, Effect, Finish, Record, RunTool, ToModel, ToPhone
from realtime.core.session import Session
from realtime.core.tools import END_CALL, ToolSpec

WEATHER = ToolSpec(
    "weather",
    "Say what the weather is.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
BRIEF = Brief(
    agent="Ada",
    model="gpt-realtime-2.1",
    voice="marin",
    instructions="Confirm the appointment.",
    audio_format=AudioFormat.PCMU,
    max_duration_s=600,
    silence_s=10,
)
STREAM = "MZ" + "0" * 32


class Talk:
    """Drives one session on a clock of its own."""

    def __init__(self, *, generation: int = 1, history: Any = (), **brief: Any) -> None:
        self.brief = replace(BRIEF, **brief)
        call = SessionCall("call-1", STREAM, self.brief, generation, 0, tuple(history))
        self.now = 100.0
        self.frames = 0
        self.first_ms = 0  # where the recipient's audio began, on the stream's clock
        wall = datetime(2026, 11, 23, 10, tzinfo=UTC)
        self.session = Session(call, [END_CALL, WEATHER], self.now, wall)
        self.effects: list[Effect] = []

    # -- what happens ------------------------------------------------------------------------------
    def ready(self) -> Talk:
        """The model has accepted the configuration."""
        form = self.brief.audio_format.value
        self.model(realtime_events.SessionReady("sess_1", False, "", ""))
        self.model(realtime_events.SessionReady("sess_1", True, form, form))
        return self

    def opened(self) -> Talk:
        """Ready, and the opening was said and heard."""
        self.ready()
        self.reply("resp_0", "item_0", 200, purpose="opening")
        self.play_all()
        self.take()
        return self

    def model(self, event: realtime_events.Event) -> list[Effect]:
        effects = self.session.model(event, self.now)
        self.effects += effects
        return effects

    def caller(self, message: media_streams.Message) -> list[Effect]:
        effects = self.session.caller(message, self.now)
        self.effects += effects
        return effects

    def wait(self, seconds: float, *, frames: bool = True) -> list[Effect]:
        """Time passes, with the recipient's frames arriving, or not."""
        before = len(self.effects)
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(self.now + 0.1, end)
            if frames:
                self.frame(100)
            self.effects += self.session.tick(self.now)
        return self.effects[before:]

    def frame(self, length_ms: int = 20, fill: bytes = b"\xff") -> list[Effect]:
        """The recipient's next audio."""
        self.frames += 1
        at_ms = int((self.now - 100.0) * 1000) - length_ms
        if self.frames == 1:
            self.first_ms = max(at_ms, 0)
        frame = media_streams.CallerAudio(fill * (length_ms * 8), max(at_ms, 0), self.frames)
        return self.caller(frame)

    def audio(self, response: str, item: str, length_ms: int) -> list[Effect]:
        bytes_per_ms = 8 if self.brief.audio_format is AudioFormat.PCMU else 48
        return self.model(
            realtime_events.AudioDelta(response, item, b"\x55" * length_ms * bytes_per_ms)
        )

    def reply(
        self,
        response: str,
        item: str,
        length_ms: int,
        text: str = "Hello there.",
        purpose: str = "",
    ) -> None:
        """A whole response of one item."""
        self.model(realtime_events.ResponseStarted(response, purpose))
        self.audio(response, item, length_ms)
        self.model(realtime_events.AudioDone(response, item))
        self.model(realtime_events.TextDone(response, item, text))
        self.done(response)

    def done(self, response: str, status: str = "completed", **fields: Any) -> list[Effect]:
        values = {"reason": "", "error_code": "", "error_message": "", "usage": {}, **fields}
        return self.model(realtime_events.ResponseDone(response, status, **values))

    def speech(self, item: str = "user_1") -> list[Effect]:
        return self.model(realtime_events.SpeechStarted(item, self._appended_ms()))

    def silence(self, item: str = "user_1") -> list[Effect]:
        return self.model(realtime_events.SpeechStopped(item, self._appended_ms()))

    def _appended_ms(self) -> int:
        return int((self.now - 100.0) * 1000) - self.first_ms

    def play(self, *names: str) -> list[Effect]:
        return [e for name in names for e in self.caller(media_streams.MarkEchoed(name))]

    def play_all(self) -> None:
        """Every mark comes back, after the time that its audio takes."""
        sent_ms = 0
        for message in self.phone():
            if message["event"] == "media":
                sent_ms += len(base64.b64decode(message["media"]["payload"])) // 8
            elif message["event"] == "mark":
                self.now += sent_ms / 1000
                sent_ms = 0
                self.play(message["mark"]["name"])
        self.effects = [e for e in self.effects if not isinstance(e, ToPhone)]

    # -- what came of it ---------------------------------------------------------------------------
    def take(self) -> list[Effect]:
        effects, self.effects = self.effects, []
        return effects

    def phone(self, effects: list[Effect] | None = None) -> list[dict[str, Any]]:
        source = self.effects if effects is None else effects
        return [json.loads(e.text) for e in source if isinstance(e, ToPhone)]

    def sent(self, kind: str = "", effects: list[Effect] | None = None) -> list[dict[str, Any]]:
        source = self.effects if effects is None else effects
        events = [json.loads(e.text) for e in source if isinstance(e, ToModel)]
        return [e for e in events if not kind or e["type"] == kind]

    def appended(self) -> bytes:
        chunks = [json.loads(e.text)["audio"] for e in self.effects if isinstance(e, AudioToModel)]
        return b"".join(base64.b64decode(chunk) for chunk in chunks)

    def facts(self) -> list[Fact]:
        return [e.fact for e in self.effects if isinstance(e, Record)]

    def turn(self, item: str) -> TurnSaid:
        return [f for f in self.facts() if isinstance(f, TurnSaid) and f.item_id == item][-1]

    def happened(self) -> list[str]:
        return [f.kind for f in self.facts() if isinstance(f, Happened)]

    def used(self) -> list[TokensUsed]:
        return [f for f in self.facts() if isinstance(f, TokensUsed)]

    def tools(self) -> list[RunTool]:
        return [e for e in self.effects if isinstance(e, RunTool)]

    def ending(self) -> Finish | None:
        found = [e for e in self.effects if isinstance(e, Finish)]
        assert len(found) <= 1
        return found[0] if found else None

    def last_words(self) -> Finish:
        """The ending, which must have come."""
        ending = self.ending()
        assert ending is not None
        return ending

    def reason(self) -> str | None:
        found = [f for f in self.facts() if isinstance(f, ConversationEnded)]
        assert len(found) <= 1
        return found[0].reason if found else None
