"""Media Streams, seen from the server: handshake, messages, playback, ends."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from tests.sandbox.twilio.conftest import Phones
from tests.sandbox.twilio.office import FRAME, Conversation, Office, Talk, greets, listens

FOREVER = {"pause_s": 5000}
LEAVES_AFTER_GREETING = ({"wait_for_agent": True, "timeout_s": 100}, {"hang_up": True})


async def _talk(
    phones: Phones, office: Office, conversation: Conversation, *script: dict[str, Any]
) -> str:
    """Have one call with this conversation; returns its SID when it is over."""
    await phones.person(*(script or (FOREVER,)))
    office.answers.setdefault("voice", office.stream())
    office.conversation = conversation
    call = await phones.call(office)
    await phones.until_over(call.sid)
    sid: str = call.sid
    return sid


async def test_messages_are_numbered_and_timed_without_a_gap(
    phones: Phones, office: Office
) -> None:
    """`sequenceNumber`, `chunk` and `timestamp` are texts; frames are 160 bytes, 20 ms apart."""

    async def stay(talk: Talk) -> None:
        await talk.until(lambda t: len(t.of("media")) >= 100)
        await talk.ws.close()

    sid = await _talk(phones, office, stay)

    (talk,) = office.talks
    assert talk.messages[0] == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    start = talk.messages[1]
    assert start["start"] == {
        "streamSid": start["streamSid"],
        "accountSid": phones.world.state.options.account_sid,
        "callSid": sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    }
    numbers = [int(m["sequenceNumber"]) for m in talk.messages[1:]]
    assert numbers == list(range(1, len(numbers) + 1))
    media = [m["media"] for m in talk.of("media")]
    assert [m["chunk"] for m in media[:100]] == [str(n) for n in range(1, 101)]
    assert [m["timestamp"] for m in media[:100]] == [str(20 * n) for n in range(100)]
    assert {len(base64.b64decode(m["payload"])) for m in media} == {160}
    assert {m["track"] for m in media} == {"inbound"}


async def test_the_handshake_is_signed_and_plain(phones: Phones, office: Office) -> None:
    """A signature over the wss URL, no query string, no subprotocol, no compression."""
    office.answers["voice"] = office.stream().replace("/ws/media", "/ws/media?token=1")

    await _talk(phones, office, greets, *LEAVES_AFTER_GREETING)

    (talk,) = office.talks
    assert (talk.is_signed, talk.path_qs) == (True, "/ws/media")
    assert "Sec-WebSocket-Protocol" not in talk.headers
    assert "Sec-WebSocket-Extensions" not in talk.headers


async def test_marks_come_back_in_order_after_their_audio(phones: Phones, office: Office) -> None:
    """The ledger, the echo and the stream's own clock agree to one frame."""
    clocks: dict[str, int] = {}

    async def speak(talk: Talk) -> None:
        await talk.play(FRAME * 10, "a")
        await talk.play(FRAME * 15, "b")
        await talk.until(lambda t: t.echoed == ["a", "b"])
        await talk.until(lambda t: t.messages[-1]["event"] == "media")
        for name in ("a", "b"):
            at = next(i for i, m in enumerate(talk.messages) if m.get("mark") == {"name": name})
            after = next(m for m in talk.messages[at:] if m["event"] == "media")
            clocks[name] = int(after["media"]["timestamp"])
        await talk.ws.close()

    sid = await _talk(phones, office, speak)
    ledger = await phones.ledger(sid)

    marks = {m["name"]: m for m in ledger["marks"]}
    assert {name: marks[name]["echoed_ms"] for name in "ab"} == clocks
    assert clocks["b"] - clocks["a"] == 300
    first, second = ledger["played"]
    assert (first["name_or_gap"], second["name_or_gap"]) == ("a", "b")
    assert first["end_ms"] - first["start_ms"] == 200
    assert first["end_ms"] == second["start_ms"] == clocks["a"]
    assert ledger["heard_ms_total"] == 500


