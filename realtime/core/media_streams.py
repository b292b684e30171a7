"""Twilio's Media Streams messages, parsed and built.

Audio is mu-law, 8 kHz, mono: 8 bytes are 1 ms, a frame of 20 ms is 160 bytes.

Source: Twilio, "Media Streams - WebSocket Messages".
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

FRAME_MS = 20
FRAME_BYTES = 160
BYTES_PER_MS = 8
SILENCE = b"\xff"
MAX_MESSAGE_BYTES = 64 * 1024

_SID = re.compile(r"^[A-Z]{2}[0-9a-f]{32}$")


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """The stream's first facts; `token` is what our TwiML gave it."""

    stream_sid: str
    account_sid: str
    call_sid: str
    token: str
    parameter_call_sid: str


@dataclass(frozen=True, slots=True)
class CallerAudio:
    """Audio of the recipient; `timestamp_ms` is its start on the stream's clock."""

    ulaw: bytes
    timestamp_ms: int
    chunk: int


@dataclass(frozen=True, slots=True)
class MarkEchoed:
    """All audio before the mark was played, or flushed by a clear."""

    name: str


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The recipient pressed a key: one of 0-9 * # A-D."""

    digit: str


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The stream ended: the call is over, or its TwiML moved on."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The greeting before `start`; carries nothing."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message that Twilio would not send; `why` names the fault, never its content."""

    why: str


Message = (
    StreamStarted | CallerAudio | MarkEchoed | KeyPressed | StreamStopped | Connected | Malformed
)


def parse(text: str | bytes | None) -> Message:
    """What Twilio says; whatever is not well formed becomes `Malformed`, never an exception."""
    if not isinstance(text, str):
        return Malformed("not a text frame")
    if len(text) > MAX_MESSAGE_BYTES:
        return Malformed("message too large")
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Malformed("not JSON")
    if not isinstance(data, dict):
        return Malformed("not an object")
    event = data.get("event")
    reader = _READERS.get(event) if isinstance(event, str) else None
    if reader is None:
        return Malformed("unknown event")
    try:
        return reader(data)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        return Malformed(f"{event}: {type(exc).__name__}")


def _media(data: dict[str, Any]) -> Message:
    media = data["media"]
    if media.get("track", "inbound") != "inbound":
        return Malformed("media: wrong track")
    return CallerAudio(
        # binascii.Error is a ValueError.
        binascii.a2b_base64(media["payload"], strict_mode=True),
        _number(media["timestamp"]),
        _number(media.get("chunk", "0")),
    )


def _start(data: dict[str, Any]) -> Message:
    start = data["start"]
    parameters = start.get("customParameters") or {}
    stream, account, call = start["streamSid"], start["accountSid"], start["callSid"]
    if not all(isinstance(sid, str) and _SID.match(sid) for sid in (stream, account, call)):
        return Malformed("start: not a SID")
    encoding = start.get("mediaFormat", {}).get("encoding")
    if encoding != "audio/x-mulaw":
        return Malformed("start: not mu-law")
    token, named = parameters.get("token", ""), parameters.get("callSid", "")
    return StreamStarted(stream, account, call, _text(token), _text(named))


def _mark(data: dict[str, Any]) -> Message:
    return MarkEchoed(_text(data["mark"]["name"]))


def _dtmf(data: dict[str, Any]) -> Message:
    digit = data["dtmf"]["digit"]
    if digit not in set("0123456789*#ABCD"):
        return Malformed("dtmf: unknown key")
    return KeyPressed(digit)


def _number(value: Any) -> int:
    # Twilio writes numbers as strings; a number is accepted too. Five thousand digits are not.
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TypeError
    if isinstance(value, str) and (len(value) > 15 or not value.isascii() or not value.isdigit()):
        raise ValueError
    if not 0 <= int(value) < 10**15:
        raise ValueError
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_READERS: dict[str, Callable[[dict[str, Any]], Message]] = {
    "media": _media,
    "mark": _mark,
    "start": _start,
    "dtmf": _dtmf,
    "stop": lambda _: StreamStopped(),
    "connected": lambda _: Connected(),
}


class PhoneWriter:
    """Builds messages to one stream; the SID is the same in all of them."""

    def __init__(self, stream_sid: str) -> None:
        self._sid = stream_sid
        self.clear = f'{{"event":"clear","streamSid":"{stream_sid}"}}'

    def media(self, ulaw: bytes) -> str:
        """Queue audio behind what is queued; raw mu-law 8 kHz, any length."""
        payload = binascii.b2a_base64(ulaw, newline=False).decode("ascii")
        return f'{{"event":"media","streamSid":"{self._sid}","media":{{"payload":"{payload}"}}}}'

    def mark(self, name: str) -> str:
        """Ask for a receipt when everything queued so far was played. `name` is ours: no quotes."""
        return f'{{"event":"mark","streamSid":"{self._sid}","mark":{{"name":"{name}"}}}}'


class CallerTimeline:
    """Keeps the recipient's audio continuous: the model's ear must not lose time.

    Twilio's timestamps say where a frame belongs. Silence goes into gaps, repeated and
    overtaken chunks are dropped. Positions are ms of audio handed on since the first frame.
    """

    MAX_FILL_MS = 10_000
    _JITTER_MS = 10
    _MAX_AHEAD_MS = 60_000
    _MAX_CHUNKS_AHEAD = 3_000

    def __init__(self) -> None:
        self.first_ms: int | None = None
        self._end_ms = 0
        self._odd_bytes = 0  # behind `_end_ms`, not yet a millisecond
        self._last_chunk = 0
        self.filled_ms = 0
        self.dropped = 0

    @property
    def end_ms(self) -> int:
        """Where the next frame is expected, on the stream's clock."""
        return self._end_ms

    @property
    def position_ms(self) -> int:
        """How much audio was handed on."""
        return 0 if self.first_ms is None else self._end_ms - self.first_ms

    def accept(self, frame: CallerAudio) -> bytes:
        """The frame, with silence before it where time is missing; empty if it is a repetition."""
        if self._is_out_of_place(frame):
            self.dropped += 1
            return b""
        self._last_chunk = frame.chunk or self._last_chunk
        if self.first_ms is None:
            self.first_ms = self._end_ms = frame.timestamp_ms
        gap_ms = frame.timestamp_ms - self._end_ms
        if gap_ms < -self._JITTER_MS:
            # The line had only stalled: what was filled in meanwhile is audio too much.
            self.first_ms += gap_ms
            self._end_ms = frame.timestamp_ms
            gap_ms = 0
        if gap_ms <= self._JITTER_MS:
            # Small differences add up until they are worth filling.
            self._count(frame.ulaw)
            return frame.ulaw
        fill_ms = min(gap_ms, self.MAX_FILL_MS)
        self.filled_ms += fill_ms
        # Time beyond the largest fill is given up: the model's clock falls behind by it.
        self.first_ms += gap_ms - fill_ms
        self._end_ms = frame.timestamp_ms
        self._count(frame.ulaw)
        return SILENCE * (fill_ms * BYTES_PER_MS) + frame.ulaw

    def _count(self, ulaw: bytes) -> None:
        # Frames need not be whole milliseconds long.
        whole_ms, self._odd_bytes = divmod(self._odd_bytes + len(ulaw), BYTES_PER_MS)
        self._end_ms += whole_ms

    def _is_out_of_place(self, frame: CallerAudio) -> bool:
        """Repeated or overtaken, or so far ahead that it cannot be true."""
        if frame.chunk and frame.chunk <= self._last_chunk:
            return True
        if frame.chunk > self._last_chunk + self._MAX_CHUNKS_AHEAD:
            return True
        return frame.timestamp_ms > self._end_ms + self._MAX_AHEAD_MS

    def pad(self, length_ms: int) -> bytes:
        """Silence for a line that has gone quiet, so that the model can end the turn."""
        self._end_ms += length_ms
        self.filled_ms += length_ms
        return SILENCE * (length_ms * BYTES_PER_MS)
