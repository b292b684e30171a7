"""How a test moves the model: scripts, settings, faults, the record, live sockets."""

from __future__ import annotations

import pytest

from tests.sandbox.openai.talk import Event, Model

HALF = "\ud800"  # of a surrogate pair


async def _said(model: Model) -> str:
    async with model.talking() as talk:
        await talk.send("response.create")
        said = await talk.until("response.output_audio_transcript.done")
    return str(said["transcript"])


async def test_scripted_responses_come_in_order_then_the_conversationalist(model: Model) -> None:
    await model.script({"say": "First."}, {"clip": "agent.hours"})

    said = [await _said(model) for _ in range(3)]

    assert said == [
        "First.",
        "We are open from nine to five, Monday to Friday.",
        "Hi, I am Ada, an AI assistant. Is Friday fine?",
    ]


async def test_script_can_be_meant_for_one_session(model: Model) -> None:
    async with model.talking() as one, model.talking() as other:
        session_id = one.events[0]["session"]["id"]
        await model.script({"say": "Only for you."}, session=session_id)

        heard = []
        for talk in (other, one):
            await talk.send("response.create")
            done = await talk.until("response.output_audio_transcript.done")
            heard.append(done["transcript"])

    assert heard == ["Hi, I am Ada, an AI assistant. Is Friday fine?", "Only for you."]


async def test_script_can_be_meant_for_sessions_with_certain_instructions(model: Model) -> None:
    """Calls that run at the same time are told apart by what their agents were told."""
    await model.script({"say": "For Sam."}, match="calling Sam")
    heard = []

    for name in ("Kim", "Sam"):
        async with model.talking() as talk:
            await talk.update(instructions=f"You are calling {name}.")
            await talk.send("response.create")
            done = await talk.until("response.output_audio_transcript.done")
            heard.append(done["transcript"])

    assert heard == ["Hi, I am Ada, an AI assistant. Is Friday fine?", "For Sam."]


async def test_entry_without_words_only_changes_how_the_answer_comes(model: Model) -> None:
    await model.script({"incomplete": {"reason": "content_filter", "after_ms": 100}})

    async with model.talking() as talk:
        await talk.send("response.create")
        response = (await talk.until("response.done"))["response"]

    assert response["status"] == "incomplete"
    assert response["output"][0]["content"][0]["transcript"].startswith("Hi,")


async def test_waiting_script_can_be_dropped(model: Model) -> None:
    await model.script({"say": "Never said."})

    await model.control("DELETE", "script")

    assert await _said(model) == "Hi, I am Ada, an AI assistant. Is Friday fine?"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ([], "an object"),
        ({"answers": []}, "answers"),
        ({"responses": {}}, "responses"),
        ({"responses": ["Hi"]}, "responses[0]"),
        ({"responses": [{"speak": "Hi"}]}, "responses[0].speak"),
        ({"responses": [{"say": "Hi", "pace": 0}]}, "responses[0].pace"),
        ({"responses": [{"say": "Hi", "delta_ms": 20}]}, "responses[0].delta_ms"),
        ({"responses": [{"say": "Hi", "delta_ms": [400, 20]}]}, "smaller number"),
        ({"responses": [{"clip": "agent.nothing"}]}, "agent.nothing"),
        ({"responses": [{"tool": {"arguments": {}}}]}, "responses[0].items[0].tool"),
        ({"responses": [{"say": "Hi", "fail": {}, "stall": {}}]}, "two ways"),
        ({"responses": [{"say": "Hi", "fail": "nonsense"}]}, "failed:nonsense"),
        ({"responses": [{"stall": {"for_ms": "long"}}]}, "responses[0].stall.for_ms"),
        ({"responses": [{"disconnect": {"code": 99}}]}, "responses[0].disconnect.code"),
        ({"responses": [{"incomplete": {"reason": "tired"}}]}, "responses[0].incomplete.reason"),
        ({"responses": [{"disconnect": {"code": 1006}}]}, "responses[0].disconnect.code"),
        ({"responses": [{"items": 5}]}, "responses[0].items"),
        ({"responses": [{"say": 5}]}, "responses[0].items[0].say"),
        ({"responses": [{"clip": ["agent.hours"]}]}, "responses[0].items[0].clip"),
        ({"responses": [{"tool": {"name": "x", "call_id": 5}}]}, "tool.call_id"),
        ({"responses": [], "session": "s", "match": "m"}, "not both"),
        ({"settings": {"mood": "bad"}}, "settings.mood"),
        ({"settings": {"transcription": "sometimes"}}, "settings.transcription"),
    ],
)
async def test_bad_script_is_refused_by_name_and_changes_nothing(
    model: Model, body: object, names: str
) -> None:
    status, answer = await model.control("POST", "script", body)

    assert status == 400
    assert names in answer["error"]
    assert await _said(model) == "Hi, I am Ada, an AI assistant. Is Friday fine?"


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        ({"where": "openai.nowhere", "what": "reset"}, "openai.connect"),
        ({"where": "openai.connect", "what": "status:many"}, "number"),
        ({"where": "openai.response", "what": "failed:nonsense"}, "failed:server_error"),
        ({"where": "openai.response", "what": "sulk"}, "stall"),
        ({"where": "openai.connect", "what": "after:close:soon"}, "number"),
        ({"where": "openai.connect", "what": "status:99999"}, "status"),
        ({"where": "openai.connect", "what": "status:503.5"}, "number"),
        ({"where": "openai.connect", "what": "after:close:1006"}, "1000-1003"),
        ({"where": "openai.connect", "what": "delay:inf"}, "delay"),
        ({"where": "openai.connect", "what": "error:"}, "after the colon"),
        ({"where": "openai.response", "what": "delay:nan"}, "delay"),
        ({"where": "openai.response", "what": "close:1005"}, "1000-1003"),
        ({"where": "openai.response", "what": "stall:-5"}, "milliseconds"),
        ({"where": "openai.connect", "what": "reset", "times": "often"}, "times"),
        ({"what": "reset"}, "where"),
    ],
)
async def test_bad_fault_is_refused_with_what_is_known(
    model: Model, fault: Event, names: str
) -> None:
    status, answer = await model.control("POST", "faults", fault)

    assert status == 400
    assert names in answer["error"]