async def test_clear_stops_the_sound_and_brings_the_marks_back(
    phones: Phones, office: Office
) -> None:
    """[C22] What was cleared was not heard, and the ledger knows to the frame what was."""

    async def barge_in(talk: Talk) -> None:
        await talk.play(FRAME * 500, "long")
        await talk.until(lambda t: len(t.of("media")) >= 20)
        await talk.send("clear")
        await talk.until(lambda t: t.echoed == ["long"])
        await talk.play(b"", "idle")
        await talk.until(lambda t: t.echoed == ["long", "idle"])
        await talk.ws.close()

    sid = await _talk(phones, office, barge_in)
    ledger = await phones.ledger(sid)

    (clear,) = ledger["clears"]
    (span,) = ledger["played"]
    assert ledger["heard_ms_total"] + clear["dropped_ms"] == 10_000
    assert span["end_ms"] - span["start_ms"] == ledger["heard_ms_total"]
    assert span["end_ms"] == clear["at_ms"]
    assert [(m["name"], m["flushed"]) for m in ledger["marks"]] == [("long", True), ("idle", False)]


async def test_bad_messages_are_ignored_and_warned_of_once(phones: Phones, office: Office) -> None:
    """31951 once per stream, 31950 for binary; the stream goes on."""

    async def babble(talk: Talk) -> None:
        payload = base64.b64encode(FRAME).decode()
        for text in (
            "not json",
            "[]",
            json.dumps({"event": "clear"}),
            json.dumps({"event": "clear", "streamSid": "MZ0"}),
            json.dumps({"event": "dtmf", "streamSid": talk.sid, "dtmf": {"digit": "1"}}),
            json.dumps({"event": "mark", "streamSid": talk.sid, "mark": {}}),
            json.dumps({"event": "media", "streamSid": talk.sid, "media": {"payload": "%"}}),
            json.dumps({"event": "media", "streamSid": talk.sid, "media": {"payload": "é"}}),
            "[" * 100_000,
            json.dumps(
                {
                    "event": "media",
                    "streamSid": talk.sid,
                    "media": {"payload": payload, "track": "outbound"},
                }
            ),
        ):
            await talk.ws.send_str(text)
        await talk.ws.send_bytes(FRAME)
        await talk.play(FRAME, "still here")
        await talk.until(lambda t: t.echoed == ["still here"])
        await talk.ws.close()

    sid = await _talk(phones, office, babble)
    ledger = await phones.ledger(sid)

    assert [e["what"] for e in await phones.log("debugger")] == ["31951", "31950"]
    assert (await phones.log("stream", "closed"))[0]["data"]["invalid"] == 10
    assert ledger["heard_ms_total"] == 20


async def test_keys_arrive_as_dtmf(phones: Phones, office: Office) -> None:
    """[C24] One message per key, on `inbound_track`."""

    async def speak(talk: Talk) -> None:
        await talk.play(FRAME * 5)
        await talk.until_closed()

    script = ({"wait_for_agent": True, "timeout_s": 100}, {"press": "1#"}, {"hang_up": True})
    await _talk(phones, office, speak, *script)

    (talk,) = office.talks
    assert [m["dtmf"] for m in talk.of("dtmf")] == [
        {"track": "inbound_track", "digit": "1"},
        {"track": "inbound_track", "digit": "#"},
    ]


async def test_hanging_up_sends_stop_and_closes(phones: Phones, office: Office) -> None:
    """`stop` names account and call; then the socket closes with 1000."""
    sid = await _talk(phones, office, greets, *LEAVES_AFTER_GREETING)
    await office.until(lambda: office.talks[0].is_closed)
    await office.until(lambda: len(office.got("stream-status")) == 2)

    (talk,) = office.talks
    assert talk.messages[-1]["stop"] == {
        "accountSid": phones.world.state.options.account_sid,
        "callSid": sid,
    }
    assert talk.ws.close_code == 1000
    events = {r.fields["StreamEvent"] for r in office.got("stream-status")}
    assert events == {"stream-started", "stream-stopped"}
    assert office.got("stream-status")[0].fields["StreamSid"] == talk.sid
    assert office.got("stream-status")[0].fields["StreamName"] == "ai"


