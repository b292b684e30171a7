"""The carrier's end of a Media Stream: a WebSocket client that plays, listens and keeps count.

Source: Twilio, Media Streams WebSocket messages; twilio.md section D.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from yarl import URL

from sandbox.state import State
from sandbox.twilio import signing
from sandbox.twilio.calls import Call, new_sid
from sandbox.twilio.errors import tell_debugger
from sandbox.twilio.line import Line, Output
from sandbox.twilio.playback import Playback
from sandbox.twilio.twiml import Stream
from sandbox.twilio.ulaw import FRAME_MS
from sandbox.twilio.webhooks import routed

CONNECT_S = 5.0
CLOSE_S = 2.0
MOST_WAITING = 500
"""Messages not yet taken by the server; audio beyond (ten seconds) is lost (31930)."""
MOST_EVER = 2 * MOST_WAITING
"""As above, for messages of any kind."""
NORMAL_CLOSES = (1000, 1001, 1005)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stream ended; code 0 is a normal end."""

    code: int = 0
    reason: str = ""


class MediaStream:
    """One `<Connect><Stream>`, from the handshake to the close."""

    def __init__(self, state: State, call: Call, verb: Stream, line: Line) -> None:
        self.sid = new_sid("MZ")
        self.playback = Playback()
        self.invalid = 0
        self._state = state
        self._call = call
        self._verb = verb
        self._line = line
        self._waiting: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._warned: set[int] = set()
        self._sequence = 0
        self._chunk = 0
        self._first_frame: int | None = None
        self._lost_until = -1
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._is_mute = False
        self._end: Ended | None = None

    # --- towards the server ----------------------------------------------------------------------

    async def run(self, session: aiohttp.ClientSession, started: Callable[[], None]) -> Ended:
        """Connect and stay until the server closes; when cancelled, say `stop` and close."""
        if problem := self._problem():
            return problem
        try:
            async with asyncio.timeout(CONNECT_S):
                self._socket = await self._connect(session)
        except TimeoutError:
            return Ended(31901, "no answer to the handshake")
        except aiohttp.WSServerHandshakeError as exc:
            return Ended(31920, f"HTTP {exc.status} instead of 101")
        except aiohttp.ClientSSLError as exc:
            return Ended(31910, str(exc))
        except ValueError as exc:  # aiohttp.InvalidURL among them
            return Ended(31923, str(exc))
        except (aiohttp.ClientError, OSError) as exc:
            return Ended(_unreachable(exc), str(exc))
        started()
        return await self._converse(self._socket)

    def _problem(self) -> Ended | None:
        try:
            parts = urlsplit(self._verb.url)
        except ValueError:
            parts = urlsplit("")
        if not parts.hostname or parts.scheme not in ("ws", "wss", "http", "https"):
            return Ended(31923, f"malformed URL {self._verb.url!r}")
        is_loopback = parts.hostname in ("localhost", "::1") or parts.hostname.startswith("127.")
        if parts.scheme != "wss" and not (parts.scheme == "ws" and is_loopback):
            return Ended(31922, f"scheme {parts.scheme!r}")
        if self._verb.track != "inbound_track":
            return Ended(31941, f"track {self._verb.track!r}")
        if parts.query and self._state.options.stream_query == "refuse":
            return Ended(31920, "the URL has a query string")
        if self._take("refuse"):
            return Ended(31902, "refused on order")
        return None

    async def _connect(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        parts = urlsplit(self._verb.url)
        url = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        options = self._state.options
        signed = signing.headers(url, [], options.auth_token, options.shared_key)
        if self._take("bad-signature"):
            signed["X-Twilio-Signature"] = signing.forge(signed["X-Twilio-Signature"])
        address, headers = routed(url, options.routes)
        return await session.ws_connect(
            URL(address, encoded=True),
            headers=signed | headers,
            compress=0,
            max_msg_size=16 * 1024 * 1024,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
        )

    async def _converse(self, ws: aiohttp.ClientWebSocketResponse) -> Ended:
        self._log("connected", {"url": self._verb.url})
        self._put({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        if not self._take("no-start"):
            self._start()
        sender = asyncio.create_task(self._send(ws))
        troubles = [asyncio.create_task(work) for work in self._troubles(ws)]
        try:
            return await self._read(ws)
        except asyncio.CancelledError:
            await self._stop(ws, sender)
            raise
        finally:
            self._line.close_stream(self)
            for task in (sender, *troubles):
                task.cancel()
            await asyncio.gather(sender, *troubles, return_exceptions=True)
            await ws.close()
            self._log("closed", {"messages": self._sequence, "invalid": self.invalid})

    def _start(self) -> None:
        self._put_numbered(
            "start",
            start={
                "streamSid": self.sid,
                "accountSid": self._call.account_sid,
                "callSid": self._call.sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": dict(self._verb.parameters),
            },
        )
        self._log("start", {"parameters": dict(self._verb.parameters)})
        self._line.open_stream(Output("stream", self.playback, self.sid), self)

    def hear(self, frame: int, audio: bytes) -> None:
        """Send one frame of the person."""
        if self._first_frame is None:
            self._first_frame = frame
        if frame < self._lost_until:
            return
        if self._waiting.qsize() >= MOST_WAITING:
            self._warn(31930)
            return
        self._chunk += 1
        message = {
            "track": "inbound",
            "chunk": str(self._chunk),
            "timestamp": str((frame - self._first_frame) * FRAME_MS),
            "payload": base64.b64encode(audio).decode(),
        }
        self._put_numbered("media", media=message)

    def digit(self, key: str) -> None:
        """Send one key press."""
        self._put_numbered("dtmf", dtmf={"track": "inbound_track", "digit": key})
        self._log("dtmf", {"digit": key})

    def echo(self, name: str) -> None:
        """Send a mark back."""
        self._log("mark echoed", {"name": name})
        if not self._take("drop-marks"):
            self._put_numbered("mark", mark={"name": name})

    def _put_numbered(self, event: str, **body: dict[str, Any]) -> None:
        self._sequence += 1
        message = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self.sid}
        self._put(message | body)
        if event == "media" and self._take("duplicate"):
            self._put(message | body)

    def _put(self, message: dict[str, Any]) -> None:
        if self._waiting.qsize() >= MOST_EVER:
            self._warn(31930)
        elif not self._is_mute:
            self._waiting.put_nowait(message)

    async def _send(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        jitter = self._take("jitter")
        while (message := await self._waiting.get()) is not None:
            # Waiting only when nothing else does keeps the delay from growing.
            if jitter is not None and self._waiting.empty():
                late = random.uniform(0, jitter.seconds / 1000)  # noqa: S311 - not for secrets
                await self._state.clock.sleep(late)
            elif message["event"] == "media" and (burst := self._take("burst")):
                await self._state.clock.sleep(burst.seconds)
            try:
                await ws.send_str(json.dumps(message, separators=(",", ":")))
            except (ConnectionError, aiohttp.ClientError) as exc:
                self._end = Ended(31903, str(exc) or "broken pipe")
                return

    async def _stop(self, ws: aiohttp.ClientWebSocketResponse, sender: asyncio.Task[None]) -> None:
        """The call is over or goes elsewhere: say so and close."""
        if self._is_mute:
            return
        if not self._take("no-stop"):
            body = {"accountSid": self._call.account_sid, "callSid": self._call.sid}
            self._put_numbered("stop", stop=body)
            self._log("stop", {})
        self._waiting.put_nowait(None)
        try:
            async with asyncio.timeout(CLOSE_S):
                await asyncio.shield(sender)
        except TimeoutError:
            self._log("stop not taken", {})
        await ws.close(code=1000)

    # --- from the server -------------------------------------------------------------------------

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> Ended:
        stop_reading = self._take("stop-reading")
        began = self._state.clock.now()
        while True:
            message = await ws.receive()
            if stop_reading and self._state.clock.now() - began >= stop_reading.seconds:
                self._log("stops reading", {})
                await asyncio.Event().wait()
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    self._take_text(message.data)
                case aiohttp.WSMsgType.BINARY:
                    self._warn(31950)
                case aiohttp.WSMsgType.ERROR:
                    return Ended(31924, str(message.data))
                case _:
                    return self._closed(ws.close_code)

    def _closed(self, code: int | None) -> Ended:
        if self._end is not None:
            return self._end
        self._log("closed by server", {"code": code})
        if code in NORMAL_CLOSES:
            return Ended()
        return Ended(31921, f"close code {code}")

    def _take_text(self, text: str) -> None:
        message = read_message(text, self.sid)
        if isinstance(message, str):
            self.invalid += 1
            self._warn(31951, message)
            return
        frame = self._line.frame
        match message:
            case {"event": "media", "media": audio}:
                if not self.playback.queued_ms:
                    self._log("media begins", {"bytes": len(audio)})
                if not self.playback.media(audio):
                    self._warn(31931)
            case {"event": "mark", "mark": name}:
                self._log("mark", {"name": name, "queued_ms": self.playback.queued_ms})
                if self.playback.mark(name, frame):
                    self.echo(name)
            case {"event": "clear"}:
                dropped_ms = self.playback.queued_ms
                names = self.playback.clear(frame)
                self._log("clear", {"dropped_ms": dropped_ms, "marks": names})
                for name in names:
                    self.echo(name)

    # --- trouble on order ------------------------------------------------------------------------

    def _take(self, kind: str) -> Any:
        return self._state.faults.take("stream", kind, call=self._call.to)

    def _troubles(self, ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
        works = []
        if fault := self._take("reset"):
            works.append(self._later(fault.seconds, lambda: self._reset(ws)))
        if fault := self._take("half-open"):
            works.append(self._later(fault.seconds, self._fall_silent))
        if fault := self._take("gap"):
            lost = round(fault.seconds * 1000 / FRAME_MS)
            works.append(self._later(1.0, lambda: self._lose(lost)))
        if self._take("bad-frames"):
            works.append(self._later(0.5, self._talk_nonsense))
        return works

    async def _later(self, seconds: float, action: Callable[[], None]) -> None:
        await self._state.clock.sleep(seconds)
        action()

    def _reset(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._log("reset", {})
        self._end = Ended(31903, "connection reset")
        reset(ws)

    def _fall_silent(self) -> None:
        self._log("half-open", {})
        self._is_mute = True

    def _lose(self, frames: int) -> None:
        self._log("gap", {"frames": frames})
        self._lost_until = self._line.frame + frames

    def _talk_nonsense(self) -> None:
        for nonsense in (
            {"event": "unheard-of", "sequenceNumber": "0", "streamSid": self.sid},
            {"event": "media", "streamSid": self.sid},
            {"event": "media", "streamSid": self.sid, "media": {"payload": "%%%"}},
            {"event": "media", "streamSid": self.sid, "media": {"payload": 7}},
            {"event": "mark", "streamSid": self.sid, "mark": {}},
            {"event": None},
        ):
            self._put(nonsense)

    def _warn(self, code: int, detail: str = "") -> None:
        """Tell the debugger, once per stream and code."""
        if code not in self._warned:
            self._warned.add(code)
            tell_debugger(self._state.log, code, call=self._call.sid, detail=detail)

    def _log(self, what: str, data: dict[str, Any]) -> None:
        where = {"call": self._call.sid, "stream": self.sid, "frame": self._line.frame}
        self._state.log.add("stream", what, where | data)


def _unreachable(exc: aiohttp.ClientError | OSError) -> int:
    is_far = getattr(exc, "errno", None) in (errno.EHOSTUNREACH, errno.ENETUNREACH)
    return 31904 if is_far or isinstance(exc, aiohttp.ClientConnectorDNSError) else 31902


def reset(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Cut a connection so that the other end sees RST, not an orderly end."""
    sock = ws.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport = getattr(getattr(ws, "_writer", None), "transport", None)
    if transport is not None:
        transport.abort()


def read_message(text: str, stream_sid: str) -> dict[str, Any] | str:
    """Read one message of the server: its event and value, or what is wrong with it.

    `media` comes with the audio as bytes, `mark` with its name.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return "not JSON"
    if not isinstance(message, dict):
        return "not an object"
    event = message.get("event")
    if message.get("streamSid") != stream_sid:
        return "streamSid is not that of this stream"
    match event:
        case "clear":
            return message if set(message) == {"event", "streamSid"} else "clear has other fields"
        case "media" | "mark":
            return _read_body(str(event), message)
        case _:
            return f"unknown event {event!r}"


def _read_body(event: str, message: dict[str, Any]) -> dict[str, Any] | str:
    field = "payload" if event == "media" else "name"
    body = message.get(event)
    if set(message) != {"event", "streamSid", event} or not isinstance(body, dict):
        return f"{event} must have event, streamSid and {event}, and nothing else"
    value = body.get(field)
    if set(body) != {field} or not isinstance(value, str) or not value:
        return f"{event}.{field} must be a text, and alone"
    if event == "mark":
        return {"event": event, "mark": value}
    try:
        return {"event": event, "media": base64.b64decode(value, validate=True)}
    except ValueError:  # binascii.Error, and another for letters beyond ASCII
        return "media.payload is not base64"
