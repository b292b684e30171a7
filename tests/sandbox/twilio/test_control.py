"""The control API: everything said in JSON, every mistake named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.twilio.conftest import Phones
from tests.sandbox.twilio.office import FRAME, Office, Talk, greets


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "people/14155550101", {"kind": "busy"}, "number"),
        ("PUT", "people/+14155550101", {"kind": "dog"}, "kind"),
        ("PUT", "people/+14155550101", [], "body"),
        ("POST", "faults", {"what": "drop"}, "where"),
        ("POST", "faults", {"where": "stream"}, "what"),
        ("POST", "faults", {"where": "stream", "what": "explode"}, "what"),
        ("POST", "faults", {"where": "stream", "what": "gap:long"}, "what"),
        ("POST", "faults", {"where": "stream", "what": "gap:nan"}, "what"),
        ("POST", "faults", {"where": "stream", "what": "refuse", "times": -1}, "times"),
        ("POST", "faults", {"where": "stream", "what": "refuse", "call": ["+1"]}, "call"),
        ("POST", "faults", {"where": "rest.crate", "what": "reset"}, "where"),
        ("POST", "faults", {"where": "webhook.state", "what": "drop"}, "where"),
        ("POST", "faults", {"where": "nowhere*", "what": "drop"}, "where"),
        ("POST", "faults", {"where": "webhook.voice", "what": "late"}, "what"),
        ("POST", "faults", {"where": "rest.list", "what": "early"}, "what"),
        ("POST", "faults", {"where": "rest.create", "what": "code:soon"}, "what"),
        ("POST", "faults", {"where": "rest.create", "what": "status:9999"}, "what"),
        ("POST", "faults", {"where": "rest.create", "what": "after:never"}, "what"),
        ("POST", "faults", {"where": "recording.media", "what": "redirect"}, "what"),
        ("POST", "faults", {"where": "openai.connect", "what": "reset", "times": []}, "times"),
        ("POST", "faults", {"where": "stream", "what": "refuse", "often": 2}, "often"),
        ("POST", "settings", {"speed": 3}, "speed"),
        ("POST", "settings", {"cps": 0}, "cps"),
        ("POST", "settings", {"price_delay_s": "x"}, "price_delay_s"),
        ("POST", "settings", {"numbers": "+1"}, "numbers"),
        ("POST", "settings", {"stream_query": "keep"}, "stream_query"),
        ("POST", "settings", {"routes": {"a": "b"}}, "route"),
        ("POST", "settings", {"numbers": ["555"]}, "numbers"),
        ("POST", "settings", {"price_delay_s": float("inf")}, "price_delay_s"),
        ("POST", "settings", {"auth_token": ""}, "auth_token"),
        ("POST", "settings", {"shared_key": "no-secret"}, "shared_key"),
        ("GET", "calls/CA1", None, "call"),
        ("GET", "log?after=x", None, "after"),
        ("GET", "log?after=inf", None, "after"),
    ],
)
async def test_a_mistake_is_answered_with_the_field_and_the_fix(
    phones: Phones, method: str, path: str, body: Any, field: str
) -> None:
    """400, and a text that begins with what is wrong."""
    answer = await phones.control(method, path, body, status=400)

    assert answer["error"].startswith(f"{field}:")


async def test_reset_makes_the_sandbox_as_new(phones: Phones, office: Office) -> None:
    """Calls end, people, faults, settings and log are forgotten; log numbers go on."""
    office.answers["voice"] = office.stream()
    await phones.person({"pause_s": 500})
    await phones.fault("rest.create", "delay:0.1")
    await phones.control("POST", "settings", {"cps": 7.0, "auth_token": "other"})
    await phones.control("POST", "settings", {"auth_token": phones.client.password})
    await phones.call(office)
    await office.until(lambda: office.talks)
    before = (await phones.log())[-1]["n"]

    await phones.control("POST", "reset")
    await office.talks[0].until_closed()

    assert await phones.control("GET", "people") == {}
    assert await phones.control("GET", "faults") == {"faults": []}
    assert await phones.control("GET", "calls") == []
    assert (await phones.control("GET", "settings"))["cps"] == 100.0
    entries = await phones.log()
    assert [e["what"] for e in entries if e["where"] == "control"] == ["reset"]
    assert min(e["n"] for e in entries) > before


@pytest.mark.parametrize("where", ["webhook.*", "webhook.status.*", "rest*", "*"])
async def test_a_fault_may_strike_at_many_places(phones: Phones, where: str) -> None:
    """All that begin so."""
    await phones.fault(where, "delay:0.1")

    assert (await phones.control("GET", "faults"))["faults"][0]["where"] == where


async def test_routes_may_end_in_a_slash(phones: Phones) -> None:
    """As on the command line."""
    routes = {"https://calls.example.test/": "http://127.0.0.1:8000/"}

    settings = await phones.control("POST", "settings", {"routes": routes})

    assert settings["routes"] == {"https://calls.example.test": "http://127.0.0.1:8000"}


async def test_reset_ends_calls_without_a_word(phones: Phones, office: Office) -> None:
    """Nobody is told of the end: not of the call's, the stream's, nor the recording's."""
    recorded = {"record": True, "recording_status_callback": f"{office.url}/recording"}
    office.answers["voice"] = office.stream()
    await phones.person({"pause_s": 500})
    forgotten = await phones.call(office, **recorded)
    await office.until(lambda: office.got("stream-status"))
    office.received.clear()

    await phones.control("POST", "reset")
    office.answers["voice"] = "<Response><Say>Good morning.</Say></Response>"
    later = await phones.call(office, **recorded)
    await office.until(lambda: office.got("recording"))

    told = {r.fields["CallSid"] for r in office.received}
    assert (later.sid in told, forgotten.sid in told) == (True, False)