@pytest.mark.parametrize(("code", "event"), [(1000, "stream-stopped"), (1008, "stream-error")])
async def test_after_the_server_closed_the_next_verb_runs(
    phones: Phones, office: Office, code: int, event: str
) -> None:
    """A normal close ends the stream, another is 31921; the call goes on either way."""
    office.answers["voice"] = office.stream("<Say>We are sorry.</Say><Hangup/>")

    async def leave(talk: Talk) -> None:
        await talk.ws.close(code=code)

    sid = await _talk(phones, office, leave)
    ledger = await phones.ledger(sid, "answer")
    await office.until(
        lambda: event in {r.fields["StreamEvent"] for r in office.got("stream-status")}
    )

    assert [s["text"] for s in ledger["agent_segments"]][:1] == ["We are sorry."]
    assert [e["what"] for e in await phones.log("debugger")] == ([] if code == 1000 else ["31921"])


async def test_action_is_asked_for_what_follows(phones: Phones, office: Office) -> None:
    """[C16] A second stream has a new SID, and its clock begins at 0 again."""
    office.answers["after"] = office.stream()
    office.answers["voice"] = office.stream(attributes="action='/after?call=abc'")

    async def speak_once(talk: Talk) -> None:
        await talk.play(FRAME * 5, f"part {len(office.talks)}")
        await talk.until(lambda t: t.echoed)
        await talk.ws.close()

    sid = await _talk(phones, office, speak_once)
    first, second = office.talks
    ledgers = [await phones.ledger(sid, n) for n in ("0", "1", "all")]

    (after,) = office.got("after")
    assert (after.fields["CallSid"], after.fields["StreamSid"]) == (sid, first.sid)
    assert first.sid != second.sid
    assert second.of("media")[0]["media"]["timestamp"] == "0"
    assert [s["sid"] for s in ledgers[2]["streams"]] == [first.sid, second.sid]
    assert [p["name_or_gap"] for p in ledgers[1]["played"]] == ["part 2"]
    assert ledgers[1]["played"][0]["start_ms"] < 1000
    assert [ledger["heard_ms_total"] for ledger in ledgers] == [100, 100, 200]


async def test_redirect_after_the_stream_asks_again(phones: Phones, office: Office) -> None:
    """[C16] `<Redirect>` decides about a new stream, the end, or an apology."""
    office.answers["voice"] = office.stream("<Redirect>/resume</Redirect>")
    office.answers["resume"] = "<Response><Hangup/></Response>"

    async def leave(talk: Talk) -> None:
        await talk.ws.close()

    await _talk(phones, office, leave)

    assert [r.fields["CallStatus"] for r in office.got("resume")] == ["in-progress"]


async def test_an_update_tears_the_stream_down(phones: Phones, office: Office) -> None:
    """New TwiML for a live call: `stop`, close, and the new document runs."""
    await phones.person(FOREVER)
    office.answers["voice"] = office.stream()
    call = await phones.call(office)
    await office.until(lambda: office.talks and office.talks[0].of("media"))

    twiml = "<Response><Say>Goodbye.</Say></Response>"
    await phones.do(phones.client.calls(call.sid).update, twiml=twiml)
    await phones.until_over(call.sid)
    ledger = await phones.ledger(call.sid, "answer")

    assert office.talks[0].messages[-1]["event"] == "stop"
    assert {s["text"] for s in ledger["agent_segments"]} == {"Goodbye."}


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ws://voice.example.test/ws", "31922"),
        ("https://voice.example.test/ws", "31922"),
        ("wss://", "31923"),
        ("ws://127.0.0.1:1/ws", "31902"),
    ],
)
async def test_a_stream_that_cannot_open_is_an_error_and_the_call_goes_on(
    phones: Phones, office: Office, url: str, code: str
) -> None:
    """[C25] The only sign is the stream's status callback; then the next verb runs."""
    twiml = office.stream("<Redirect>/resume</Redirect>").replace(office.stream_url, url)
    office.answers["voice"] = twiml
    office.answers["resume"] = "<Response><Hangup/></Response>"

    await _talk(phones, office, listens)
    error = await office.until(lambda: office.got("stream-status"))

    assert error[0].fields["StreamEvent"] == "stream-error"
    assert error[0].fields["StreamError"].startswith(code)
    assert len(office.got("resume")) == 1


