"""Twilio's recordings as a real HTTP server, which can be told to fail in every way."""

from __future__ import annotations

import io
import json
import threading
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt

RATE_HZ = 8000
Samples = npt.NDArray[np.int16]


def tone(hz: float, seconds: float, *, peak: int = 12_000) -> Samples:
    """A steady sound."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound: Samples = np.rint(peak * np.sin(2 * np.pi * hz * time)).astype(np.int16)
    return sound


def wav_of(*channels: Samples, rate_hz: int = RATE_HZ) -> bytes:
    """A WAV file of these channels."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.stack(channels, axis=1).astype("<i2").tobytes())
    return target.getvalue()


def talk(seconds: float = 10.0) -> bytes:
    """A recorded call: a low voice on the left, a high one on the right."""
    return wav_of(tone(300, seconds), tone(1200, seconds, peak=6000))


@dataclass
class Told:
    """What the API says of a recording."""

    call_sid: str
    status: str = "completed"
    duration_s: int | None = 10
    channels: int = 2
    error_code: int | None = None


@dataclass
class Asked:
    """A request that arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


Answer = Callable[["Handler"], None]


@dataclass
class FakeTwilio:
    """`told` and `media` are what it has; `answers` come first, one per media request."""

    told: dict[str, Told] = field(default_factory=dict)
    media: dict[str, bytes] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    api_answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    password: str | None = None

    def __enter__(self) -> Self:
        bound = type("Bound", (Handler,), {"twilio": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        self._server.daemon_threads = True
        self.released = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def has(self, sid: str, call_sid: str | None, media: bytes | None = None, **told: Any) -> None:
        """Let it hold a recording."""
        self.told[sid] = Told(str(call_sid), **told)
        self.media[sid] = talk() if media is None else media

    def asked_for(self, end: str) -> list[Asked]:
        """The requests whose path ends so."""
        return [request for request in self.asked if request.path.endswith(end)]


class Handler(BaseHTTPRequestHandler):
    """One request; HTTP/1.1, so that a body may come in chunks."""

    protocol_version = "HTTP/1.1"
    twilio: FakeTwilio

    def log_message(self, format: str, *args: object) -> None:
        """Tests need no log of it."""

    def do_GET(self) -> None:
        """Serve a recording, its description or the list of a call's."""
        path, query = self._note()
        name = path.rpartition("/")[2]
        if name.endswith(".wav"):
            self._media(name.removesuffix(".wav"))
        elif self.twilio.api_answers:
            self.twilio.api_answers.pop(0)(self)
        elif name == "Recordings.json":
            call_sid = query.get("CallSid", [""])[0]
            found = [sid for sid, told in self.twilio.told.items() if told.call_sid == call_sid]
            self.send_json(200, {"recordings": [self._describe(sid) for sid in found]})
        elif (sid := name.removesuffix(".json")) in self.twilio.told:
            self.send_json(200, self._describe(sid))
        else:
            self.send_json(404, {"code": 20404, "message": "not found", "status": 404})

    def do_DELETE(self) -> None:
        """Forget a recording."""
        path, _ = self._note()
        if self.twilio.api_answers:
            self.twilio.api_answers.pop(0)(self)
            return
        sid = path.rpartition("/")[2].removesuffix(".json")
        known = self.twilio.told.pop(sid, None)
        self.send(204 if known else 404, b"", "application/json")

    def send_json(self, status: int, body: object) -> None:
        """Answer with JSON."""
        self.send(status, json.dumps(body).encode(), "application/json")

    def send(
        self, status: int, body: bytes, kind: str = "audio/x-wav", length: int | None = None
    ) -> None:
        """Answer with a body, whose length may be a lie."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, location: str) -> None:
        """Send the client elsewhere."""
        self.send_response(302)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _note(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.twilio.asked.append(
            Asked(self.command, parts.path, query, {k.lower(): v for k, v in self.headers.items()})
        )
        return parts.path, query

    def _media(self, sid: str) -> None:
        if self.twilio.answers:
            self.twilio.answers.pop(0)(self)
        elif sid in self.twilio.media:
            self.send(200, self.twilio.media[sid])
        else:
            self.send_json(404, {"code": 20404, "message": "not found", "status": 404})

    def _describe(self, sid: str) -> dict[str, object]:
        told = self.twilio.told[sid]
        return {
            "sid": sid,
            "call_sid": told.call_sid,
            "status": told.status,
            "duration": None if told.duration_s is None else str(told.duration_s),
            "channels": told.channels,
            "error_code": told.error_code,
            "date_created": "Mon, 23 Nov 2026 10:00:00 +0000",
        }


def status(code: int, body: bytes = b"{}", kind: str = "application/json") -> Answer:
    """An answer of this HTTP status."""
    return lambda handler: handler.send(code, body, kind)


def body(data: bytes, kind: str = "audio/x-wav") -> Answer:
    """A good answer with this body."""
    return lambda handler: handler.send(200, data, kind)


def cut(data: bytes, at: int) -> Answer:
    """Announces the whole length, and breaks off."""

    def answer(handler: Handler) -> None:
        handler.send(200, data[:at], length=len(data))
        handler.close_connection = True

    return answer


def cut_chunks(data: bytes, at: int) -> Answer:
    """Sends chunks, and breaks off before the last one."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "audio/x-wav")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        if at:
            handler.wfile.write(b"%x\r\n%s\r\n" % (at, data[:at]))
        handler.close_connection = True

    return answer


def without_length(data: bytes) -> Answer:
    """Ends by closing the connection, so that nobody can know whether it is whole."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "audio/x-wav")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


def endless(start: bytes, status: int = 200, location: str = "") -> Answer:
    """Never stops sending until the client has gone."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        if location:
            handler.send_header("Location", location)
        handler.send_header("Content-Type", "audio/x-wav")
        handler.end_headers()
        handler.close_connection = True
        try:
            handler.wfile.write(start)
            while not handler.twilio.released.is_set():
                handler.wfile.write(bytes(65536))
        except OSError:
            return

    return answer


def endless_redirect(location: str) -> Answer:
    """Sends the client elsewhere, with a body that never ends."""
    return endless(b"", 302, location)


def redirect(location: str) -> Answer:
    """Sends the client elsewhere."""
    return lambda handler: handler.redirect(location)
