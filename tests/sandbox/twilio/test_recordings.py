"""Recordings: when there is one, how it is fetched, and how it goes wrong."""

from __future__ import annotations

import io
import wave
from typing import Any

import aiohttp
import pytest

from tests.sandbox.twilio.conftest import Phones
from tests.sandbox.twilio.office import FRAME, Office, Talk


async def _recorded(phones: Phones, office: Office, **more: Any) -> dict[str, str]:
    """Have a short recorded call; returns the fields of the recording's report."""
    await phones.person(
        {"say": "person.yes"}, {"wait_for_agent": True, "timeout_s": 100}, {"hang_up": True}
    )
    office.answers.setdefault("voice", office.stream())

    async def speak(talk: Talk) -> None:
        await talk.play(FRAME * 50, "m")
        await talk.until_closed()

    office.conversation = speak
    asked = {
        "record": True,
        "recording_channels": "dual",
        "trim": "do-not-trim",
        "recording_status_callback": f"{office.url}/recording",
        "recording_status_callback_event": ["completed", "absent"],
    }
    await phones.call(office, **(asked | more))
    await office.until(lambda: office.got("recording"))
    return office.got("recording")[0].fields


def _shape(body: bytes) -> tuple[int, int, int]:
    with wave.open(io.BytesIO(body)) as wav:
        return wav.getnchannels(), wav.getframerate(), wav.getnframes()


async def test_the_report_says_where_the_sound_is(phones: Phones, office: Office) -> None:
    """Without extension, and the media is there when `completed` is reported."""
    report = await _recorded(phones, office)

    assert report["RecordingUrl"].endswith(f"/Recordings/{report['RecordingSid']}")
    assert report["RecordingSource"] == "OutboundAPI"
    assert report["RecordingTrack"] == "both"
    assert report["ErrorCode"] == "0"
    status, body, kind = await phones.media(report["RecordingSid"], "?RequestedChannels=2")
    assert (status, kind) == (200, "audio/x-wav")
    channels, rate, count = _shape(body)
    assert (channels, rate) == (2, 8000)
    assert abs(count / rate - int(report["RecordingDuration"])) <= 0.5
    _, mono, _ = await phones.media(report["RecordingSid"], "?RequestedChannels=1")
    assert _shape(mono) == (1, 8000, count)


async def test_a_mono_recording_has_no_second_channel(phones: Phones, office: Office) -> None:
    """[E4] 16113 for two channels; without the parameter it comes."""
    report = await _recorded(phones, office, recording_channels="mono")

    refused, body, _ = await phones.media(report["RecordingSid"], "?RequestedChannels=2")
    status, whole, _ = await phones.media(report["RecordingSid"])

    assert report["RecordingChannels"] == "1"
    assert (refused, b"16113" in body) == (400, True)
    assert (status, _shape(whole)[0]) == (200, 1)


async def test_one_track_is_always_mono(phones: Phones, office: Office) -> None:
    """`RecordingTrack=inbound` with dual channels gives one."""
    report = await _recorded(phones, office, recording_track="inbound")

    assert (report["RecordingChannels"], report["RecordingTrack"]) == ("1", "inbound")


async def test_trimming_moves_the_beginning(phones: Phones, office: Office) -> None:
    """The default cuts silence at both ends, so time 0 is not the answer."""
    untrimmed = await _recorded(phones, office)
    office.received.clear()
    trimmed = await _recorded(phones, office, trim="trim-silence")

    _, long, _ = await phones.media(untrimmed["RecordingSid"])
    _, short, _ = await phones.media(trimmed["RecordingSid"])
    assert _shape(short)[2] < _shape(long)[2]


async def test_the_sound_is_not_ready_at_once(phones: Phones, office: Office) -> None:
    """[E2] 404 with 20404 while it is processed, and as often as ordered."""
    await phones.control("POST", "settings", {"recording_delay_s": 0.1})
    report = await _recorded(phones, office)
    await phones.fault("recording.media", "not-ready:3")

    answers = [(await phones.media(report["RecordingSid"]))[0] for _ in range(4)]

    assert answers == [404, 404, 404, 200]


@pytest.mark.parametrize(
    ("what", "status", "kind", "holds"),
    [
        ("html", 200, "text/html", b"<html>"),
        ("xml", 404, "application/xml", b"20404"),
        ("json", 200, "audio/x-wav", b'"code"'),
        ("status:401", 401, "application/json", b"401"),
        ("empty", 200, "audio/x-wav", b""),
    ],
)
async def test_the_sound_can_be_something_else(
    phones: Phones, office: Office, what: str, status: int, kind: str, holds: bytes
) -> None:
    """[E4] [E8] What must not be saved as audio."""
    report = await _recorded(phones, office)
    await phones.fault("recording.media", what)

    found = await phones.media(report["RecordingSid"])

    assert (found[0], found[2], holds in found[1]) == (status, kind, True)
    assert not found[1].startswith(b"RIFF")