async def test_a_host_that_cannot_be_found_is_31904(
    phones: Phones, office: Office, unknown_host: str
) -> None:
    """Not the same as one that refuses."""
    office.answers["voice"] = office.stream().replace(office.stream_url, f"wss://{unknown_host}/")

    await _talk(phones, office, listens)
    error = await office.until(lambda: office.got("stream-status"))

    assert error[0].fields["StreamError"].startswith("31904")


async def test_a_server_that_answers_with_something_else_is_31920(
    phones: Phones, office: Office
) -> None:
    """The handshake must be answered with 101."""
    office.answers["voice"] = office.stream().replace("/ws/media", "/nothing")

    await _talk(phones, office, listens)
    error = await office.until(lambda: office.got("stream-status"))

    assert error[0].fields["StreamError"].startswith("31920")


async def test_a_query_string_can_be_refused(phones: Phones, office: Office) -> None:
    """The other behaviour that was seen: 31920 instead of stripping."""
    await phones.control("POST", "settings", {"stream_query": "refuse"})
    office.answers["voice"] = office.stream().replace("/ws/media", "/ws/media?a=1")

    await _talk(phones, office, listens)

    assert [e["what"] for e in await phones.log("debugger")] == ["31920"]


async def test_a_wrong_track_is_31941(phones: Phones, office: Office) -> None:
    """`<Connect>` gives the person's side only."""
    office.answers["voice"] = office.stream().replace("name='ai'", "track='both_tracks'")

    await _talk(phones, office, listens)

    assert [e["what"] for e in await phones.log("debugger")] == ["31941"]


async def test_a_reset_stream_is_reported_and_the_call_goes_on(
    phones: Phones, office: Office
) -> None:
    """[C6] The server sees a broken connection without `stop`."""
    await phones.fault("stream", "reset:0.5")
    office.answers["voice"] = office.stream("<Redirect>/resume</Redirect>")
    office.answers["resume"] = "<Response><Hangup/></Response>"

    await _talk(phones, office, listens)
    await office.until(lambda: office.talks[0].is_closed)

    (talk,) = office.talks
    assert talk.of("stop") == []
    assert [e["what"] for e in await phones.log("debugger")] == ["31903"]
    assert len(office.got("resume")) == 1


async def test_a_half_open_stream_says_nothing_more(phones: Phones, office: Office) -> None:
    """[C7] No frame, no stop, and yet the call is alive."""
    await phones.fault("stream", "half-open:0.5")
    await phones.person(FOREVER)
    office.answers["voice"] = office.stream()
    call = await phones.call(office)
    await phones.until_logged("stream", "half-open")
    sent = len(office.talks[0].messages)

    await phones.do(phones.client.calls(call.sid).update, status="completed")
    await phones.until_over(call.sid)
    await office.talks[0].until_closed()

    (talk,) = office.talks
    assert len(talk.messages) - sent < 30
    assert talk.of("stop") == []


@pytest.mark.parametrize(
    ("what", "claim"),
    [
        ("no-start", lambda talk: not talk.of("start")),
        ("no-stop", lambda talk: talk.of("start") and not talk.of("stop")),
        ("drop-marks", lambda talk: talk.echoed == []),
        ("gap:0.4", lambda talk: _jumps(talk) == [420]),
        ("burst:0.5", lambda talk: _jumps(talk) == [] and len(talk.of("media")) > 100),
        ("jitter:60", lambda talk: _jumps(talk) == [] and len(talk.of("media")) > 100),
        ("duplicate", lambda talk: _jumps(talk) == [0]),
        ("bad-frames", lambda talk: "unheard-of" in {m["event"] for m in talk.messages}),
    ],
)
async def test_a_stream_goes_wrong_on_order(
    phones: Phones, office: Office, what: str, claim: Any
) -> None:
    """[C2] [C8] [C9] [C11] [C23] Each kind of trouble, as the server sees it."""
    await phones.fault("stream", what)

    async def speak(talk: Talk) -> None:
        await talk.play(FRAME * 5, "m")
        await talk.until_closed()

    stays = ({"wait_for_agent": True, "timeout_s": 10}, {"pause_s": 3.0}, {"hang_up": True})
    await _talk(phones, office, speak, *stays)
    await office.talks[0].until_closed()

    assert claim(office.talks[0])


