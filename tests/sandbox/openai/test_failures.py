"""How a response goes wrong: failed, cut short, stalled, or lost with its connection."""

from __future__ import annotations

import base64

import pytest

from sandbox.openai.audio import PCM, duration_ms
from tests.sandbox.openai.talk import Event, Model

LONG = "This sentence goes on and on, so that there is enough of it to be cut somewhere."


@pytest.mark.parametrize("modality", ["audio", "text"])
async def test_output_limit_ends_the_response_as_incomplete(model: Model, modality: str) -> None:
    """Nothing is generated, or billed, beyond it."""
    await model.script({"say": LONG})
    async with model.talking() as talk:
        options = {"max_output_tokens": 18, "output_modalities": [modality]}
        await talk.send("response.create", response=options)

        response = (await talk.until("response.done"))["response"]

    assert response["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert 10 < response["usage"]["output_tokens"] <= 18


@pytest.mark.parametrize(
    ("what", "type", "code"),
    [
        ("failed:server_error", "server_error", None),
        ("failed:rate_limit_exceeded", "tokens", "rate_limit_exceeded"),
        ("failed:insufficient_quota", "insufficient_quota", "insufficient_quota"),
    ],
)
async def test_response_can_fail(model: Model, what: str, type: str, code: str | None) -> None:
    """[D10] The failure stands in `response.done`; nothing is heard."""
    model.state.add_fault("openai.response", what)
    async with model.talking() as talk:
        await talk.send("response.create")

        response = (await talk.until("response.done"))["response"]

    assert (response["status"], response["output"]) == ("failed", [])
    assert response["status_details"]["error"]["type"] == type
    assert response["status_details"]["error"]["code"] == code
    assert talk.of("response.output_audio.delta") == []


async def test_response_can_fail_in_the_middle(model: Model) -> None:
    await model.script({"say": LONG, "fail": {"after_ms": 1000}})
    async with model.talking() as talk:
        await talk.send("response.create")

        response = (await talk.until("response.done"))["response"]

    item = response["output"][0]
    assert (response["status"], item["status"]) == ("failed", "incomplete")
    assert 1000 <= duration_ms(len(talk.audio(item["id"])), PCM) < 1400


async def test_response_can_be_cut_by_the_content_filter(model: Model) -> None:
    await model.script({"say": LONG, "incomplete": {"reason": "content_filter", "after_ms": 500}})
    async with model.talking() as talk:
        await talk.send("response.create")

        response = (await talk.until("response.done"))["response"]

    assert response["status_details"] == {"type": "incomplete", "reason": "content_filter"}


async def test_response_can_stall_until_it_is_cancelled(model: Model) -> None:
    """[D6, D17] It never ends by itself; it still blocks the next one, and can be cancelled."""
    await model.script({"say": LONG, "pace": 50.0, "stall": {"after_ms": 600}})
    async with model.talking() as talk:
        await talk.send("response.create")
        heard_ms = 0.0
        while heard_ms < 600:
            delta = (await talk.until("response.output_audio.delta"))["delta"]
            heard_ms += duration_ms(len(base64.b64decode(delta)), PCM)
        await talk.send("response.create")
        error = await talk.error()
        await talk.send("response.cancel")

        response = (await talk.until("response.done"))["response"]

    assert error["code"] == "conversation_already_has_active_response"
    assert response["status"] == "cancelled"


@pytest.mark.parametrize(("how", "code"), [({"code": 1011}, 1011), ({}, None)])
async def test_connection_can_be_lost_in_mid_sentence(
    model: Model, how: Event, code: int | None
) -> None:
    """[D5] With a close frame or a plain reset."""
    await model.script({"say": LONG, "disconnect": {"after_ms": 400, **how}})
    async with model.talking() as talk:
        session_id = talk.events[0]["session"]["id"]
        await talk.send("response.create")

        closed = await talk.closed()
        record = await model.finished(session_id)

    assert closed[0] == code
    assert talk.of("response.done") == []
    assert record["closed"]["by"] == "server"
