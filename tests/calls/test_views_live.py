"""The socket of an open call page: who may hold one, and what it survives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from socket import create_server
from typing import Any
from uuid import uuid4

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.test import Client

from calls import live
from realtime.journal import close_journal
from tests import servers
from tests.calls.kit import at_once
from tests.staff import VIEWER, make_user, signed_in
from voicecall.asgi import application

HOST = b"127.0.0.1"
HINT = {"changed": True}
DEADLINE_S = 5


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory of failures and loops of earlier tests."""
    monkeypatch.setattr(live, "_silent_until", 0.0)
    monkeypatch.setattr(live, "_serving_loop", None)


@pytest.fixture(autouse=True)
async def _no_journal_left(settings: Any, tmp_path: Path) -> AsyncIterator[None]:
    """The first knock on any door of a process starts its journal."""
    settings.VAR_DIR = tmp_path
    yield
    await close_journal()


@pytest.fixture
def viewer(transactional_db: None) -> User:
    return make_user("viewer", *VIEWER)


@pytest.fixture
def redis_layer(redis_url: str, settings: Any) -> str:
    """The layer as the settings make it for this Redis."""
    found = servers.settings_with("CHANNEL_LAYERS", REDIS_URL=redis_url)
    settings.CHANNEL_LAYERS = found["CHANNEL_LAYERS"]
    return redis_url


def page(
    client: Client, call_id: object, *, origin: bytes | None = b"http://" + HOST
) -> WebsocketCommunicator:
    """A browser's attempt to open the socket."""
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    headers = [(b"host", HOST), (b"cookie", cookies.encode())]
    if origin is not None:
        headers.append((b"origin", origin))
    return WebsocketCommunicator(application, f"/ws/calls/{call_id}", headers=headers)


async def joined(socket: WebsocketCommunicator) -> WebsocketCommunicator:
    """The socket once it attends to hints: on joining it says that something may be new."""
    connected, _ = await socket.connect(timeout=DEADLINE_S)
    assert connected
    assert await next_hint(socket) == HINT
    return socket


async def next_hint(socket: WebsocketCommunicator) -> object:
    return json.loads(await socket.receive_from(timeout=DEADLINE_S))


async def code_of_close(socket: WebsocketCommunicator) -> int:
    while True:
        message = await socket.receive_output(timeout=DEADLINE_S)
        if message["type"] == "websocket.close":
            code: int = message["code"]
            return code


# --- Who may watch ------------------------------------------------------------------------------
async def test_viewer_from_our_own_pages_is_let_in(viewer: User) -> None:
    """[F6]"""
    client = await database_sync_to_async(signed_in)(viewer)

    socket = await joined(page(client, uuid4()))

    await socket.disconnect()


@pytest.mark.parametrize("origin", [b"https://evil.example", b"null", b"", None])
async def test_other_sites_are_kept_out(viewer: User, origin: bytes | None) -> None:
    """[F6]"""
    client = await database_sync_to_async(signed_in)(viewer)

    connected, _ = await page(client, uuid4(), origin=origin).connect(timeout=DEADLINE_S)

    assert not connected


@pytest.mark.parametrize("who", ["nobody", "customer", "without rights", "inactive", "stale"])
async def test_who_may_not_see_calls_is_kept_out(transactional_db: None, who: str) -> None:
    """[F6]"""

    def browser() -> Client:
        if who == "nobody":
            return Client()
        rights = () if who == "without rights" else VIEWER
        user = make_user("somebody", *rights, is_staff=who != "customer")
        client = signed_in(user)
        if who == "inactive":
            User.objects.filter(pk=user.pk).update(is_active=False)
        if who == "stale":
            client.cookies["sessionid"] = "x" * 32
        return client

    client = await database_sync_to_async(browser)()

    connected, _ = await page(client, uuid4()).connect(timeout=DEADLINE_S)

    assert not connected


def _sign_out(user: User) -> None:
    for session in SessionStore.get_model_class().objects.all():
        session.delete()


def _take_rights(user: User) -> None:
    user.user_permissions.clear()


def _deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.mark.parametrize("change", [_sign_out, _take_rights, _deactivate])
async def test_open_socket_ends_when_the_right_is_gone(
    viewer: User, monkeypatch: pytest.MonkeyPatch, change: Callable[[User], None]
) -> None:
    """[F6] Asked anew every minute; here every few milliseconds."""
    monkeypatch.setattr(live.CallPageConsumer, "recheck_s", 0.02)
    client = await database_sync_to_async(signed_in)(viewer)
    socket = await joined(page(client, uuid4()))

    await database_sync_to_async(change)(viewer)

    assert await code_of_close(socket) == live.CallPageConsumer.FORBIDDEN


def test_rights_are_asked_for_every_minute() -> None:
    """[F6]"""
    assert live.CallPageConsumer.recheck_s == 60


