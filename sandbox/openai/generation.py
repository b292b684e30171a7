"""One response on its way: which events are due when, and how it is cut short."""

from __future__ import annotations

import base64
import math
import random
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from sandbox.openai.audio import BYTES_PER_MS
from sandbox.openai.conversation import Conversation, Item
from sandbox.openai.effects import Effect, HangUp, Reset, Send
from sandbox.openai.errors import Closing, Json
from sandbox.openai.replies import CallTool, EndKind, Part, Reply, Say
from sandbox.openai.usage import spoken_tokens, text_tokens
from sandbox.openai.voice import Utterance

_TRANSCRIPT_LEAD_MS = 300
_ARGUMENT_PIECE = 8
_TEXT_PIECE_MS = 20

Due = tuple[float, list[Effect]]


@dataclass(frozen=True, slots=True)
class Options:
    """What a response was asked to be."""

    modality: str
    format: Json
    voice: str
    speed: float
    max_tokens: int | str
    metadata: Json | None
    conversation_id: str | None
    """None: out of band, it leaves the conversation alone."""


@dataclass
class Generation:
    """A response in progress. `advance` at `due`; `cancel` whenever someone speaks."""

    id: str
    options: Options
    reply: Reply
    parts: tuple[Part, ...]
    conversation: Conversation
    new_id: Callable[[str], str]
    speak: Callable[[Say, Options], Utterance]
    usage: Callable[[int, int], Json]
    started: float
    seed: int
    status: str = "in_progress"
    items: list[Item] = field(default_factory=list)
    audio_ms: float = 0.0
    total_tokens: int = 0
    due: float = 0.0
    _text_tokens: int = 0
    _open: Item | None = None
    _said: str = ""
    _ready: list[Effect] = field(default_factory=list)
    _at: float = 0.0
    _has_paused: bool = False
    _is_full: bool = False

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  (sizes of pieces, not secrets)
        self._steps = self._course()
        self._next()

    @property
    def is_over(self) -> bool:
        return self.status != "in_progress"

    @property
    def in_band(self) -> bool:
        return self.options.conversation_id is not None

    def advance(self, now: float) -> list[Effect]:
        """Everything that is due by now."""
        effects: list[Effect] = []
        while self.due <= now:
            effects += self._ready
            self._next()
        return effects

    def cancel(self, reason: str) -> list[Effect]:
        """Stop at once, as far as it has come."""
        self._steps.close()
        self.due = math.inf
        return self._finish("cancelled", {"type": "cancelled", "reason": reason})

    def _next(self) -> None:
        self.due, self._ready = next(self._steps, (math.inf, []))

    def _course(self) -> Generator[Due, None, None]:
        """The whole response, step by step.

        An empty step stands before each change of state: what follows it runs when it is due.
        """
        yield self.started, [self._event("response.created", response=self.public())]
        self._at = self.started + self.reply.pace.first_byte_ms / 1000
        yield self._at, []
        for part in self.parts:
            if self._ends_here():
                break
            yield self._at, self._open_item(part)
            yield from self._fill_item(part)
            if self._ends_here() or self._is_full:
                break
            yield self._at, self._close_item("completed")
        yield from self._end(self._at)

    def _fill_item(self, part: Part) -> Iterator[Due]:
        if isinstance(part, CallTool):
            return self._call(part)
        said = self.speak(part, self.options)
        return self._sound(said) if self.options.modality == "audio" else self._words(said.text)

    def _end(self, at: float) -> Iterator[Due]:
        ending = self.reply.ending
        if self._is_full:
            reason = {"type": "incomplete", "reason": "max_output_tokens"}
            yield at, self._finish("incomplete", reason)
        elif ending.kind == EndKind.FAILED:
            yield at, self._finish("failed", {"type": "failed", "error": ending.error})
        elif ending.kind == EndKind.INCOMPLETE:
            yield at, self._finish("incomplete", {"type": "incomplete", "reason": ending.reason})
        elif ending.kind == EndKind.DISCONNECT:
            code = ending.close_code
            yield at, [Reset() if code is None else HangUp(Closing(code, "server fault"))]
        elif ending.kind == EndKind.STALL and ending.for_ms is None:
            yield math.inf, []
        else:
            yield at, self._finish("completed", None)

    def _ends_here(self) -> bool:
        """Whether the ending that was ordered has been reached."""
        ending = self.reply.ending
        if ending.kind == EndKind.COMPLETED or ending.after_ms is None or self._stalls_a_while():
            return False
        return self.audio_ms >= ending.after_ms

    def _stalls_a_while(self) -> bool:
        return self.reply.ending.kind == EndKind.STALL and self.reply.ending.for_ms is not None

    def _has_room(self, *, text: str = "", audio_ms: float = 0) -> bool:
        """Whether `max_output_tokens` allows so much more; if not, the response ends here."""
        tokens = self._text_tokens + text_tokens(text) + spoken_tokens(self.audio_ms + audio_ms)
        limit = self.options.max_tokens
        self._is_full = isinstance(limit, int) and tokens > limit
        return not self._is_full

    # --- the three kinds of output ------------------------------------------------------------

    def _sound(self, said: Utterance) -> Iterator[Due]:
        per_ms = BYTES_PER_MS[item_format(self.options)]
        words = re.findall(r"\S+\s*", said.text)
        told = position = 0
        begin = self._at
        while position < len(said.audio) and not (self._ends_here() or self._is_full):
            self._at = self._burst(begin, position / per_ms)
            yield self._at, []
            size = self._random.randint(*self.reply.pace.delta_ms) * per_ms
            piece = said.audio[position : position + size]
            position += len(piece)
            effects: list[Effect] = []
            # The words run a little ahead of their sound.
            share = (position + _TRANSCRIPT_LEAD_MS * per_ms) / len(said.audio)
            while told < min(len(words), share * len(words)) and self._has_room(text=words[told]):
                effects += self._tell("response.output_audio_transcript.delta", words[told])
                told += 1
            if not self._is_full and self._has_room(audio_ms=len(piece) / per_ms):
                effects.append(self._play(piece, len(piece) / per_ms))
            yield self._at, effects
            begin += self._pause_s()

    def _play(self, piece: bytes, ms: float) -> Effect:
        item = self._current()
        if not item.is_cut:
            item.audio += piece
        self.audio_ms += ms
        return self._item_event(
            "response.output_audio.delta", delta=base64.b64encode(piece).decode()
        )

    def _pause_s(self) -> float:
        """How long the ordered stall lasts, once its place is reached."""
        ending = self.reply.ending
        if self._has_paused or not self._stalls_a_while() or self.audio_ms < (ending.after_ms or 0):
            return 0.0
        self._has_paused = True
        return (ending.for_ms or 0) / 1000

    def _words(self, text: str) -> Iterator[Due]:
        for n, word in enumerate(re.findall(r"\S+\s*", text)):
            self._at += _TEXT_PIECE_MS / 1000 if n else 0
            yield self._at, []
            if not self._has_room(text=word):
                return
            yield self._at, self._tell("response.output_text.delta", word)

    def _call(self, part: CallTool) -> Iterator[Due]:
        item = self._current()
        for n in range(0, len(part.arguments), _ARGUMENT_PIECE):
            piece = part.arguments[n : n + _ARGUMENT_PIECE]
            if not self._has_room(text=piece):
                return
            self._said += piece
            self._text_tokens += text_tokens(piece)
            item.json["arguments"] = self._said
            event = "response.function_call_arguments.delta"
            yield self._at, [self._item_event(event, call_id=item.json["call_id"], delta=piece)]

    def _tell(self, type: str, word: str) -> list[Effect]:
        self._said += word
        self._text_tokens += text_tokens(word)
        return [self._item_event(type, delta=word)]

    def _burst(self, begin: float, audio_ms: float) -> float:
        """When the piece at this place of the audio is sent: together with its neighbours."""
        burst = max(self.reply.pace.burst_ms, 1) / 1000
        return begin + math.floor(audio_ms / 1000 / self.reply.pace.pace / burst) * burst

    # --- items --------------------------------------------------------------------------------

    def _open_item(self, part: Part) -> list[Effect]:
        json: Json = {"id": self.new_id("item"), "object": "realtime.item", "status": "in_progress"}
        if isinstance(part, CallTool):
            call_id = part.call_id or self.new_id("call")
            json |= {
                "type": "function_call",
                "name": part.name,
                "call_id": call_id,
                "arguments": "",
            }
        else:
            json |= {"type": "message", "role": "assistant", "content": []}
        item = Item(json, format=item_format(self.options))
        self.items.append(item)
        self._open, self._said = item, ""
        index = len(self.items) - 1
        effects: list[Effect] = [
            self._event(
                "response.output_item.added",
                response_id=self.id,
                output_index=index,
                item=item.public(),
            )
        ]
        if self.in_band:
            before = self.conversation.last_id
            self.conversation.add(item)
            effects.append(
                self._event("conversation.item.added", previous_item_id=before, item=item.public())
            )
        if isinstance(part, Say):
            effects.append(self._item_event("response.content_part.added", part=self._part()))
            json["content"] = [self._content()]
        return effects

    def _close_item(self, status: str) -> list[Effect]:
        item = self._current()
        effects: list[Effect] = []
        if item.kind == "function_call":
            effects.append(
                self._item_event(
                    "response.function_call_arguments.done",
                    call_id=item.json["call_id"],
                    name=item.json["name"],
                    arguments=self._said,
                )
            )
        else:
            effects += self._close_content()
            if not item.is_cut:
                item.json["content"] = [self._content()]
        item.json["status"] = status
        if self.in_band and item.id in self.conversation:
            before = self.conversation.before(item.id)
            effects.append(
                self._event("conversation.item.done", previous_item_id=before, item=item.public())
            )
        effects.append(
            self._event(
                "response.output_item.done",
                response_id=self.id,
                output_index=len(self.items) - 1,
                item=item.public(),
            )
        )
        self._open = None
        return effects

    def _close_content(self) -> list[Effect]:
        if self.options.modality == "audio":
            done = [
                self._item_event("response.output_audio.done"),
                self._item_event("response.output_audio_transcript.done", transcript=self._said),
            ]
        else:
            done = [self._item_event("response.output_text.done", text=self._said)]
        return [*done, self._item_event("response.content_part.done", part=self._part())]

    def _part(self) -> Json:
        if self.options.modality == "audio":
            return {"type": "audio", "transcript": self._said}
        return {"type": "text", "text": self._said}

    def _content(self) -> Json:
        if self.options.modality == "audio":
            return {"type": "output_audio", "transcript": self._said}
        return {"type": "output_text", "text": self._said}

    def _current(self) -> Item:
        if self._open is None:
            raise RuntimeError("a response has no item open here")
        return self._open

    # --- the end ------------------------------------------------------------------------------

    def _finish(self, status: str, details: Json | None) -> list[Effect]:
        effects = self._close_item("incomplete") if self._open is not None else []
        self.status = status
        done = self.public()
        done["status_details"] = details
        if status != "failed" or self.items:
            done["usage"] = self.usage(self._text_tokens, spoken_tokens(self.audio_ms))
            self.total_tokens = done["usage"]["total_tokens"]
        return [*effects, self._event("response.done", response=done)]

    def public(self) -> Json:
        """The response as events show it: every item, no sound."""
        options = self.options
        return {
            "object": "realtime.response",
            "id": self.id,
            "conversation_id": options.conversation_id,
            "status": self.status,
            "status_details": None,
            "output": [i.public() for i in self.items],
            "output_modalities": [options.modality],
            "max_output_tokens": options.max_tokens,
            "metadata": options.metadata,
            "audio": {"output": {"format": options.format, "voice": options.voice}},
            "usage": None,
        }

    def _event(self, type: str, **members: object) -> Send:
        return Send({"type": type, **members})

    def _item_event(self, type: str, **members: object) -> Send:
        item = self._current()
        place: Json = {
            "response_id": self.id,
            "item_id": item.id,
            "output_index": len(self.items) - 1,
        }
        if item.kind == "message":
            place["content_index"] = 0
        return self._event(type, **place, **members)


def item_format(options: Options) -> str:
    """The audio format of what this response says."""
    return str(options.format["type"])
