"""The shell of a session: two sockets, one clock, bounded queues. It decides nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime

from django.db import Error as DatabaseError

from calls.core.lifecycle import EndReason
from calls.services import streams
from realtime import tools
from realtime.core import media_streams, realtime_events
from realtime.core.call import SessionCall
from realtime.core.effects import AudioToModel, Effect, Finish, Record, RunTool, ToModel, ToPhone
from realtime.core.session import Session
from realtime.journal import Journal
from realtime.model_client import ModelConnection, ModelUnavailable

logger = logging.getLogger(__name__)

TICK_S = 0.1
FLUSH_S = 2.0
SUCCESSOR_EVERY_S = 2.0
MAX_BAD_MESSAGES = 50
BAD_WINDOW_S = 10.0
MAX_TO_PHONE = 5_000

SendText = Callable[[str], Awaitable[None]]


class Bridge:
    """Serves one call from `start` to the end; `run` returns when the stream is to be closed."""

    def __init__(self, call: SessionCall, send: SendText, journal: Journal) -> None:
        self._call = call
        self._send = send
        self._journal = journal
        specs = tools.specs(call.brief.tools)
        self._session = Session(call, specs, time.monotonic(), datetime.now(UTC))
        self._model = ModelConnection(call.brief.model, call.call_id)
        self._to_phone: deque[str] = deque()
        self._has_words = asyncio.Event()
        self._over = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._bad: deque[float] = deque(maxlen=MAX_BAD_MESSAGES)
        self.ended: Finish | None = None

    # -- the phone's side: called by the consumer for every message --------------------------------
    def feed(self, text: str | bytes | None) -> None:
        """A message of Twilio's; malformed ones are counted, and too many end the stream."""
        message = media_streams.parse(text)
        now = time.monotonic()
        if isinstance(message, media_streams.Malformed):
            self._count_bad(message, now)
        else:
            self._do(self._session.caller(message, now))

    def stream_lost(self) -> None:
        """The phone's socket is gone."""
        self._do(self._session.stream_lost(time.monotonic()))

    def _count_bad(self, message: media_streams.Malformed, now: float) -> None:
        self._bad.append(now)
        if len(self._bad) == MAX_BAD_MESSAGES and now - self._bad[0] < BAD_WINDOW_S:
            logger.warning(
                "call %s: too many malformed messages: %s", self._call.call_id, message.why
            )
            self.stream_lost()

    # -- life ------------------------------------------------------------------------------------
    async def run(self, listen: Coroutine[None, None, None]) -> Finish:
        """Hold the conversation; `listen` feeds this bridge until the phone's socket is gone.

        The model's socket is closed and the journal flushed (or given 2 s) before this returns,
        so that whoever is asked next what became of the call can know.
        """
        try:
            async with self._group as group:
                group.create_task(listen)
                group.create_task(self._speak_to_phone())
                group.create_task(self._tick())
                group.create_task(self._talk_to_model())
                group.create_task(self._watch_successor())
                await self._until_over()
        except* _Over:
            pass
        await self._journal.flush(FLUSH_S)
        return self.ended or Finish(EndReason.INTERNAL_ERROR)

    async def _until_over(self) -> None:
        await self._over.wait()
        raise _Over

    async def _talk_to_model(self) -> None:
        try:
            async with self._model as model, asyncio.TaskGroup() as group:
                logger.info("[Twilio Stream] OpenAI Realtime connected")
                group.create_task(model.run_sender())
                group.create_task(self._listen_to(model))
        except* ModelUnavailable as failed:
            first = failed.exceptions[0]
            code = first.code if isinstance(first, ModelUnavailable) else ""
            logger.warning("call %s: model connection: %s", self._call.call_id, first)
            self._do(self._session.model_lost(str(first), time.monotonic(), code))

    async def _listen_to(self, model: ModelConnection) -> None:
        async for text in model.events():
            self._do(self._session.model(realtime_events.parse(text), time.monotonic()))

    async def _speak_to_phone(self) -> None:
        while True:
            await self._has_words.wait()
            self._has_words.clear()
            while self._to_phone:
                await self._send(self._to_phone.popleft())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._do(self._session.tick(time.monotonic()))

    async def _watch_successor(self) -> None:
        """Two streams never speak on one call for long: the older one goes."""
        call = self._call
        while True:
            await asyncio.sleep(SUCCESSOR_EVERY_S)
            try:
                async with asyncio.timeout(SUCCESSOR_EVERY_S):
                    is_superseded = await self._journal.ask(
                        streams.is_superseded, call.call_id, call.generation
                    )
            except (TimeoutError, DatabaseError):
                continue  # the conversation does not depend on the database
            if is_superseded:
                logger.warning("call %s: a newer stream has taken over", call.call_id)
                self.stream_lost()
                return

    async def _run_tool(self, effect: RunTool) -> None:
        output = await tools.run(effect.name, effect.arguments, self._call.call_id)
        self._do(self._session.tool_finished(effect.call_id, output, time.monotonic()))

    # -- effects ---------------------------------------------------------------------------------
    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case AudioToModel(text):
                    self._model.send_audio(text)
                case ToPhone(text):
                    self._say(text)
                case ToModel(text):
                    self._tell_model(text)
                case Record(fact):
                    self._journal.put(fact)
                case RunTool():
                    if not self._over.is_set():
                        self._group.create_task(self._run_tool(effect))
                case Finish():
                    self.ended = effect
                    self._over.set()

    def _say(self, text: str) -> None:
        if len(self._to_phone) >= MAX_TO_PHONE:
            # Twilio has stopped reading; the line is of no use any more.
            self.stream_lost()
            return
        self._to_phone.append(text)
        self._has_words.set()

    def _tell_model(self, text: str) -> None:
        try:
            self._model.send_event(text)
        except ModelUnavailable as exc:
            self._do(self._session.model_lost(str(exc), time.monotonic()))


class _Over(Exception):
    """The conversation has ended: let go of every task."""