async def test_page_that_speaks_is_none_of_ours(viewer: User) -> None:
    client = await database_sync_to_async(signed_in)(viewer)
    socket = await joined(page(client, uuid4()))

    await socket.send_to(text_data="x" * 1000)

    assert await code_of_close(socket) == live.CallPageConsumer.UNEXPECTED


# --- Hints --------------------------------------------------------------------------------------
async def test_change_of_the_call_reaches_its_page_and_no_other(viewer: User) -> None:
    call_id = uuid4()
    client = await database_sync_to_async(signed_in)(viewer)
    mine, other = await joined(page(client, call_id)), await joined(page(client, uuid4()))

    await live.ahint(call_id)

    assert await next_hint(mine) == HINT
    assert await other.receive_nothing(timeout=0.05)
    for socket in (mine, other):
        await socket.disconnect()


async def test_change_is_told_after_the_commit_from_any_thread(viewer: User) -> None:
    call_id = uuid4()
    client = await database_sync_to_async(signed_in)(viewer)
    socket = await joined(page(client, call_id))
    silent: list[bool] = []
    loop = asyncio.get_running_loop()

    def change() -> None:
        with transaction.atomic():
            live.hint_on_commit(call_id)
            nothing = asyncio.run_coroutine_threadsafe(socket.receive_nothing(timeout=0.05), loop)
            silent.append(nothing.result(DEADLINE_S))

    await database_sync_to_async(change)()

    assert silent == [True]
    assert await next_hint(socket) == HINT
    await socket.disconnect()


async def test_change_that_is_rolled_back_is_not_told(viewer: User) -> None:
    call_id = uuid4()
    client = await database_sync_to_async(signed_in)(viewer)
    socket = await joined(page(client, call_id))

    def change() -> None:
        with transaction.atomic():
            live.hint_on_commit(call_id)
            transaction.set_rollback(True)

    await database_sync_to_async(change)()

    assert await socket.receive_nothing(timeout=0.05)
    await socket.disconnect()


async def test_five_hundred_hints_to_a_page_that_does_not_read_are_a_few(
    viewer: User, redis_layer: str
) -> None:
    """[F7] The layer drops what is too much; the page asks by revision and misses nothing."""
    call_id = uuid4()
    client = await database_sync_to_async(signed_in)(viewer)
    socket = await joined(page(client, call_id))

    for _ in range(500):
        await live.ahint(call_id)

    assert await next_hint(socket) == HINT
    # One more comes for sure: what arrived while the first was sent.
    await live.ahint(call_id)
    assert await next_hint(socket) == HINT
    assert socket.output_queue.qsize() < 250
    await socket.disconnect()


async def test_idle_socket_outlives_the_redis_clients_read_timeout(
    viewer: User, redis_layer: str
) -> None:
    """[F8] redis-py gives up a read after 5 s by default: as long as the layer's own wait."""
    call_id = uuid4()
    client = await database_sync_to_async(signed_in)(viewer)
    socket = await joined(page(client, call_id))

    assert await socket.receive_nothing(timeout=16)

    await live.ahint(call_id)
    assert await next_hint(socket) == HINT
    await socket.disconnect()


async def test_socket_outlives_a_restart_of_redis(
    viewer: User, own_redis: servers.OwnRedis, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.CallPageConsumer, "retry_s", 0.05)
    monkeypatch.setattr(live, "PAUSE_AFTER_FAILURE_S", 0.0)
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [{"address": own_redis.url, "socket_timeout": 20}]},
        }
    }
    call_id = uuid4()
    client = await database_sync_to_async(signed_in)(viewer)
    socket = await joined(page(client, call_id))

    await asyncio.to_thread(own_redis.stop)
    await asyncio.to_thread(own_redis.start)

    # It joins anew by itself, and says that something may have been missed.
    assert await next_hint(socket) == HINT
    await live.ahint(call_id)
    assert await next_hint(socket) == HINT
    await socket.disconnect()


# --- A layer that is away -----------------------------------------------------------------------
@pytest.fixture
def silent_redis() -> Iterator[str]:
    """Takes connections and never answers."""
    with create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@pytest.fixture
def no_redis() -> str:
    return f"redis://127.0.0.1:{servers.free_port()}/0"


@pytest.mark.parametrize("kind", ["silent_redis", "no_redis"])
@pytest.mark.django_db(transaction=True)
def test_hint_without_a_layer_hurts_nobody(
    kind: str, request: pytest.FixtureRequest, settings: Any
) -> None:
    """[A9]"""
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            # Patient itself: the deadline must be ours.
            "CONFIG": {"hosts": [{"address": request.getfixturevalue(kind), "socket_timeout": 99}]},
        }
    }

    def change(_: int) -> str:
        live.hint_on_commit(uuid4())
        return "done"

    assert at_once(1, change) == ["done"]
    # The next one does not even try.
    assert live._silent_until > 0
