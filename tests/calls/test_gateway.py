"""Twilio's REST API over real sockets: what we ask, and how its answers are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from calls import gateway
from calls.core.lifecycle import Status
from tests.calls.kit import FakeTwilio, error, make_call, new_sid, resource

pytestmark = pytest.mark.django_db
RETRIES = "#rc=3&rp=5xx,ct,rt&ct=2000&rt=5000&tt=15000"


def test_a_call_is_asked_for_with_everything_it_needs(twilio: FakeTwilio, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://calls.example.test"
    call = make_call(Status.DIALING)

    sid = gateway.dial(call)

    base, token = "https://calls.example.test/api/twilio", f"?call={call.token}"
    request = twilio.received[0]
    assert request.path == f"/2010-04-01/Accounts/{settings.TWILIO_ACCOUNT_SID}/Calls.json"
    assert sorted(request.form) == sorted(
        [
            ("To", call.to_number),
            ("From", settings.TWILIO_PHONE_NUMBER),
            ("Url", f"{base}/voice{token}"),
            ("Method", "POST"),
            ("FallbackUrl", f"{base}/fallback"),
            ("FallbackMethod", "POST"),
            ("StatusCallback", f"{base}/status{token}{RETRIES}"),
            ("StatusCallbackMethod", "POST"),
            ("StatusCallbackEvent", "initiated"),
            ("StatusCallbackEvent", "ringing"),
            ("StatusCallbackEvent", "answered"),
            ("StatusCallbackEvent", "completed"),
            ("Timeout", "30"),
            ("TimeLimit", "630"),
            ("Record", "true"),
            ("RecordingChannels", "dual"),
            ("Trim", "do-not-trim"),
            ("RecordingStatusCallback", f"{base}/recording-status{token}{RETRIES}"),
            ("RecordingStatusCallbackMethod", "POST"),
            ("RecordingStatusCallbackEvent", "in-progress completed absent"),
            ("MachineDetection", "Enable"),
            ("AsyncAmd", "true"),
            ("AsyncAmdStatusCallback", f"{base}/amd{token}{RETRIES}"),
            ("AsyncAmdStatusCallbackMethod", "POST"),
        ]
    )
    assert sid in twilio.calls


def test_machine_detection_can_be_switched_off(twilio: FakeTwilio, settings: Any) -> None:
    settings.ANSWERING_MACHINE_DETECTION = False

    gateway.dial(make_call(Status.DIALING))

    names = {name for name, _ in twilio.received[0].form}
    assert not {name for name in names if "Amd" in name or "Machine" in name}


@pytest.mark.parametrize(
    ("key", "secret", "expected"),
    [
        (None, None, "AC00000000000000000000000000000001:sandbox-auth-token-0000000000001"),
        ("SK1", "api-secret", "SK1:api-secret"),
    ],
)
def test_an_api_key_replaces_the_auth_token(
    key: str | None, secret: str | None, expected: str, twilio: FakeTwilio, settings: Any
) -> None:
    import base64

    settings.TWILIO_API_KEY, settings.TWILIO_API_SECRET = key, secret

    gateway.dial(make_call(Status.DIALING))

    sent = twilio.received[0].headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == expected


def test_hanging_up_completes_the_call(twilio: FakeTwilio) -> None:
    sid = twilio.add_call(status="in-progress")["sid"]

    assert gateway.hang_up(sid)

    assert twilio.calls[sid]["status"] == "completed"


@pytest.mark.parametrize("status", ["completed", "busy", "canceled"])
def test_hanging_up_what_is_over_is_no_error(status: str, twilio: FakeTwilio) -> None:
    sid = twilio.add_call(status=status)["sid"]

    assert not gateway.hang_up(sid)


def test_hanging_up_what_twilio_does_not_know_is_no_error(twilio: FakeTwilio) -> None:
    assert not gateway.hang_up(new_sid())


def test_a_call_is_read_as_twilio_shows_it(twilio: FakeTwilio) -> None:
    shown = twilio.add_call(
        status="completed",
        date_created="Mon, 23 Nov 2026 10:00:00 +0000",
        start_time="Mon, 23 Nov 2026 10:00:04 +0000",
        end_time="Mon, 23 Nov 2026 10:00:53 +0000",
        duration="49",
        price="-0.03000",
        answered_by="human",
    )

    found = gateway.fetch_call(shown["sid"])

    assert found == gateway.TwilioCall(
        sid=shown["sid"],
        status="completed",
        created_at=datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC),
        started_at=datetime(2026, 11, 23, 10, 0, 4, tzinfo=UTC),
        ended_at=datetime(2026, 11, 23, 10, 0, 53, tzinfo=UTC),
        duration_s=49,
        price=Decimal("0.03000"),
        price_unit="USD",
        answered_by="human",
    )


@pytest.mark.parametrize("price", [None, "", "NaN", "free", "Infinity", "-1e99"])
def test_a_price_that_is_none_is_none(price: str | None, twilio: FakeTwilio) -> None:
    found = gateway.fetch_call(twilio.add_call(price=price)["sid"])

    assert found is not None
    assert found.price is None


def test_a_call_that_twilio_does_not_know_is_none(twilio: FakeTwilio) -> None:
    assert gateway.fetch_call(new_sid()) is None


def test_calls_are_found_by_number_and_time(twilio: FakeTwilio) -> None:
    """One that still waits at Twilio has no start, perhaps no date at all: it may be ours."""
    since = timezone.now() - timedelta(minutes=1)
    old = resource(date_created="Mon, 23 Nov 2020 10:00:00 +0000")
    new, undated = resource(), resource(date_created=None)
    twilio.will((200, {"calls": [undated, new, old], "next_page_uri": None}))

    found = gateway.find_calls("+14155550101", "+14155550100", since)

    assert [call.sid for call in found] == [undated["sid"], new["sid"]]
    assert twilio.received[0].query["To"] == ["+14155550101"]
    assert twilio.received[0].query["From"] == ["+14155550100"]
    assert not {name for name in twilio.received[0].query if name.startswith("StartTime")}


def test_the_search_goes_on_over_pages(twilio: FakeTwilio) -> None:
    first, second = resource(), resource()
    more = "/2010-04-01/Accounts/AC00000000000000000000000000000001/Calls.json?Page=1"
    twilio.will(
        (200, {"calls": [first], "next_page_uri": more}),
        (200, {"calls": [second], "next_page_uri": None}),
    )

    found = gateway.find_calls("+1", "+2", timezone.now() - timedelta(minutes=1))

    assert [call.sid for call in found] == [first["sid"], second["sid"]]


# --- Recordings ---------------------------------------------------------------------------------
def recording(**fields: Any) -> dict[str, Any]:
    return {
        "sid": "RE" + "1" * 32,
        "call_sid": "CA" + "2" * 32,
        "status": "completed",
        "channels": 2,
        "duration": "49",
        "error_code": None,
        "date_created": "Mon, 23 Nov 2026 10:00:00 +0000",
        **fields,
    }


def test_the_recordings_of_a_call_are_listed(twilio: FakeTwilio) -> None:
    twilio.will((200, {"recordings": [recording()], "next_page_uri": None}))

    found = gateway.list_recordings("CA" + "2" * 32)

    assert [(r.sid, r.status, r.channels, r.duration_s) for r in found] == [
        ("RE" + "1" * 32, "completed", 2, 49)
    ]
    assert twilio.received[0].query["CallSid"] == ["CA" + "2" * 32]


def test_one_recording_is_fetched_or_missing(twilio: FakeTwilio) -> None:
    twilio.will((200, recording(error_code=19222, status="failed")), (404, error(20404, "", 404)))

    found, missing = (gateway.fetch_recording("RE" + "1" * 32) for _ in range(2))

    assert found is not None
    assert (found.status, found.error_code) == ("failed", "19222")
    assert missing is None


@pytest.mark.parametrize(("status", "was_there"), [(204, True), (404, False)])
def test_a_recording_is_deleted_once(status: int, was_there: bool, twilio: FakeTwilio) -> None:
    twilio.will((status, b"" if status == 204 else error(20404, "", 404)))

    assert gateway.delete_recording("RE" + "1" * 32) is was_there

    assert twilio.received[0].method == "DELETE"


def test_a_deletion_that_failed_is_not_reported_as_done(twilio: FakeTwilio) -> None:
    """[E12]"""
    twilio.will((500, b""))

    with pytest.raises(gateway.OutcomeUnknown):
        gateway.delete_recording("RE" + "1" * 32)


def test_the_address_of_audio_is_made_from_its_sid(settings: Any) -> None:
    """[E10] Never from what a callback says."""
    url = gateway.recording_media_url("RE" + "1" * 32)

    assert url == (
        f"{settings.TWILIO_BASE_URL}/2010-04-01/Accounts/{settings.TWILIO_ACCOUNT_SID}"
        f"/Recordings/RE{'1' * 32}.wav?RequestedChannels=2"
    )
