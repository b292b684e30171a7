"""Twilio's door for media: lets a stream in and hands its words to a bridge.

Channels tidies database connections on a worker thread before every message, and listens to the
channel layer. A media frame comes every 20 ms, touches no database and must not depend on Redis:
this consumer reads its socket itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from asgiref.typing import WebSocketScope
from channels.consumer import AsyncConsumer
from django.db import close_old_connections
from django.utils import timezone

from calls.core.facts import ConversationEnded
from calls.core.lifecycle import EndReason
from calls.deadlines import database_deadline
from calls.services import streams, transcripts
from calls.signing import is_signed_handshake
from realtime.bridge import Bridge
from realtime.core import media_streams
from realtime.core.call import SessionCall
from realtime.core.effects import Finish
from realtime.journal import journal

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 5.0
LET_IN_S = 3.0
NOTE_END_S = 3.0
NORMAL, POLICY_VIOLATION, INTERNAL_ERROR = 1000, 1008, 1011

T = TypeVar("T")
_threads = ThreadPoolExecutor(4, thread_name_prefix="media-database")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class MediaStreamConsumer(AsyncConsumer):  # type: ignore[misc]  # channels has no types
    """The server end of one Twilio Media Stream."""

    async def __call__(self, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if not is_signed_handshake(scope):
            logger.warning("[Twilio Stream] handshake without a valid signature refused")
            await send({"type": "websocket.close"})  # before accept: HTTP 403
            return
        await send({"type": "websocket.accept"})
        logger.info("[Twilio Stream] WebSocket connection opened")
        start = await _read_start(receive)
        if start is None:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        try:
            opened = await _in_database(partial(_let_in, start), LET_IN_S)
        except Exception:
            # Not for good: Twilio goes on to ask for a new stream.
            logger.exception("[Twilio Stream] %s could not be let in", start.call_sid)
            await send({"type": "websocket.close", "code": INTERNAL_ERROR})
            return
        if isinstance(opened, streams.RefusedStream):
            logger.warning("[Twilio Stream] %s refused: %s", start.call_sid, opened.why)
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        logger.info("[Twilio Stream] Stream started for call: %s", start.call_sid)
        await _serve(start, opened, receive, send)


async def _read_start(receive: Receive) -> media_streams.StreamStarted | None:
    """`start` follows `connected` at once; whoever keeps us waiting is not Twilio."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                event = await receive()
                if event["type"] != "websocket.receive":
                    return None
                message = media_streams.parse(event.get("text"))
                if isinstance(message, media_streams.StreamStarted):
                    return message
                if not isinstance(message, media_streams.Connected):
                    return None
    except TimeoutError:
        return None


def _let_in(start: media_streams.StreamStarted) -> streams.OpenedStream | streams.RefusedStream:
    if start.parameter_call_sid != start.call_sid:
        return streams.RefusedStream("callSid differs from the parameter")
    return streams.open_stream(
        call_sid=start.call_sid,
        account_sid=start.account_sid,
        stream_sid=start.stream_sid,
        token=start.token,
    )


async def _serve(
    start: media_streams.StreamStarted, opened: streams.OpenedStream, receive: Receive, send: Send
) -> None:
    call = _session_call(start, opened)

    async def send_text(text: str) -> None:
        await send({"type": "websocket.send", "text": text})

    is_open = True
    ended = Finish(None)

    async def listen() -> None:
        nonlocal is_open
        while (event := await receive())["type"] == "websocket.receive":
            bridge.feed(event.get("text"))
        is_open = False
        bridge.stream_lost()

    try:
        bridge = Bridge(call, send_text, journal())
        ended = await bridge.run(listen())
    except Exception:
        logger.exception("call %s: the conversation failed", call.call_id)
        ended = Finish(EndReason.INTERNAL_ERROR)
    finally:
        # Whoever is asked next what became of the call, by Twilio, must find it in the database.
        await _note_end(call, ended)
        if is_open:
            code = INTERNAL_ERROR if ended.reason is EndReason.INTERNAL_ERROR else NORMAL
            await send({"type": "websocket.close", "code": code})
    logger.info("call %s: stream ended: %s", call.call_id, ended.reason or "lost")


def _session_call(start: media_streams.StreamStarted, opened: streams.OpenedStream) -> SessionCall:
    origin = timezone.now() - opened.connected_at
    return SessionCall(
        opened.call_id,
        start.stream_sid,
        opened.brief,
        opened.generation,
        max(int(origin.total_seconds() * 1000), 0),
        opened.history,
    )


async def _note_end(call: SessionCall, ended: Finish) -> None:
    """Write down the end of the stream and, where it has one, the conversation's.

    The journal holds the latter too, for a database that is away; twice is once.
    """
    fact = _end_of(call, ended)
    if fact is not None:
        journal().put(fact)
    try:
        await _in_database(partial(_write_end, call, fact), NOTE_END_S)
    except Exception:
        logger.exception("call %s: the end of the stream was not noted", call.call_id)


def _write_end(call: SessionCall, fact: ConversationEnded | None) -> None:
    if fact is not None:
        transcripts.record([fact])
    streams.close_stream(call.call_id, call.generation)


def _end_of(call: SessionCall, ended: Finish) -> ConversationEnded | None:
    if ended.reason is None:
        return None  # only the stream was lost
    at = timezone.now().isoformat()
    reason, detail, code = ended.reason.value, ended.detail[:500], ended.code[:64]
    return ConversationEnded(call.call_id, reason, detail, at, call.generation, code)


async def _in_database(work: Callable[[], T], timeout_s: float) -> T:
    """Do `work` in a thread of the streams' own.

    Channels shares one thread among all that it lets ask the database: a slow page would keep
    calls waiting.

    Raises:
        TimeoutError: it may still be done, later.
    """

    def in_thread() -> T:
        close_old_connections()
        try:
            with database_deadline(timeout_s):
                return work()
        finally:
            close_old_connections()

    async with asyncio.timeout(timeout_s):
        return await asyncio.get_running_loop().run_in_executor(_threads, in_thread)
