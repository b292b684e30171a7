"""Tells open pages that a call has changed. A hint carries nothing: pages re-read what is newer.

Hints may be late, lost or repeated without harm, because every page also asks by itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from importlib import import_module
from typing import Any, ClassVar
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import BaseChannelLayer, get_channel_layer
from django.conf import settings
from django.contrib.auth import get_user
from django.db import transaction
from django.http import HttpRequest
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

HINT_DEADLINE_S = 1.0
# After a failure nobody waits for the layer again for this long: webhooks must stay quick.
PAUSE_AFTER_FAILURE_S = 5.0
LAYER_ERRORS = (RedisError, OSError, TimeoutError, RuntimeError)

_silent_until = 0.0
# The loop that serves this process's pages, once there is one.
_serving_loop: asyncio.AbstractEventLoop | None = None


def group_of(call_id: UUID | str) -> str:
    """The layer's group of everybody who watches a call."""
    return f"call_{UUID(str(call_id)).hex}"


def hint_on_commit(call_id: UUID | str) -> None:
    """Tell open pages, once the transaction is through, that something about the call is new.

    Best effort: never raises, and waits for the channel layer for at most a second.
    """

    def hint() -> None:
        _hint_now(call_id)

    transaction.on_commit(hint, robust=True)


async def ahint(call_id: UUID | str) -> None:
    """The same for coroutines, at once; nothing to commit."""
    layer = get_channel_layer()
    if layer is None or time.monotonic() < _silent_until:
        return
    try:
        async with asyncio.timeout(HINT_DEADLINE_S):
            await layer.group_send(group_of(call_id), {"type": "call.changed"})
    except LAYER_ERRORS as exc:
        _keep_silent(exc)


def _hint_now(call_id: UUID | str) -> None:
    if time.monotonic() < _silent_until:
        return
    loop = _serving_loop
    if loop is not None and loop.is_running():
        # Pages are served here: their own loop sends, nobody waits.
        asyncio.run_coroutine_threadsafe(ahint(call_id), loop)
        return
    try:
        async_to_sync(ahint)(call_id)
    except RuntimeError as exc:  # called on an event loop: pages ask again by themselves
        logger.debug("no hint: %s", exc)


def _keep_silent(exc: BaseException) -> None:
    global _silent_until
    _silent_until = time.monotonic() + PAUSE_AFTER_FAILURE_S
    logger.debug("channel layer is away, no hints for %s s: %r", PAUSE_AFTER_FAILURE_S, exc)


def may_watch(session_key: str | None) -> bool:
    """Whether the session, as it is stored now, belongs to staff who may see calls."""
    if not session_key:
        return False
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(request)
    return bool(user.is_active and user.is_staff and user.has_perm("calls.view_call"))


class CallPageConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """The socket of an open call page: says `{"changed": true}` and nothing else.

    It listens to the layer on its own, so that the socket outlives a restart of Redis.
    """

    # Channels would end the consumer together with the layer's connection.
    channel_layer_alias = ""
    recheck_s: ClassVar[float] = 60.0
    # A burst of changes is one hint: at most this often.
    pause_between_hints_s: ClassVar[float] = 0.1
    retry_s: ClassVar[float] = 2.0

    FORBIDDEN = 4403
    UNEXPECTED = 1008

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        try:
            await super().__call__(scope, receive, send)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def connect(self) -> None:
        global _serving_loop
        if not await self._may_watch():
            await self.close()  # before accept: HTTP 403
            return
        _serving_loop = asyncio.get_running_loop()
        await self.accept()
        self._changed = asyncio.Event()
        group = group_of(self.scope["url_route"]["kwargs"]["call_id"])
        self._tasks = [
            asyncio.create_task(self._listen(group)),
            asyncio.create_task(self._tell()),
            asyncio.create_task(self._recheck()),
        ]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        # Pages never speak: who does is no page of ours.
        await self.close(code=self.UNEXPECTED)

    async def _may_watch(self) -> bool:
        allowed: bool = await database_sync_to_async(may_watch)(self.scope["session"].session_key)
        return allowed

    async def _listen(self, group: str) -> None:
        layer = get_channel_layer()
        while layer is not None:
            try:
                await self._attend(layer, group)
            except LAYER_ERRORS as exc:
                logger.debug("channel layer is away: %r", exc)
                await asyncio.sleep(self.retry_s)

    async def _attend(self, layer: BaseChannelLayer, group: str) -> None:
        channel = await layer.new_channel()
        await layer.group_add(group, channel)
        try:
            while True:
                # Also once on joining: something may have happened before.
                self._changed.set()
                await layer.receive(channel)
        finally:
            await layer.group_discard(group, channel)

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.send(text_data=json.dumps({"changed": True}))
            await asyncio.sleep(self.pause_between_hints_s)

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(self.recheck_s)
            if not await self._may_watch():
                await self.close(code=self.FORBIDDEN)
                return
