"""How a session begins and ends: keys, models, limits, and everything that can go wrong there."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref

import pytest
from aiohttp import WSMsgType
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from sandbox.openai.connection import new_session
from sandbox.openai.state import DEFAULT_KEY, State
from tests.sandbox.openai.talk import DEADLINE_S, Model

BEARER = {"Authorization": f"Bearer {DEFAULT_KEY}"}


@pytest.mark.parametrize(
    ("query", "key", "headers", "code", "close"),
    [
        ("?model=gpt-realtime-2.1", "sk-wrong", {}, "invalid_api_key", 3000),
        (
            "?model=gpt-realtime-2.1",
            DEFAULT_KEY,
            {"Authorization": DEFAULT_KEY},  # no scheme
            "invalid_api_key",
            3000,
        ),
        ("", DEFAULT_KEY, {}, "missing_model", 4000),
        ("?model=gpt-live-1", DEFAULT_KEY, {}, "invalid_model", 4000),
        ("?model=gpt-9", DEFAULT_KEY, {}, "model_not_found", 4004),
        (
            "?model=gpt-realtime-2.1",
            DEFAULT_KEY,
            {"OpenAI-Beta": "realtime=v1"},
            "beta_api_shape_disabled",
            4000,
        ),
    ],
)
async def test_refusal_comes_in_band_and_then_the_socket_closes(
    model: Model, query: str, key: str, headers: dict[str, str], code: str, close: int
) -> None:
    """[D2] The upgrade succeeds; the error is an event, the close code says the same."""
    async with model.connected(query, key, headers) as talk:
        error = await talk.error()

        closed = await talk.closed()

    assert (error["code"], error["type"]) == (code, "invalid_request_error")
    assert closed == (close, f"invalid_request_error.{code}")
    assert [e["type"] for e in talk.events] == ["error"]


async def test_session_introduces_itself_with_all_defaults(model: Model) -> None:
    before = int(time.time())

    async with model.connected() as talk:
        created = await talk.hear()

    session = created["session"]
    assert created["type"] == "session.created"
    assert session["object"] == "realtime.session"
    assert session["model"] == "gpt-realtime-2.1"
    assert session["id"].startswith("sess_")
    assert before + 3600 <= session["expires_at"] <= time.time() + 3600
    assert session["output_modalities"] == ["audio"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 200
    assert session["audio"]["input"]["transcription"] is None
    assert session["audio"]["output"]["voice"] == "marin"
    assert session["max_output_tokens"] == "inf"
    assert session["tools"] == []


async def test_session_ends_at_its_time_limit(fast_model: Model) -> None:
    """[D7] The limit is an error that names it, then close code 1001 with the same words."""
    await fast_model.control("PUT", "settings", {"session_s": 60})

    async with fast_model.connected() as talk:
        error = await talk.error()
        closed = await talk.closed()

    assert error["code"] == "session_expired"
    assert error["message"] == "Your session hit the maximum duration of 1 minutes."
    assert closed == (1001, error["message"])


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_upgrade_can_be_refused_with_an_http_status(model: Model, status: int) -> None:
    """[D3] Proxies answer before OpenAI does."""
    model.state.add_fault("openai.connect", f"status:{status}")

    with pytest.raises(InvalidStatus) as refused:
        async with model.connected():
            pass

    assert refused.value.response.status_code == status


async def test_fault_strikes_as_often_as_it_was_ordered(model: Model) -> None:
    model.state.add_fault("openai.connect", "status:503", times=2)
    outcomes = []

    for _ in range(3):
        try:
            async with model.talking():
                outcomes.append("open")
        except InvalidStatus:
            outcomes.append("refused")

    assert outcomes == ["refused", "refused", "open"]


async def test_connection_can_be_reset_before_the_handshake(model: Model) -> None:
    """[D1] Nothing comes back but a reset."""
    model.state.add_fault("openai.connect", "reset")

    with pytest.raises((ConnectionError, InvalidMessage, EOFError)):
        async with model.connected():
            pass


async def test_handshake_can_hang_until_the_client_gives_up(model: Model) -> None:
    """[D4] TCP is accepted, the upgrade is never answered."""
    model.state.add_fault("openai.connect", "hang")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), model.connected():
            pass

    async with model.talking() as talk:
        assert talk.events[0]["type"] == "session.created"


async def test_socket_can_be_cut_right_after_the_handshake(model: Model) -> None:
    """[D5] The session had begun; the connection is reset."""
    model.state.add_fault("openai.connect", "after:reset")

    async with model.connected() as talk:
        closed = await talk.closed()

    assert closed == (None, "")


async def test_socket_can_be_closed_with_any_code_after_the_handshake(model: Model) -> None:
    """[D5] As at a restart of the server."""
    model.state.add_fault("openai.connect", "after:close:1012")

    async with model.connected() as talk:
        code, _ = await talk.closed()

    assert code == 1012
    assert talk.events[0]["type"] == "session.created"


@pytest.mark.parametrize(("action", "code"), [("close", 1011), ("reset", None)])
async def test_open_session_can_be_ended_by_the_tester(
    model: Model, action: str, code: int | None
) -> None:
    """[D5] At any moment of a conversation."""
    async with model.talking() as talk:
        status, _ = await model.control("POST", "sessions/last/do", {"do": action, "code": 1011})

        closed = await talk.closed()

    assert status == 200
    assert closed[0] == code


async def test_silenced_session_stays_open_and_says_nothing(model: Model) -> None:
    """[D6] Neither events nor pings leave it, though it still reads."""
    async with model.talking() as talk:
        await model.control("POST", "sessions/last/do", {"do": "silence"})
        await talk.send("response.create")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await talk.socket.recv()

        assert (await model.record())["open"] is True


async def test_peer_that_stops_reading_lets_the_clients_writes_stall(model: Model) -> None:
    """[D11] Buffers fill up, then sending blocks."""
    async with model.talking() as talk:
        await model.control("POST", "sessions/last/do", {"do": "stop_reading"})

        async def flood() -> None:
            for _ in range(200):
                await talk.send("input_audio_buffer.append", audio="A" * 1_000_000)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(), timeout=1)

        await model.control("POST", "sessions/last/do", {"do": "reset"})
        with pytest.raises(ConnectionClosed):
            await talk.socket.recv()


async def test_server_pings_at_its_interval_also_while_audio_flows(model: Model) -> None:
    await model.control("PUT", "settings", {"ping_s": 0.05})
    url = f"{model.ws_url}?model=gpt-realtime-2.1"

    async with model.http.ws_connect(url, headers=BEARER, autoping=False) as socket:
        pings = 0
        async with asyncio.timeout(DEADLINE_S):
            while pings < 3:
                await socket.send_json({"type": "input_audio_buffer.append", "audio": "AAAA"})
                message = await socket.receive()
                pings += message.type == WSMsgType.PING

    assert pings == 3


@pytest.mark.parametrize(
    ("frame", "code", "param"),
    [
        ("{not json", "invalid_json", None),
        (b"\x00\x01", "invalid_event", None),
        ("[]", "invalid_event", None),
        ("{}", "missing_required_parameter", "type"),
        ('{"type": 7}', "invalid_type", "type"),
        ('{"type": "x"}', "invalid_value", "type"),
        ('{"type": "response.cancel", "why": 1}', "unknown_parameter", "why"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": 1}', "invalid_type", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "?"}', "invalid_value", "audio"),
        ('{"type": "output_audio_buffer.clear"}', "invalid_event", None),
    ],
)
async def test_bad_frame_is_refused_and_the_session_lives_on(
    model: Model, frame: str | bytes, code: str, param: str | None
) -> None:
    async with model.talking() as talk:
        await talk.socket.send(frame)

        error = await talk.error()

        assert (error["code"], error["param"]) == (code, param)
        assert await talk.update(instructions="Still here.")


async def test_error_names_the_event_that_caused_it(model: Model) -> None:
    async with model.talking() as talk:
        await talk.send("response.cancel", event_id="mine-7")

        error = await talk.error()

    assert error["event_id"] == "mine-7"
    assert error["code"] == "response_cancel_not_active"


async def test_models_are_listed_with_their_shutdown_dates(model: Model) -> None:
    async with model.http.get(f"{model.url}/v1/models", headers=BEARER) as response:
        listed = {m["id"]: m for m in (await response.json())["data"]}

    assert listed["gpt-realtime-2.1"]["shutdown_date"] is None
    assert listed["gpt-realtime-mini"]["shutdown_date"] == "2027-01-20"


async def test_one_model_can_be_asked_for(model: Model) -> None:
    found = f"{model.url}/v1/models/gpt-realtime-2.1"
    lost = f"{model.url}/v1/models/gpt-9"

    async with model.http.get(found, headers=BEARER) as response:
        assert (await response.json())["object"] == "model"
    async with model.http.get(lost, headers=BEARER) as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "model_not_found"


async def test_http_api_refuses_a_wrong_key_with_401(model: Model) -> None:
    wrong = {"Authorization": "Bearer sk-wrong"}

    async with model.http.get(f"{model.url}/v1/models", headers=wrong) as response:
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "invalid_api_key"


async def test_client_secret_opens_a_session_with_its_settings(model: Model) -> None:
    body = {
        "expires_after": {"anchor": "created_at", "seconds": 60},
        "session": {"type": "realtime", "model": "gpt-realtime-2.1", "instructions": "Be brief."},
    }
    url = f"{model.url}/v1/realtime/client_secrets"
    async with model.http.post(url, json=body, headers=BEARER) as response:
        secret = await response.json()

    async with model.connected(query="", key=secret["value"]) as talk:
        created = await talk.until("session.created")

    assert secret["value"].startswith("ek_")
    assert created["session"]["instructions"] == "Be brief."


async def test_client_secret_that_never_was_opens_nothing(model: Model) -> None:
    async with model.connected(key="ek_never") as talk:
        error = await talk.error()

    assert error["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"session": "realtime"}, "session"),
        ({"session": []}, "session"),
        ({"session": {"type": "realtime", "model": {"id": "gpt-realtime-2.1"}}}, "session.model"),
        ({"session": {"type": "realtime", "voice": "marin"}}, "session.voice"),
        ({"expires_after": {"anchor": "created_at", "seconds": 5}}, "expires_after.seconds"),
    ],
)
async def test_wrong_request_for_a_client_secret_is_refused(
    model: Model, body: object, param: str
) -> None:
    url = f"{model.url}/v1/realtime/client_secrets"

    async with model.http.post(url, json=body, headers=BEARER) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == param


def test_finished_session_is_forgotten_but_for_its_record() -> None:
    """Its audio would otherwise stay as long as the record does, beside hundreds of others."""
    state = State()
    session = new_session(state, "gpt-realtime-2.1")
    state.keep(session.ledger)
    session.open(state.now())
    gone = weakref.ref(session)

    del session
    gc.collect()

    assert gone() is None
    assert [ledger.sent["session.created"] for ledger in state.ledgers.values()] == [1]


async def test_plain_http_at_the_socket_address_is_a_bad_request(model: Model) -> None:
    async with model.http.get(f"{model.url}/v1/realtime?model=gpt-realtime-2.1") as response:
        assert response.status == 400