def _jumps(talk: Talk) -> list[int]:
    """Steps of the timestamps that are not 20 ms."""
    times = [
        int(m["media"]["timestamp"]) for m in talk.of("media") if "track" in m.get("media", {})
    ]
    return [b - a for a, b in pairwise(times) if b - a != 20]


async def test_a_stream_can_stop_reading(phones: Phones, office: Office) -> None:
    """[C10] What the server sends then is neither played nor answered; frames still come."""
    await phones.fault("stream", "stop-reading:0.2")

    async def speak(talk: Talk) -> None:
        await talk.until(lambda t: len(t.of("media")) > 20)
        await talk.play(FRAME * 5, "unread")
        await talk.until(lambda t: len(t.of("media")) > 60)
        await phones.control("POST", f"calls/{talk.start['start']['callSid']}/hang-up")

    sid = await _talk(phones, office, speak)
    await office.talks[0].until_closed()
    ledger = await phones.ledger(sid)

    assert len(await phones.log("stream", "stops reading")) == 1
    assert (office.talks[0].echoed, ledger["heard_ms_total"]) == ([], 0)
    assert len(office.talks[0].of("media")) > 60


async def test_a_flood_of_marks_is_cut_off(phones: Phones, office: Office) -> None:
    """31930: what a server does not take is lost, whatever it is."""
    await phones.fault("stream", "burst:20")

    async def flood(talk: Talk) -> None:
        for number in range(1500):
            await talk.play(b"", f"m{number}")
        await talk.until(lambda t: int(t.messages[-1]["sequenceNumber"]) > 1502)
        await talk.ws.close()

    await _talk(phones, office, flood)

    assert 500 < len(office.talks[0].echoed) <= 1000
    assert [e["what"] for e in await phones.log("debugger")] == ["31930"]


async def test_a_forged_handshake_can_be_ordered(phones: Phones, office: Office) -> None:
    """[C1] The server can see that it refuses what Twilio has not signed."""
    office.expects_forgery = True
    await phones.fault("stream", "bad-signature")

    await _talk(phones, office, greets, *LEAVES_AFTER_GREETING)

    assert [t.is_signed for t in office.talks] == [False]


async def test_fallback_serves_when_the_document_cannot_be_had(
    phones: Phones, office: Office
) -> None:
    """[B21] It is told the error and the address that failed."""
    office.answers["voice"] = lambda: web.Response(status=500)
    office.answers["fallback"] = "<Response><Say>Sorry.</Say></Response>"
    await phones.person(FOREVER)

    call = await phones.call(office, fallback_url=f"{office.url}/fallback")
    await phones.until_over(call.sid)
    ledger = await phones.ledger(call.sid, "answer")

    (asked,) = office.got("fallback")
    assert asked.fields["ErrorCode"] == "11200"
    assert asked.fields["ErrorUrl"].endswith("/voice?call=abc")
    assert {s["text"] for s in ledger["agent_segments"]} == {"Sorry."}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda: web.Response(text="<Response/>", content_type="text/plain"), "12300"),
        (lambda: web.Response(text="<Response>", content_type="text/xml"), "12100"),
        (lambda: web.Response(text="<say/>", content_type="text/xml"), "12200"),
        (lambda: web.Response(text="x" * 65537, content_type="text/xml"), "11750"),
        (lambda: web.Response(status=404, text="<Response/>", content_type="text/xml"), "11200"),
    ],
)
async def test_without_fallback_the_person_hears_of_an_error(
    phones: Phones, office: Office, answer: Any, code: str
) -> None:
    """An announcement, then the end."""
    office.answers["voice"] = answer
    await phones.person(FOREVER)

    call = await phones.call(office)
    await phones.until_over(call.sid)
    ledger = await phones.ledger(call.sid, "answer")

    assert [e["what"] for e in await phones.log("debugger")] == [code]
    assert "application error" in ledger["agent_segments"][0]["text"]
