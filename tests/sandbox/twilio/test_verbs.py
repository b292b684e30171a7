"""`<Say>`, `<Play>` and the addresses in a document, as the person and the server notice them."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from sandbox.people import Behaviour
from sandbox.state import Options
from sandbox.twilio.calls import CallOrder
from sandbox.world import World
from tests.sandbox.twilio.conftest import FROM, TO, Phones
from tests.sandbox.twilio.office import DEADLINE_S, Office

FOREVER = {"pause_s": 5000}


def _wav(seconds: float, *, rate_hz: int = 8000, channels: int = 1) -> bytes:
    samples = np.full(round(seconds * rate_hz) * channels, 5000, dtype="<i2")
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
    return target.getvalue()


async def _heard(phones: Phones, office: Office, verbs: str) -> list[dict[str, Any]]:
    """What the person heard of a document, when the call is over."""
    await phones.person(FOREVER)
    office.answers["voice"] = f"<Response>{verbs}</Response>"
    call = await phones.call(office)
    await phones.until_over(call.sid)
    segments: list[dict[str, Any]] = (await phones.ledger(call.sid, "answer"))["agent_segments"]
    return segments


@pytest.mark.parametrize("silent", ["<Say/>", "<Say> </Say>", "<Play>/empty</Play>"])
async def test_what_holds_no_sound_is_skipped_with_a_warning(
    phones: Phones, office: Office, silent: str
) -> None:
    """The next verb runs; the person does not wait in silence."""
    office.answers["empty"] = lambda: web.Response(body=_wav(0), content_type="audio/wav")

    heard = await _heard(phones, office, f"{silent}<Say>Good morning.</Say>")

    assert {segment["text"] for segment in heard} == {"Good morning."}
    code = "11200" if "Play" in silent else "13520"
    assert [e["what"] for e in await phones.log("debugger")] == [code]


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (44100, 2)])
async def test_a_file_is_played_to_its_end(
    phones: Phones, office: Office, rate_hz: int, channels: int
) -> None:
    """However many pieces it arrives in; its address may be relative."""
    body = _wav(15, rate_hz=rate_hz, channels=channels)
    office.answers["song"] = lambda: web.Response(body=body, content_type="audio/wav")

    (heard,) = await _heard(phones, office, "<Play>/song</Play>")

    assert (heard["to_ms"] - heard["from_ms"], heard["text"]) == (15_000, f"{office.url}/song")


async def test_a_file_is_fetched_through_the_route(phones: Phones, office: Office) -> None:
    """As every request to a public address."""
    office.public_url = "https://calls.example.test"
    await phones.control("POST", "settings", {"routes": {office.public_url: office.url}})
    office.answers["song"] = lambda: web.Response(body=_wav(1), content_type="audio/wav")

    (heard,) = await _heard(phones, office, f"<Play>{office.public_url}/song</Play>")

    assert heard["to_ms"] - heard["from_ms"] == 1000
    assert office.got("song")[0].headers["Host"] == "calls.example.test"


@pytest.mark.parametrize(
    "body", [b"", b"RIFF", b"<html>", _wav(1)[:-1].replace(b"WAVE", b"WAVX"), _wav(1)[:30]]
)
async def test_a_file_that_is_no_sound_is_skipped(
    phones: Phones, office: Office, body: bytes
) -> None:
    """11200, and the next verb runs."""
    office.answers["song"] = lambda: web.Response(body=body, content_type="audio/wav")

    heard = await _heard(phones, office, "<Play>/song</Play><Say>Good morning.</Say>")

    assert {segment["text"] for segment in heard} == {"Good morning."}
    assert [e["what"] for e in await phones.log("debugger")] == ["11200"]


async def test_a_loop_of_0_goes_on_until_the_call_ends(phones: Phones, office: Office) -> None:
    """And a count is a count."""
    twice = await _heard(phones, office, "<Say loop='2'>Good morning.</Say>")
    await phones.person({"pause_s": 12}, {"hang_up": True})
    office.answers["voice"] = "<Response><Say loop='0'>Good morning.</Say></Response>"

    call = await phones.call(office)
    await phones.until_over(call.sid)
    ledger = await phones.ledger(call.sid, "answer")

    assert len(twice) == 2
    assert len(ledger["agent_segments"]) > 3


async def test_callbacks_of_a_document_may_be_relative(phones: Phones, office: Office) -> None:
    """Both the stream's and the recording's are resolved against the document's address."""
    recording = "<Start><Recording recordingStatusCallback='/recording'/></Start>"
    stream = "<Connect><Stream url='/nowhere' statusCallback='/stream-status'/></Connect>"

    await _heard(phones, office, f"{recording}{stream}<Say>Good morning.</Say>")
    await office.until(lambda: office.got("recording") and office.got("stream-status"))

    assert office.got("recording")[0].fields["RecordingStatus"] == "completed"
    assert office.got("stream-status")[0].fields["StreamEvent"] == "stream-error"


@pytest.mark.parametrize(
    ("verbs", "code"),
    [
        ("<Redirect>http://[h</Redirect>", "11100"),
        ("<Redirect>http://127.0.0.1:99999/</Redirect>", "11100"),
        ("<Redirect method='PUT'>/voice</Redirect>", "12200"),
        ("<Say loop='nan'>x</Say>", "12200"),
        ("<Pause length='inf'/>", "12200"),
        ("<Connect><Stream url='wss://[h'/></Connect>", "31923"),
        ("<Connect><Stream url='wss://h:99999/'/></Connect>", "31923"),
        ("<Connect><Stream url=''/></Connect>", "31923"),
        ("<Gather/><Hangup/>", "12200"),
        ("<say>x</say><Hangup/>", "12200"),
    ],
)
async def test_nonsense_is_named_and_ends_nothing_but_the_call(
    phones: Phones, office: Office, verbs: str, code: str
) -> None:
    """The debugger says what was wrong, and the call comes to an orderly end."""
    await _heard(phones, office, verbs)

    assert [e["what"] for e in await phones.log("debugger")] == [code]
    assert [c.status for c in phones.world.carrier.calls.values()] == ["completed"]


async def test_a_fault_of_the_sandbox_ends_the_call_and_is_told(
    options: Options, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not leave a call on the line that nobody can end."""
    async with World(options) as world:
        broken = Behaviour("talks", ring_s=0.1, script=({"say": "a clip that is not there"},))
        monkeypatch.setattr(world.people, "at", lambda _: broken)

        running = world.carrier.create(CallOrder(TO, FROM, twiml="<Response><Pause/></Response>"))
        is_over = await world.carrier.wait_for_calls(DEADLINE_S)
        told = [e["what"] for e in world.state.log.after(0) if e["where"] == "sandbox"]

    assert (is_over, running.call.status, running.over.is_set()) == (True, "failed", True)
    assert told == ["internal error"]
    assert "a clip that is not there" in capsys.readouterr().err