async def test_the_log_holds_requests_callbacks_and_the_stream(
    phones: Phones, office: Office
) -> None:
    """Numbered from 1, in order, and readable from anywhere."""
    office.answers["voice"] = office.stream()
    office.conversation = greets
    await phones.person({"wait_for_agent": True, "timeout_s": 100}, {"hang_up": True})
    call = await phones.call(office)
    await phones.until_over(call.sid)
    await office.until(lambda: len(office.statuses()) == 4)

    entries = await phones.log()
    later = await phones.control("GET", f"log?after={entries[2]['n']}")

    places = {e["where"] for e in entries}
    assert {"rest.create", "call", "webhook.status", "webhook.voice", "twiml", "stream"} <= places
    numbers = [e["n"] for e in entries]
    assert numbers == sorted(numbers)
    assert later[0]["n"] == entries[3]["n"]


async def test_faults_of_the_model_are_listed_and_cleared_with_the_others(phones: Phones) -> None:
    await phones.fault("openai.response", "failed:server_error")
    listed = await phones.control("GET", "faults")

    cleared = await phones.control("DELETE", "faults")

    ordered = {"where": "openai.response", "what": "failed:server_error", "times": 1}
    assert listed == {"faults": [ordered]}
    assert cleared == await phones.control("GET", "faults") == {"faults": []}


async def test_a_fault_may_be_meant_for_one_number(phones: Phones, office: Office) -> None:
    """Others are not touched."""
    fault = {"where": "rest.create", "what": "status:500", "call": "+14155550109"}
    await phones.control("POST", "faults", fault)

    call = await phones.call(office, to="+14155550104")

    assert call.status == "queued"
    assert len((await phones.control("GET", "faults"))["faults"]) == 1


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ("rest.fetch", "/Calls/{call}.json"),
        ("rest.list", "/Calls.json?To={to}"),
        ("rest.recordings.list", "/Calls/{call}/Recordings.json"),
        ("rest.recordings.list", "/Recordings.json?CallSid={call}"),
        ("rest.recordings.fetch", "/Recordings/{recording}.json"),
        ("recording.media", "/Recordings/{recording}.wav"),
    ],
)
async def test_a_fault_may_be_meant_for_what_is_asked_about_one_number(
    phones: Phones, office: Office, where: str, path: str
) -> None:
    """Requests that name the call, its recording, or the number."""
    office.answers["voice"] = "<Response><Say>Good morning.</Say></Response>"
    asked = {"record": True, "recording_status_callback": f"{office.url}/recording"}
    fault = {"where": where, "what": "status:503", "call": "+14155550109"}
    await phones.control("POST", "faults", fault)
    answers = []
    for number in ("+14155550101", "+14155550109"):
        office.received.clear()
        call = await phones.call(office, to=number, **asked)
        (report,) = await office.until(lambda: office.got("recording"))
        recording = report.fields["RecordingSid"]
        to = number.replace("+", "%2B")
        url = path.format(call=call.sid, recording=recording, to=to)
        async with phones.stream(url) as answer:
            answers.append(answer.status)

    assert answers == [200, 503]


async def test_a_person_can_be_moved_during_the_call(phones: Phones, office: Office) -> None:
    """A new script takes over at once."""
    office.answers["voice"] = office.stream()
    await phones.person({"pause_s": 500})
    call = await phones.call(office)
    await office.until(lambda: office.talks)

    script = [{"say": "person.hello"}, {"hang_up": True}]
    await phones.control("POST", f"calls/{call.sid}/person", {}, status=400)
    await phones.control("POST", f"calls/{call.sid}/person", {"script": script})
    await phones.until_over(call.sid)

    ledger = await phones.ledger(call.sid)
    assert [s["clip"] for s in ledger["person_segments"]] == ["person.hello"]


async def test_the_ledger_knows_pauses_and_who_spoke(phones: Phones, office: Office) -> None:
    """Two utterances of the agent with a gap, and the person in between."""
    office.answers["voice"] = office.stream()
    await phones.person(
        {"wait_for_agent": True, "timeout_s": 100},
        {"say": "person.mhm"},
        {"wait_for_agent": True, "timeout_s": 100},
        {"hang_up": True},
    )

    async def speak(talk: Talk) -> None:
        await talk.play(FRAME * 10, "one")
        await talk.until(lambda t: any(_is_loud(m) for m in t.of("media")))
        await talk.play(FRAME * 10, "two")
        await talk.until_closed()

    office.conversation = speak
    call = await phones.call(office)
    await phones.until_over(call.sid)

    ledger = await phones.ledger(call.sid)

    assert [p["name_or_gap"] for p in ledger["played"]] == ["one", "gap", "two"]
    one, gap, two = ledger["played"]
    assert (gap["start_ms"], gap["end_ms"]) == (one["end_ms"], two["start_ms"])
    (person,) = ledger["person_segments"]
    assert person["from_ms"] >= one["end_ms"] + 600
    assert {s["source"] for s in ledger["agent_segments"]} == {"stream"}
    assert len(ledger["agent_segments"]) == 2


def _is_loud(message: dict[str, Any]) -> bool:
    payload: str = message["media"]["payload"]
    return set(payload) != {"/"} and not payload.startswith("////////")


async def test_the_model_is_told_its_script_on_the_same_port(phones: Phones) -> None:
    """The other half's routes are mounted beside these."""
    answer = await phones.control("POST", "openai/script", {"responses": [{"say": "Hello."}]})

    assert answer == {"waiting": 1}
    await phones.fault("openai.connect", "status:503")
    await phones.control("POST", "faults", {"where": "openai.connect", "what": "x"}, status=400)
