"""A whole call: created, reported, answered, streamed both ways, recorded, priced."""

from __future__ import annotations

import asyncio
import io
import wave

import numpy as np
import numpy.typing as npt

from sandbox.clips import load
from tests.sandbox.twilio.conftest import FROM, TO, Phones
from tests.sandbox.twilio.office import FRAME, Office, Talk

Samples = npt.NDArray[np.int16]


async def test_a_call_is_answered_streamed_recorded_and_reported(
    phones: Phones, office: Office
) -> None:
    """Everything that a call is made of, in its order."""
    await phones.person(
        {"say": "person.yes"}, {"wait_for_agent": True, "timeout_s": 100}, {"hang_up": True}
    )
    parameter = "<Parameter name='token' value='one-time'/>"
    office.answers["voice"] = office.stream(parameters=parameter)

    async def speak(talk: Talk) -> None:
        await talk.play(FRAME * 25, "greeting")
        await talk.until_closed()

    office.conversation = speak

    call = await phones.call(
        office,
        record=True,
        recording_channels="dual",
        trim="do-not-trim",
        recording_status_callback=f"{office.url}/recording?call=abc",
    )
    completed = await office.until(lambda: office.got("recording"))

    assert (call.status, call.to, call.from_formatted) == ("queued", TO, "(415) 555-0100")
    assert sorted(office.statuses()) == ["completed", "in-progress", "initiated", "ringing"]
    (voice,) = office.got("voice")
    assert voice.fields["CallStatus"] == "in-progress"
    assert (voice.fields["Caller"], voice.query) == (FROM, {"call": "abc"})
    (talk,) = office.talks
    assert [m["event"] for m in talk.messages[:3]] == ["connected", "start", "media"]
    assert talk.start["start"]["customParameters"] == {"token": "one-time"}
    assert talk.echoed == ["greeting"]
    assert talk.messages[-1]["event"] == "stop"
    assert completed[0].fields["RecordingStatus"] == "completed"
    assert completed[0].fields["RecordingChannels"] == "2"
    listed = await phones.do(phones.client.recordings.list, call_sid=call.sid)
    assert [r.sid for r in listed] == [completed[0].fields["RecordingSid"]]


async def test_the_recording_holds_the_person_left_and_what_was_played_right(
    phones: Phones, office: Office
) -> None:
    """[E16] Energy on each side lies where the ledger says that somebody spoke."""
    await phones.person(
        {"say": "person.yes"}, {"wait_for_agent": True, "timeout_s": 100}, {"hang_up": True}
    )
    office.answers["voice"] = office.stream()

    async def speak(talk: Talk) -> None:
        await talk.until(lambda t: len(t.of("media")) > 60)
        await talk.play(FRAME * 25, "r1")
        await talk.until_closed()

    office.conversation = speak

    call = await phones.call(
        office,
        record=True,
        recording_channels="dual",
        trim="do-not-trim",
        recording_status_callback=f"{office.url}/recording",
    )
    await office.until(lambda: office.got("recording"))
    sid = office.got("recording")[0].fields["RecordingSid"]
    left, right = await _channels(phones, sid)
    ledger = await phones.ledger(call.sid, "answer")

    (agent,) = ledger["agent_segments"]
    assert (agent["to_ms"] - agent["from_ms"]) == 500
    assert _loud(right) == (agent["from_ms"], agent["to_ms"])
    (person,) = ledger["person_segments"]
    start, end = _loud(left)
    assert person["from_ms"] <= start < end <= person["to_ms"]
    assert end - start > load()["person.yes"].duration_ms - 100


async def test_price_and_duration_come_after_the_end(phones: Phones, office: Office) -> None:
    """A finished call has its price a while later, as a negative decimal text."""
    await phones.control("POST", "settings", {"price_delay_s": 10})
    await phones.person({"pause_s": 1.0}, {"hang_up": True})
    office.answers["voice"] = office.stream()

    call = await phones.call(office)
    await phones.until_over(call.sid)
    at_once = await phones.do(phones.client.calls(call.sid).fetch)
    await phones.world.carrier.wait_for_calls(10)
    later = await phones.do(phones.client.calls(call.sid).fetch)

    assert (at_once.status, at_once.price) == ("completed", None)
    assert int(at_once.duration) >= 1
    assert (later.price, later.price_unit) == ("-0.01400", "USD")


async def test_many_calls_run_at_once(phones: Phones, office: Office) -> None:
    """Ten conversations do not disturb each other."""
    await phones.person({"wait_for_agent": True, "timeout_s": 100}, {"hang_up": True})
    office.answers["voice"] = office.stream()

    async def speak(talk: Talk) -> None:
        await talk.play(FRAME * 10, "hello")
        await talk.until_closed()

    office.conversation = speak

    calls = await asyncio.gather(*(phones.call(office) for _ in range(10)))
    await office.until(lambda: office.statuses().count("completed") == 10)

    assert len({t.start["start"]["callSid"] for t in office.talks}) == 10
    ledgers = [await phones.ledger(call.sid) for call in calls]
    assert [ledger["heard_ms_total"] for ledger in ledgers] == [200] * 10


async def _channels(phones: Phones, sid: str) -> tuple[Samples, Samples]:
    status, body, _ = await phones.media(sid, "?RequestedChannels=2")
    assert status == 200
    with wave.open(io.BytesIO(body)) as wav:
        assert (wav.getnchannels(), wav.getframerate(), wav.getsampwidth()) == (2, 8000, 2)
        samples = np.frombuffer(wav.readframes(wav.getnframes()), dtype="<i2")
    return samples[0::2], samples[1::2]


def _loud(samples: Samples) -> tuple[int, int]:
    """From when to when there is sound, in ms, by frames."""
    frames = np.abs(samples[: len(samples) // 160 * 160].astype(int)).reshape(-1, 160).max(axis=1)
    loud = np.flatnonzero(frames > 100)
    return int(loud[0]) * 20, (int(loud[-1]) + 1) * 20
