"""Answering machine detection."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.twilio.conftest import Phones
from tests.sandbox.twilio.office import Office


def _asked(office: Office, mode: str = "Enable") -> dict[str, Any]:
    return {
        "machine_detection": mode,
        "async_amd": "true",
        "async_amd_status_callback": f"{office.url}/amd?call=abc",
    }


@pytest.mark.parametrize(
    ("number", "mode", "verdict"),
    [
        ("+14155550101", "Enable", "human"),
        ("+14155550105", "Enable", "machine_start"),
        ("+14155550105", "DetectMessageEnd", "machine_end_beep"),
        ("+14155550108", "Enable", "unknown"),
    ],
)
async def test_the_verdict_is_reported_once_beside_the_call(
    phones: Phones, office: Office, number: str, mode: str, verdict: str
) -> None:
    """[G12] Four fields; afterwards the call shows it too."""
    office.answers["voice"] = office.stream()

    call = await phones.call(office, to=number, **_asked(office, mode))
    await office.until(lambda: office.got("amd"))
    shown = await phones.do(phones.client.calls(call.sid).fetch)

    (report,) = office.got("amd")
    assert report.fields["AnsweredBy"] == verdict
    assert set(report.fields) == {
        "CallSid", "AccountSid", "AnsweredBy", "MachineDetectionDuration",
    }  # fmt: skip
    assert int(report.fields["MachineDetectionDuration"]) >= 2000
    assert shown.answered_by == verdict
    assert len(office.got("voice")) == 1


async def test_the_end_of_the_greeting_is_the_beep(phones: Phones, office: Office) -> None:
    """`machine_end_beep` comes when the machine has finished its beep, not before."""
    office.answers["voice"] = office.stream()

    call = await phones.call(office, to="+14155550105", **_asked(office, "DetectMessageEnd"))
    await office.until(lambda: office.got("amd"))
    ledger = await phones.ledger(call.sid, "answer")

    beep = next(s for s in ledger["person_segments"] if s["clip"] == "person.beep")
    assert beep["to_ms"] <= ledger["clock"]["now_ms"]


async def test_a_greeting_without_a_beep_ends_in_silence(phones: Phones, office: Office) -> None:
    """`machine_end_silence`, once it has been quiet for the threshold that was asked for."""
    script = ({"say": "person.machine"}, {"pause_s": 500})
    await phones.person(*script, answered_by="machine")
    office.answers["voice"] = office.stream()
    asked = _asked(office, "DetectMessageEnd") | {"machine_detection_speech_end_threshold": 3000}

    call = await phones.call(office, **asked)
    await office.until(lambda: office.got("amd"))
    ledger = await phones.ledger(call.sid, "answer")

    (greeting,) = ledger["person_segments"]
    assert office.got("amd")[0].fields["AnsweredBy"] == "machine_end_silence"
    assert ledger["clock"]["now_ms"] >= greeting["to_ms"] + 3000


async def test_a_beep_that_does_not_come_in_time_is_unknown(phones: Phones, office: Office) -> None:
    """`MachineDetectionTimeout` ends the waiting."""
    await phones.person({"pause_s": 500}, answered_by="machine")
    office.answers["voice"] = office.stream()
    asked = _asked(office, "DetectMessageEnd") | {"machine_detection_timeout": 4}

    await phones.call(office, **asked)
    await office.until(lambda: office.got("amd"))

    assert office.got("amd")[0].fields["AnsweredBy"] == "unknown"


async def test_the_verdict_may_come_after_the_end(phones: Phones, office: Office) -> None:
    """[B7] With `late`, the call is over when it arrives."""
    await phones.fault("webhook.amd", "late")
    await phones.person({"pause_s": 4}, {"hang_up": True})
    office.answers["voice"] = office.stream()

    await phones.call(office, **_asked(office))
    await office.until(lambda: office.got("amd"))

    names = [r.fields.get("CallStatus", r.name) for r in office.received]
    assert names.index("completed") < names.index("amd")


async def test_synchronous_detection_holds_the_document_back(
    phones: Phones, office: Office
) -> None:
    """TwiML is asked for with the verdict known."""
    await phones.person({"pause_s": 0.1}, {"pause_s": 20})
    office.answers["voice"] = "<Response><Hangup/></Response>"

    call = await phones.call(office, machine_detection="Enable")
    await phones.until_over(call.sid)

    (voice,) = office.got("voice")
    assert voice.values["AnsweredBy"] == ["human"]
    assert office.got("amd") == []


async def test_a_missing_callback_is_a_warning(phones: Phones, office: Office) -> None:
    """21262, and the verdict shows on the call alone."""
    await phones.person({"pause_s": 5}, {"hang_up": True})
    office.answers["voice"] = office.stream()

    call = await phones.call(office, machine_detection="Enable", async_amd="true")
    await phones.until_over(call.sid)
    shown = await phones.do(phones.client.calls(call.sid).fetch)

    assert [e["what"] for e in await phones.log("debugger")] == ["21262"]
    assert shown.answered_by == "human"


async def test_send_digits_turns_detection_off(phones: Phones, office: Office) -> None:
    """As documented: `MachineDetection` is then ignored."""
    await phones.person({"pause_s": 4}, {"hang_up": True})
    office.answers["voice"] = office.stream()

    call = await phones.call(office, send_digits="w1", **_asked(office))
    await phones.until_over(call.sid)

    assert office.got("amd") == []