async def test_the_sound_can_be_cut_off(phones: Phones, office: Office) -> None:
    """[E3] The length is promised and not kept."""
    report = await _recorded(phones, office)
    await phones.fault("recording.media", "truncate:0.8")

    with pytest.raises(aiohttp.ClientPayloadError):
        await phones.media(report["RecordingSid"])


async def test_the_sound_can_go_on_for_ever(phones: Phones, office: Office) -> None:
    """[E11] No length is promised, and far more comes than the call was long."""
    report = await _recorded(phones, office)
    _, whole, _ = await phones.media(report["RecordingSid"])
    await phones.fault("recording.media", "endless")
    path = f"/Recordings/{report['RecordingSid']}.wav"

    async with phones.stream(path) as answer:
        body = await answer.content.readexactly(10 * len(whole))

    assert "Content-Length" not in answer.headers
    assert body.startswith(whole)


async def test_the_sound_can_be_one_channel_or_silence(phones: Phones, office: Office) -> None:
    """[E4] A WAV in all respects but one."""
    report = await _recorded(phones, office)
    await phones.fault("recording.media", "mono")
    await phones.fault("recording.media", "silence")

    _, mono, _ = await phones.media(report["RecordingSid"], "?RequestedChannels=2")
    _, silent, _ = await phones.media(report["RecordingSid"], "?RequestedChannels=2")

    assert _shape(mono)[0] == 1
    assert _shape(silent)[0] == 2
    assert set(silent[44:]) == {0}


async def test_the_sound_can_be_elsewhere(phones: Phones, office: Office) -> None:
    """[E10] A redirect to another host."""
    report = await _recorded(phones, office)
    await phones.fault("recording.media", "redirect:http://127.0.0.1:1/stolen")

    status, _, _ = await phones.media(report["RecordingSid"])

    assert status == 302


async def test_a_recording_can_be_absent(phones: Phones, office: Office) -> None:
    """[E9] Reported as such, with a code, and never there."""
    await phones.fault("recording", "absent")

    report = await _recorded(phones, office)
    fetched = await phones.do(phones.client.recordings(report["RecordingSid"]).fetch)
    status, _, _ = await phones.media(report["RecordingSid"])

    assert (report["RecordingStatus"], report["ErrorCode"]) == ("absent", "16101")
    assert (fetched.status, status) == ("absent", 404)


async def test_nothing_but_silence_is_absent(phones: Phones, office: Office) -> None:
    """Trimming leaves nothing of it: 16102."""
    await phones.person({"pause_s": 500})
    office.answers["voice"] = "<Response><Pause length='2'/></Response>"

    await phones.call(
        office,
        record=True,
        recording_status_callback=f"{office.url}/recording",
        recording_status_callback_event=["absent"],
    )
    await office.until(lambda: office.got("recording"))

    (report,) = office.got("recording")
    assert (report.fields["RecordingStatus"], report.fields["ErrorCode"]) == ("absent", "16102")


async def test_mp3_is_refused_in_a_way_that_nobody_takes_for_not_ready(
    phones: Phones, office: Office
) -> None:
    """501 and the reason, not the 404 that asks for patience."""
    report = await _recorded(phones, office)

    status, body = await phones.rest("GET", f"/Recordings/{report['RecordingSid']}.mp3")

    assert (status, "MP3" in body["message"]) == (501, True)


async def test_a_recording_can_be_ready_before_the_call_has_ended(
    phones: Phones, office: Office
) -> None:
    """[B7] The recording's report may come before the call's."""
    await phones.fault("webhook.recording", "early")

    await _recorded(phones, office)
    before = list(office.statuses())
    await office.until(lambda: "completed" in office.statuses())

    names = [r.fields.get("CallStatus", r.name) for r in office.received]
    assert "completed" not in before
    assert names.index("recording") < names.index("completed")


async def test_a_recording_that_is_told_first_makes_the_call_no_longer(
    phones: Phones, office: Office
) -> None:
    """The call ended when the line was cut, however late that is reported."""
    await phones.fault("webhook.recording", "early")
    await phones.fault("recording", "delay:10")

    report = await _recorded(phones, office)
    await phones.until_over(report["CallSid"])
    ledger = await phones.ledger(report["CallSid"], "answer")
    shown = await phones.do(phones.client.calls(report["CallSid"]).fetch)

    assert abs(int(shown.duration) * 1000 - ledger["clock"]["now_ms"]) <= 1000


