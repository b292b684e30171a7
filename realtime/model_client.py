"""The connection to the Realtime API: one socket, bounded queues, a deadline on every send."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from hashlib import sha256
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from django.conf import settings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

OPEN_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 1.0
MAX_EVENT_BYTES = 16 * 1024 * 1024
MAX_WAITING_AUDIO = 250  # frames of 20 ms
MAX_WAITING_EVENTS = 1_000


class ModelUnavailable(Exception):
    """The Realtime API could not be reached, or its connection broke; the text says how.

    `code` is `http_<status>` where the upgrade was answered with an error.
    """

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


class ModelConnection:
    """A session's socket. Audio that cannot be sent is dropped, oldest first; events never are.

    Raises (from `__aenter__`, `events` and `run_sender`):
        ModelUnavailable: the connection failed or ended.
    """

    def __init__(self, model: str, safety_identifier: str = "") -> None:
        self._url = f"{settings.OPENAI_REALTIME_URL}?{urlencode({'model': model})}"
        self._headers = {"Authorization": f"Bearer {settings.OPENAI_API_KEY}"}
        if safety_identifier:
            self._headers["OpenAI-Safety-Identifier"] = sha256(
                safety_identifier.encode()
            ).hexdigest()
        self._socket: ClientConnection | None = None
        self._queue: deque[tuple[bool, str]] = deque()
        self._waiting_audio = 0
        self._has_work = asyncio.Event()
        self.dropped_audio = 0

    async def __aenter__(self) -> Self:
        try:
            self._socket = await connect(
                self._url,
                additional_headers=self._headers,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=10,
                ping_timeout=10,
                max_size=MAX_EVENT_BYTES,
                # Base64 audio does not compress; environment variables choose no proxy for us.
                compression=None,
                proxy=None,
            )
        except InvalidStatus as exc:
            status = exc.response.status_code
            raise ModelUnavailable(f"connecting: HTTP {status}", f"http_{status}") from exc
        except (OSError, TimeoutError, InvalidHandshake) as exc:
            raise ModelUnavailable(f"connecting: {type(exc).__name__}: {exc}") from exc
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._socket is None:
            return
        try:
            # The library's own deadline begins only when our last word has left.
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._socket.close()
        except TimeoutError:
            pass  # a peer that reads nothing hears no goodbye either
        finally:
            self._socket.transport.abort()

    def send_event(self, text: str) -> None:
        """Queue an event.

        Raises:
            ModelUnavailable: the peer has not read for so long that the queue is full.
        """
        if len(self._queue) - self._waiting_audio >= MAX_WAITING_EVENTS:
            raise ModelUnavailable("it has stopped reading")
        self._queue.append((False, text))
        self._has_work.set()

    def send_audio(self, text: str) -> None:
        """Queue audio; the oldest waiting audio makes room."""
        if self._waiting_audio >= MAX_WAITING_AUDIO:
            oldest = next(i for i, (is_audio, _) in enumerate(self._queue) if is_audio)
            del self._queue[oldest]
            self._waiting_audio -= 1
            self.dropped_audio += 1
        self._queue.append((True, text))
        self._waiting_audio += 1
        self._has_work.set()

    async def run_sender(self) -> None:
        """Send what is queued, in order, until cancelled or until the connection ends."""
        socket = self._require()
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._queue:
                is_audio, text = self._queue.popleft()
                self._waiting_audio -= is_audio
                try:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await socket.send(text)
                except TimeoutError as exc:
                    raise ModelUnavailable("it has stopped reading") from exc
                except ConnectionClosed:
                    return  # how it closed is the reader's to tell, after the last events

    async def events(self) -> AsyncIterator[str | bytes]:
        """Everything the model says, as text, until the connection ends."""
        socket = self._require()
        try:
            async for message in socket:
                yield message
        except ConnectionClosed as exc:
            raise ModelUnavailable(_describe(exc)) from exc
        raise ModelUnavailable("the model closed the connection")

    def _require(self) -> ClientConnection:
        if self._socket is None:
            raise ModelUnavailable("not connected")
        return self._socket


def _describe(exc: ConnectionClosed) -> str:
    if exc.rcvd is None:
        ours = f" ({exc.sent.reason or exc.sent.code})" if exc.sent else ""
        return f"the connection broke off{ours}"
    return f"closed with {exc.rcvd.code} {exc.rcvd.reason}".rstrip()
