"""The separate model that writes down what the person said, when it gets round to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sandbox.openai.conversation import Item
from sandbox.openai.effects import Effect
from sandbox.openai.errors import Json
from sandbox.openai.usage import transcription_usage

if TYPE_CHECKING:
    from sandbox.openai.session import Session

_EVENT = "conversation.item.input_audio_transcription"


class Scribe:
    """Transcribes the turns of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._after: list[Item] = []

    def transcribe(self, item: Item, now: float) -> list[Effect]:
        """A turn was committed: write it down now, or later."""
        when = self._session.behaviour.transcription
        if self._settings is None or when == "never":
            return []
        if when == "before":
            return self._write(item)
        due = now + self._session.behaviour.transcription_ms / 1000
        self._session.later(due, lambda _: self._come_due(item))
        return []

    def after_response(self, now: float) -> list[Effect]:
        """A response is over: what waited for it follows."""
        waiting, self._after = self._after, []
        return [e for item in waiting for e in self._write(item)]

    @property
    def _settings(self) -> Json | None:
        found: Json | None = self._session.config["audio"]["input"]["transcription"]
        return found

    def _come_due(self, item: Item) -> list[Effect]:
        late = self._session.behaviour.transcription == "after"
        if late and self._session.active is not None:
            self._after.append(item)
            return []
        return self._write(item)

    def _write(self, item: Item) -> list[Effect]:
        settings = self._settings
        if settings is None:  # switched off in the meantime
            return []
        event, place = self._session.event, {"item_id": item.id, "content_index": 0}
        fault = self._session.mind.take_fault("openai.transcription")
        if fault is not None or self._session.behaviour.transcription == "failed":
            error = {
                "type": "transcription_error",
                "code": "audio_unintelligible",
                "message": "The audio could not be transcribed.",
                "param": None,
            }
            return [event(f"{_EVENT}.failed", **place, error=error)]
        text = item.heard or ""
        for part in item.json["content"]:
            part["transcript"] = text
        logprobs = self._logprobs(text)
        done: Json = {
            "transcript": text,
            "usage": transcription_usage(self._model(settings), item.audio_ms, text),
            "logprobs": logprobs,
        }
        if self._model(settings) == "gpt-transcribe":
            done["languages"] = [{"code": settings.get("language") or "en"}] if text else []
        return [
            *(
                event(f"{_EVENT}.delta", **place, delta=word, logprobs=self._logprobs(word))
                for word in re.findall(r"\S+\s*", text)
            ),
            event(f"{_EVENT}.completed", **place, **done),
        ]

    def _logprobs(self, text: str) -> list[Json] | None:
        include = self._session.config["include"] or []
        if "item.input_audio_transcription.logprobs" not in include:
            return None
        return [
            {"token": word, "bytes": list(word.encode()), "logprob": -0.05}
            for word in re.findall(r"\S+\s*", text)
        ]

    def _model(self, settings: Json) -> str:
        return str(settings.get("model") or "whisper-1")