async def test_a_recording_that_is_never_reported_holds_nothing_up(
    phones: Phones, office: Office
) -> None:
    """Not even a call whose end would come after it."""
    await phones.fault("webhook.recording", "early")
    await phones.fault("recording", "never")
    office.answers["voice"] = "<Response><Hangup/></Response>"

    call = await phones.call(
        office, record=True, recording_status_callback=f"{office.url}/recording"
    )
    await phones.until_over(call.sid)

    assert phones.world.carrier.calls[call.sid].status == "completed"
    assert office.got("recording") == []


async def test_the_calls_own_report_names_the_recording(phones: Phones, office: Office) -> None:
    """Only with `Record=true`; its sound may not be ready yet."""
    report = await _recorded(phones, office)
    await office.until(lambda: "completed" in office.statuses())

    last = next(r for r in office.got("status") if r.fields["CallStatus"] == "completed")
    assert last.fields["RecordingSid"] == report["RecordingSid"]


async def test_a_deleted_recording_keeps_its_metadata(phones: Phones, office: Office) -> None:
    """[E12] 204, then 404, unless soft-deleted ones are asked for."""
    report = await _recorded(phones, office)
    sid = report["RecordingSid"]

    is_deleted = await phones.do(phones.client.recordings(sid).delete)
    gone, _ = await phones.rest("GET", f"/Recordings/{sid}.json")
    again, _ = await phones.rest("DELETE", f"/Recordings/{sid}.json")
    kept, body = await phones.rest("GET", f"/Recordings/{sid}.json?IncludeSoftDeleted=true")
    media, _, _ = await phones.media(sid)

    assert (is_deleted, gone, again, media) == (True, 404, 404, 404)
    assert (kept, body["status"], body["duration"]) == (200, "deleted", report["RecordingDuration"])


async def test_a_live_call_is_recorded_paused_and_stopped_by_request(
    phones: Phones, office: Office
) -> None:
    """[E15] Also by the name `Twilio.CURRENT`."""
    await phones.person({"pause_s": 500})
    office.answers["voice"] = office.stream()
    call = await phones.call(office)
    await office.until(lambda: office.talks)
    recordings = phones.client.calls(call.sid).recordings

    started = await phones.do(
        recordings.create,
        recording_channels="dual",
        recording_status_callback=f"{office.url}/recording",
    )
    paused = await phones.do(recordings("Twilio.CURRENT").update, status="paused")
    await phones.do(recordings(started.sid).update, status="in-progress")
    await phones.until_frame(call.sid, 50)
    stopped = await phones.do(recordings("Twilio.CURRENT").update, status="stopped")
    await office.until(lambda: office.got("recording"))

    assert (started.status, started.source) == ("in-progress", "StartCallRecordingAPI")
    assert (paused.status, stopped.status) == ("paused", "stopped")
    assert office.got("recording")[0].fields["RecordingStatus"] == "completed"
    assert phones.world.carrier.calls[call.sid].status == "in-progress"


@pytest.mark.parametrize(("behaviour", "is_shorter"), [("skip", True), ("silence", False)])
async def test_a_pause_is_silence_or_left_out(
    phones: Phones, office: Office, behaviour: str, is_shorter: bool
) -> None:
    """`PauseBehavior` decides, for the pause that it comes with."""
    await phones.person({"pause_s": 500})
    office.answers["voice"] = office.stream()
    call = await phones.call(office)
    await office.until(lambda: office.talks)
    recordings = phones.client.calls(call.sid).recordings

    started = await phones.do(recordings.create)
    current = recordings("Twilio.CURRENT")
    await phones.do(current.update, status="paused", pause_behavior=behaviour)
    from_ms = (await phones.ledger(call.sid, "answer"))["clock"]["now_ms"]
    await phones.until_frame(call.sid, from_ms // 20 + 100)
    await phones.do(current.update, status="stopped")

    recording = phones.world.carrier.recordings[started.sid]
    assert (recording.length < 100 * 160) == is_shorter


async def test_twiml_can_start_a_recording(phones: Phones, office: Office) -> None:
    """`<Start><Recording>` records from there on and does not block."""
    start = (
        f"<Start><Recording channels='dual' recordingStatusCallback='{office.url}/recording' "
        "recordingStatusCallbackEvent='in-progress completed'/></Start>"
    )
    office.answers["voice"] = office.stream().replace("<Connect", f"{start}<Connect")

    await _recorded(phones, office, record=None)
    await office.until(lambda: len(office.got("recording")) == 2)

    statuses = {r.fields["RecordingStatus"] for r in office.got("recording")}
    assert statuses == {"in-progress", "completed"}
