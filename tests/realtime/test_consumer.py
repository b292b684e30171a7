"""The door for media: who is let in, who is not, and what one call's failure costs the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from calls.core.lifecycle import EndReason
from realtime import consumers
from realtime.core.session import Session
from tests.realtime.lines import FakeModel, Phone, appended_ms, offered, reload, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("signature", ["", "wrong", "é"])
async def test_an_unsigned_handshake_is_refused(signature: str) -> None:
    """[C3] Before the upgrade: HTTP 403."""
    answer = await Phone(signature=signature).connect()

    assert answer["type"] == "websocket.close"


async def test_who_connects_and_says_nothing_is_shown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """[C2] The start must come within a few seconds."""
    monkeypatch.setattr(consumers, "START_TIMEOUT_S", 0.05)
    phone = Phone()

    accepted = await phone.connect()
    code = await phone.closed()

    assert accepted["type"] == "websocket.accept"
    assert code == 1008


async def test_a_wrong_token_is_shown_out_and_costs_nothing(model: FakeModel) -> None:
    """[C3, C4] No connection to the model is opened."""
    call, _ = await offered()
    phone = Phone()
    await phone.connect()

    await phone.start(call, "not-the-token")
    code = await phone.closed()

    assert code == 1008
    assert model.connections == []
    assert await call.events.filter(kind="stream.refused").acount() == 1


async def test_a_token_for_another_call_is_shown_out(model: FakeModel) -> None:
    """[C4] Bound to its call, in the parameter and in the token."""
    (call, token), (other, _) = await offered(), await offered()
    codes = []
    for changes in (
        {"callSid": other.twilio_sid},
        {"customParameters": {"token": token, "callSid": other.twilio_sid}},
    ):
        phone = Phone()
        await phone.connect()
        await phone.start(call, token, **changes)
        codes.append(await phone.closed())

    assert codes == [1008, 1008]
    assert model.connections == []


async def test_a_stream_is_let_in_once(model: FakeModel) -> None:
    """[C4] The second with the same token is shown out; the first goes on."""
    call, token = await offered()
    first, second = Phone(), Phone()
    await first.connect()
    await first.start(call, token)
    await until(lambda: model.received, "the model is asked")

    await second.connect()
    await second.start(call, token)
    code = await second.closed()
    await first.hang_up()

    assert code == 1008
    assert len(model.connections) == 1


async def test_the_callers_voice_reaches_the_model(model: FakeModel) -> None:
    call, token = await offered()
    phone = Phone()
    await phone.connect()
    await phone.start(call, token)

    await phone.speak(50)
    await until(lambda: appended_ms(model) >= 1000, "all audio arrives")
    await phone.hang_up()

    assert appended_ms(model) == 1000


async def test_when_the_callers_socket_is_gone_the_models_is_closed(model: FakeModel) -> None:
    """[C8] Also without a stop."""
    call, token = await offered()
    phone = Phone()
    await phone.connect()
    await phone.start(call, token)
    await until(lambda: model.received, "the model is asked")

    await phone.hang_up()

    async with asyncio.timeout(5):
        await model.lost.wait()
    assert (await reload(call)).conversation_ended_at is None


async def test_bad_messages_are_ignored_and_too_many_end_the_stream(model: FakeModel) -> None:
    """[C9] A few are counted; fifty in ten seconds are too many."""
    call, token = await offered()
    phone = Phone()
    await phone.connect()
    await phone.start(call, token)
    bad = ['{"event": "media"', "[]", '{"event":"media","media":{}}', "x" * 70_000, "null"]
    for text in bad:
        await phone.send(text)
    await phone.speak(5)
    await until(lambda: appended_ms(model) >= 100, "the good frames arrive")

    for _ in range(60):
        await phone.send("{")

    assert await phone.closed() == 1000


async def test_a_fault_in_one_call_leaves_the_others_alone(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[C19] It ends with its reason, and so with an apology; its neighbour talks on."""
    (broken, broken_token), (healthy, healthy_token) = await offered(), await offered()
    first, second = Phone(), Phone()
    for phone, call, token in ((first, broken, broken_token), (second, healthy, healthy_token)):
        await phone.connect()
        await phone.start(call, token)
    await until(lambda: len(model.received) >= 2, "both are configured")
    tick = Session.tick

    def fault(session: Session, now: float) -> Any:
        if session._call.call_id == str(broken.pk):
            raise RuntimeError("a bug of ours")
        return tick(session, now)

    monkeypatch.setattr(Session, "tick", fault)

    assert await first.closed() == 1011
    assert (await reload(broken)).end_reason == EndReason.INTERNAL_ERROR
    await second.speak(50)
    await until(lambda: appended_ms(model) >= 1000, "the neighbour's audio arrives")
    await second.hang_up()
    assert (await reload(healthy)).end_reason == ""