async def test_record_tells_what_went_over_the_wire(model: Model) -> None:
    async with model.talking() as talk:
        session_id = talk.events[0]["session"]["id"]
        await talk.phone(tools=True)
        await talk.say("person.thanks_goodbye")
        await talk.until("response.done")

    record = await model.finished(session_id)

    words = [(t["role"], t["text"]) for t in record["transcripts"]]
    assert words == [
        ("user", "No thank you, goodbye!"),
        ("assistant", "Thank you, goodbye!"),
    ]
    clip_ms = 19920 // 16
    assert record["appended_ms"] == pytest.approx(clip_ms + 800, abs=20)
    assert record["received"]["session.update"] == 1
    assert record["responses"][0]["status"] == "completed"
    assert record["closed"] == {**record["closed"], "by": "client", "code": 1000}
    appended = next(e for e in record["events"] if e["type"] == "input_audio_buffer.append")
    assert appended["from"] == "client"
    assert appended["count"] > 1
    calls = [e for e in record["events"] if e["type"] == "response.function_call_arguments.done"]
    assert calls[0]["name"] == "end_call"


async def test_all_sessions_are_listed_oldest_first(model: Model) -> None:
    async with model.talking() as one, model.talking() as other:
        ids = [t.events[0]["session"]["id"] for t in (one, other)]

        _, listed = await model.control("GET", "sessions")

    assert [s["id"] for s in listed["sessions"]] == ids
    assert [s["open"] for s in listed["sessions"]] == [True, True]


async def test_any_event_can_be_put_on_the_wire(model: Model) -> None:
    """[D8] Even one that no server ever sent, or no JSON at all."""
    async with model.talking() as talk:
        event = {"type": "response.created", "response": None}
        await model.control("POST", "sessions/all/do", {"do": "send", "event": event})
        await model.control("POST", "sessions/last/do", {"do": "send_text", "text": "{oops"})
        await model.control("POST", "sessions/last/do", {"do": "send_binary", "text": "oops"})

        received = [await talk.socket.recv() for _ in range(3)]

    assert received == ['{"type":"response.created","response":null}', "{oops", b"oops"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_audio.delta"},
        {"type": "response.output_audio.delta", "delta": 7},
        {"type": "response.done"},
        {"type": "error"},
        {"type": "session.updated"},
        {"type": 5},
        {},
    ],
)
async def test_event_may_lack_whatever_its_kind_needs(model: Model, event: Event) -> None:
    """It is sent as it stands, and recorded as the tester's own."""
    async with model.talking() as talk:
        status, _ = await model.control("POST", "sessions/last/do", {"do": "send", "event": event})

        received = await talk.hear()
        record = await model.record()

    assert (status, received) == (200, event)
    assert record["events"][-1]["injected"] is True
    assert record["errors"] == []


async def test_text_that_cannot_be_sent_is_refused(model: Model) -> None:
    """Half a character would otherwise silence the session for good."""
    async with model.talking() as talk:
        text = {"do": "send_text", "text": HALF}
        status, _ = await model.control("POST", "sessions/last/do", text)

        assert status == 400
        assert await talk.update()


async def test_reason_of_a_close_is_cut_between_characters(model: Model) -> None:
    async with model.talking() as talk:
        close = {"do": "close", "code": 4001, "reason": "é" * 100}
        await model.control("POST", "sessions/last/do", close)

        closed = await talk.closed()

    assert closed == (4001, "é" * 61)


async def test_session_can_be_made_to_expire_now(model: Model) -> None:
    """[D7] Without waiting an hour."""
    async with model.talking() as talk:
        await model.control("POST", "sessions/last/do", {"do": "expire"})

        error = await talk.error()

    assert error["code"] == "session_expired"


async def test_closed_session_cannot_be_moved(model: Model) -> None:
    async with model.talking() as talk:
        session_id = talk.events[0]["session"]["id"]
    await model.finished(session_id)

    status, answer = await model.control("POST", f"sessions/{session_id}/do", {"do": "close"})

    assert status == 400
    assert "closed already" in answer["error"]


async def test_unknown_action_is_refused_with_the_known_ones(model: Model) -> None:
    async with model.talking():
        status, answer = await model.control("POST", "sessions/last/do", {"do": "dance"})

    assert status == 400
    assert "stop_reading" in answer["error"]


async def test_reset_forgets_scripts_faults_and_settings(model: Model) -> None:
    await model.script({"say": "Forgotten."})
    await model.control("PUT", "settings", {"pace": 1.5})
    model.state.add_fault("openai.connect", "status:503")

    await model.control("POST", "reset")

    _, settings = await model.control("GET", "settings")
    assert settings["pace"] == 8.0
    assert await _said(model) == "Hi, I am Ada, an AI assistant. Is Friday fine?"


async def test_log_is_told_of_every_event_but_the_small_pieces(model: Model) -> None:
    entries: list[tuple[str, str]] = []
    model.state.log = lambda where, what, data: entries.append((where, what))

    await _said(model)

    kinds = [what for where, what in entries if where == "openai.event"]
    assert "response.create" in kinds
    assert "response.output_audio.done" in kinds
    assert not [k for k in kinds if k.endswith(".delta")]
    assert ("openai.session", "opened") in entries
