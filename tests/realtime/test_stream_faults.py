"""What goes wrong around a stream: a slow or absent database, a second stream, a bug of ours."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.db import OperationalError

from calls.core.lifecycle import EndReason, Status
from calls.services import streams, transcripts
from realtime import bridge, consumers, tools
from realtime.core.session import Session
from realtime.core.tools import ToolSpec
from tests.realtime.lines import FakeModel, Phone, appended_ms, offered, reload, talking, until
from tests.realtime.rows import a_call
from tests.realtime.talk import BRIEF

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def busy() -> Iterator[threading.Event]:
    """Releases whatever keeps a thread busy."""
    release = threading.Event()
    yield release
    release.set()


async def test_a_slow_page_keeps_no_call_waiting(model: FakeModel, busy: threading.Event) -> None:
    """Neither at its beginning nor at its end: streams ask the database in threads of their own."""
    call, token = await offered()
    page = asyncio.create_task(database_sync_to_async(busy.wait)(60))
    phone = Phone()
    await phone.connect()

    await phone.start(call, token)
    await until(lambda: model.received, "the model is asked")
    await phone.send({"event": "stop", "stop": {}})
    code = await phone.closed()

    assert (code, page.done()) == (1000, False)
    busy.set()
    await page
    assert (await reload(call)).end_reason == EndReason.RECIPIENT_HUNG_UP


@pytest.mark.parametrize("fault", [OperationalError("locked"), ValueError("a bug of ours")])
async def test_who_cannot_be_let_in_is_shown_out_for_now(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """With a code, so that Twilio goes on to ask for another stream."""
    call, token = await offered()
    monkeypatch.setattr(streams, "open_stream", _raiser(fault))
    phone = Phone()
    await phone.connect()

    await phone.start(call, token)

    assert await phone.closed() == 1011
    assert (await reload(call)).stream_opened_at is None


async def test_a_database_that_hangs_at_the_start_does_not_hold_the_line(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, busy: threading.Event
) -> None:
    call, token = await offered()
    monkeypatch.setattr(consumers, "LET_IN_S", 0.05)
    monkeypatch.setattr(streams, "open_stream", lambda **_: busy.wait(60))
    phone = Phone()
    await phone.connect()

    await phone.start(call, token)

    assert await phone.closed() == 1011


@pytest.mark.parametrize("fault", [OperationalError("locked"), ValueError("a bug of ours")])
async def test_a_fault_at_the_end_leaves_no_socket_open(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    _, phone = await talking(model)
    monkeypatch.setattr(streams, "close_stream", _raiser(fault))

    await phone.send({"event": "stop", "stop": {}})

    assert await phone.closed() == 1000


async def test_a_database_that_hangs_at_the_end_does_not_hold_the_line(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, busy: threading.Event
) -> None:
    _, phone = await talking(model)
    monkeypatch.setattr(consumers, "NOTE_END_S", 0.05)
    monkeypatch.setattr(streams, "close_stream", lambda *_: busy.wait(60))

    await phone.send({"event": "stop", "stop": {}})

    assert await phone.closed() == 1000


async def test_a_conversation_that_has_ended_is_not_resumed(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is in the database before the socket closes, also when the journal cannot write."""
    call, phone = await talking(model)
    record = transcripts.record

    def away_for_the_journal(facts: Any) -> None:
        if threading.current_thread().name.startswith("journal"):
            raise OperationalError("the server is gone")
        record(facts)

    monkeypatch.setattr(transcripts, "record", away_for_the_journal)
    await phone.send({"event": "stop", "stop": {}})
    await phone.closed()

    ended = await reload(call)
    assert ended.end_reason == EndReason.RECIPIENT_HUNG_UP
    assert await sync_to_async(streams.offer_resume)(ended) is None


async def test_an_older_stream_goes_when_its_successor_is_open(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[C4] Whoever replays an old request never has two streams talk on one call."""
    monkeypatch.setattr(bridge, "SUCCESSOR_EVERY_S", 0.05)
    call, old = await talking(model)
    token = await sync_to_async(streams.offer_resume)(await reload(call))
    new, asked = Phone(), len(model.connections)
    await new.connect()

    await new.start(call, token or "")

    assert await old.closed() == 1000
    await until(lambda: len(model.connections) > asked, "the successor talks")
    live = await reload(call)
    assert (live.stream_generation, live.stream_closed_at) == (2, None)
    assert live.conversation_ended_at is None
    await new.hang_up()


async def test_a_stream_that_is_only_offered_ends_no_other(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A captured request, sent again, cannot end a conversation."""
    asked = 0
    is_superseded = streams.is_superseded

    def counting(call_id: str, generation: int) -> bool:
        nonlocal asked
        asked += 1
        return is_superseded(call_id, generation)

    monkeypatch.setattr(bridge, "SUCCESSOR_EVERY_S", 0.05)
    monkeypatch.setattr(streams, "is_superseded", counting)
    call, phone = await talking(model)

    await sync_to_async(streams.offer_resume)(await reload(call))
    before = asked
    await until(lambda: asked > before + 2, "it was looked at again")
    await phone.speak(50)

    await until(lambda: appended_ms(model) >= 1000, "the conversation goes on")
    await phone.hang_up()


async def test_a_fault_of_ours_after_a_tool_ends_the_call(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[C19] The model would wait for the result for ever."""
    spec = ToolSpec("look_up", "Test.")
    monkeypatch.setitem(tools._specs, spec.name, spec)
    monkeypatch.setitem(tools._functions, spec.name, lambda call_id: 1)
    monkeypatch.setattr(Session, "tool_finished", _raiser(RuntimeError("a bug of ours")))
    brief = replace(BRIEF, tools=(spec.name,))
    call = await sync_to_async(a_call)(status=Status.IN_PROGRESS, brief=brief)
    phone = Phone()
    await phone.connect()
    await phone.start(call, await sync_to_async(streams.offer)(call) or "")
    await until(lambda: len(model.received) >= 2, "the model is configured")

    wanted = {"response_id": "r", "call_id": "t", "name": spec.name, "arguments": "{}"}
    done = {"type": "response.function_call_arguments.done", "item_id": "i", **wanted}
    await model.connections[0].send(json.dumps(done))

    assert await phone.closed() == 1011
    assert (await reload(call)).end_reason == EndReason.INTERNAL_ERROR


def _raiser(fault: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise fault

    return fail
