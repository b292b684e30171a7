"""Webhooks as somebody's server receives them."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiohttp import web

from sandbox.twilio.webhooks import Policy, routed
from tests.sandbox.twilio.conftest import FROM, TO, Phones
from tests.sandbox.twilio.office import Office, greets

HANGUP = "<Response><Hangup/></Response>"
REPORTED = ["completed", "in-progress", "initiated", "ringing"]


async def _one_call(phones: Phones, office: Office, **more: Any) -> str:
    await phones.person({"pause_s": 500})
    office.answers.setdefault("voice", HANGUP)
    call = await phones.call(office, **more)
    await phones.until_over(call.sid)
    sid: str = call.sid
    return sid


async def test_a_status_report_carries_what_the_sheet_lists(phones: Phones, office: Office) -> None:
    """Base fields on all, more on the last."""
    sid = await _one_call(phones, office)
    await office.until(lambda: len(office.statuses()) == 4)

    reports = {r.fields["CallStatus"]: r for r in office.got("status")}
    for report in reports.values():
        assert report.method == "POST"
        fields = report.fields
        assert (fields["CallSid"], fields["From"], fields["To"]) == (sid, FROM, TO)
        assert (fields["Caller"], fields["Called"]) == (FROM, TO)
        assert (fields["Direction"], fields["ApiVersion"]) == ("outbound-api", "2010-04-01")
        assert fields["CallbackSource"] == "call-progress-events"
        assert parsedate_to_datetime(fields["Timestamp"]).tzinfo is not None
        assert fields["ToCountry"] == "US"
        assert report.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
        assert report.headers["User-Agent"] == "TwilioProxy/1.1"
        assert report.headers["I-Twilio-Idempotency-Token"]
    order = ["initiated", "ringing", "in-progress", "completed"]
    assert [reports[s].fields["SequenceNumber"] for s in order] == ["0", "1", "2", "3"]
    last = reports["completed"].fields
    assert (last["Duration"], last["SipResponseCode"]) == ("1", "200")
    assert int(last["CallDuration"]) >= 1
    assert "Duration" not in reports["ringing"].fields
    assert "RecordingUrl" not in last


@pytest.mark.parametrize(
    ("number", "status", "sip_code"),
    [
        ("+14155550102", "busy", "486"),
        ("+14155550104", "failed", "404"),
        ("+14155550110", "no-answer", "603"),
    ],
)
async def test_a_call_that_nobody_takes_ends_in_one_report(
    phones: Phones, office: Office, number: str, status: str, sip_code: str
) -> None:
    """Event `completed` fires for every end; TwiML is never asked for, nothing is billed."""
    call = await phones.call(office, to=number)
    await office.until(lambda: status in office.statuses())

    last = office.got("status")[-1].fields
    assert (last["CallStatus"], last["SipResponseCode"]) == (status, sip_code)
    assert "Duration" not in last
    assert office.got("voice") == []
    fetched = await phones.do(phones.client.calls(call.sid).fetch)
    assert (fetched.status, fetched.duration) == (status, None)


async def test_nobody_answers_within_the_timeout(phones: Phones, office: Office) -> None:
    """It rings as long as `Timeout` says."""
    await phones.call(office, to="+14155550103", timeout=2)
    await office.until(lambda: "no-answer" in office.statuses())

    assert office.got("status")[-1].fields["SipResponseCode"] == "487"


async def test_only_the_end_is_reported_by_default(phones: Phones, office: Office) -> None:
    """Without `StatusCallbackEvent` there is one report, number 0."""
    await _one_call(phones, office, status_callback_event=None)
    await office.until(lambda: office.statuses())

    assert office.statuses() == ["completed"]
    assert office.got("status")[0].fields["SequenceNumber"] == "0"


async def test_get_carries_the_fields_in_a_signed_url(phones: Phones, office: Office) -> None:
    """`StatusCallbackMethod=GET`: nothing in the body, all in the query."""
    await _one_call(phones, office, status_callback_method="GET", method="GET")
    await office.until(lambda: len(office.got("status")) == 4)

    asked = office.got("status") + office.got("voice")
    assert {r.method for r in asked} == {"GET"}
    assert {r.query["call"] for r in asked} == {"abc"}
    assert sorted(r.query["CallStatus"] for r in office.got("status")) == REPORTED


def _failing(times: int, status: int) -> Callable[[], web.Response]:
    left = [times]

    def answer() -> web.Response:
        left[0] -= 1
        return web.Response(status=status if left[0] >= 0 else 204)

    return answer


async def test_a_failed_report_is_lost_unless_the_url_asks_for_retries(
    phones: Phones, office: Office
) -> None:
    """[B12] The default policy does not retry a 503."""
    office.answers["status"] = _failing(1, 503)

    await _one_call(phones, office, status_callback_event=["completed"])
    lost = await phones.until_logged("debugger", "11200")
    await phones.world.carrier.wait_for_calls(10)

    assert len(office.got("status")) == 1
    assert "/status?call=abc: 11200: HTTP 503" in lost["data"]["detail"]


async def test_retries_repeat_the_same_report_with_the_same_token(
    phones: Phones, office: Office
) -> None:
    """[B12] `#rc=3&rp=5xx`: the fragment is neither sent nor signed."""
    office.answers["status"] = _failing(2, 503)

    await _one_call(
        phones,
        office,
        status_callback=f"{office.url}/status?call=abc#rc=3&rp=5xx,ct,rt",
        status_callback_event=["completed"],
    )
    await office.until(lambda: len(office.got("status")) == 3)

    reports = office.got("status")
    assert len({r.headers["I-Twilio-Idempotency-Token"] for r in reports}) == 1
    assert all(r.fields == reports[0].fields for r in reports)
    assert [r.query for r in reports] == [{"call": "abc"}] * 3


@pytest.mark.parametrize(
    ("fragment", "policy"),
    [
        ("", Policy()),
        ("#rc=9", Policy(retries=5)),
        ("#rc=0&rp=all", Policy(retries=0, on=frozenset({"4xx", "5xx", "ct", "rt"}))),
        ("#ct=50&rt=20000&tt=2000", Policy(connect_s=0.1, read_s=15.0, total_s=2.0)),
        ("#rc=x&sni=y", Policy()),
    ],
)
def test_the_fragment_is_read_within_its_bounds(fragment: str, policy: Policy) -> None:
    """Values out of range are brought into it; unknown keys do not matter."""
    assert Policy.of(f"https://h.test/x?a=1{fragment}") == policy


async def test_reports_can_be_dropped_doubled_and_reordered(phones: Phones, office: Office) -> None:
    """[B6] [B7] [B11] Each once, on order; an event may be named."""
    await phones.fault("webhook.status.ringing", "drop")
    await phones.fault("webhook.status.in-progress", "reorder")
    await phones.fault("webhook.status.initiated", "duplicate")

    await _one_call(phones, office)
    await office.until(lambda: "in-progress" in office.statuses())

    statuses = office.statuses()
    assert "ringing" not in statuses
    assert statuses.count("initiated") == 2
    assert statuses.index("completed") < statuses.index("in-progress")


async def test_all_reports_can_be_shuffled(phones: Phones, office: Office) -> None:
    """[B7] With `times` 0 each second one overtakes the one before it."""
    await phones.fault("webhook.status", "reorder", times=0)

    await _one_call(phones, office)
    await office.until(lambda: len(office.statuses()) == 4)

    assert office.statuses() == ["ringing", "initiated", "completed", "in-progress"]


async def test_a_forged_report_can_be_ordered(phones: Phones, office: Office) -> None:
    """[B1] Right but for its signature."""
    office.expects_forgery = True
    await phones.fault("webhook.status.ringing", "bad-signature")

    await _one_call(phones, office)
    await office.until(lambda: len(office.statuses()) == 4)

    forged = [r.fields["CallStatus"] for r in office.received if not r.is_signed]
    assert forged == ["ringing"]


async def test_a_shared_key_can_sign(phones: Phones, office: Office) -> None:
    """[B18] HMAC-SHA256 with the header that says so; the office checks with that secret."""
    await phones.control("POST", "settings", {"shared_key": "webhooks_k:other-secret"})
    office.trust("other-secret")

    await _one_call(phones, office)
    await office.until(lambda: len(office.statuses()) == 4)

    settings = {r.headers["X-Twilio-Webhooks-Signature-Settings"] for r in office.received}
    assert settings == {"key=webhooks_k,algorithm=HMAC_SHA256"}


async def test_a_public_address_is_reached_through_a_route(phones: Phones, office: Office) -> None:
    """[B2] Signed for the public URL, sent to the local one, as through a tunnel."""
    office.public_url = "https://calls.example.test"
    await phones.control("POST", "settings", {"routes": {office.public_url: office.url}})
    office.answers["voice"] = office.stream()

    office.conversation = greets
    await phones.person({"wait_for_agent": True, "timeout_s": 100}, {"hang_up": True})
    call = await phones.call(office)
    await phones.until_over(call.sid)
    await office.until(lambda: len(office.statuses()) == 4)

    (talk,) = office.talks
    assert office.stream_url == "wss://calls.example.test/ws/media"
    assert (talk.headers["Host"], talk.headers["X-Forwarded-Proto"]) == (
        "calls.example.test", "https",
    )  # fmt: skip
    assert {r.headers["Host"] for r in office.received} == {"calls.example.test"}


def test_other_addresses_are_not_routed() -> None:
    """Neither another host nor another scheme."""
    routes = {"https://a.test": "http://127.0.0.1:8000"}

    assert routed("https://b.test/x", routes) == ("https://b.test/x", {})
    assert routed("http://a.test/x", routes) == ("http://a.test/x", {})
    assert routed("wss://a.test/x?y=1", routes)[0] == "ws://127.0.0.1:8000/x?y=1"


async def test_redirects_are_followed_and_cookies_kept(phones: Phones, office: Office) -> None:
    """A redirected POST becomes a GET without its fields; the next request brings the cookie."""

    def moved() -> web.Response:
        response = web.Response(status=302, headers={"Location": "/moved"})
        response.set_cookie("seen", "1")
        return response

    office.answers["voice"] = moved
    office.answers["moved"] = "<Response><Redirect>/next</Redirect></Response>"
    office.answers["next"] = HANGUP

    await _one_call(phones, office)

    (moved_to,), (asked_next,) = office.got("moved"), office.got("next")
    assert (moved_to.method, moved_to.fields) == ("GET", {})
    assert asked_next.headers["Cookie"] == "seen=1"


async def test_a_circle_of_redirects_is_an_error(phones: Phones, office: Office) -> None:
    """11215 after ten of them."""
    office.answers["voice"] = lambda: web.Response(status=307, headers={"Location": "/voice"})
    await phones.person({"pause_s": 100})

    call = await phones.call(office)
    await phones.until_over(call.sid)

    assert [e["what"] for e in await phones.log("debugger")] == ["11215"]


async def test_a_name_that_nobody_knows_is_11210(
    phones: Phones, office: Office, unknown_host: str
) -> None:
    """A document that cannot be had because of its host."""
    await phones.person({"pause_s": 100})

    call = await phones.call(office, url=f"http://{unknown_host}/voice")
    await phones.until_over(call.sid)

    assert [e["what"] for e in await phones.log("debugger")] == ["11210"]


async def test_a_server_that_is_not_there_is_tried_again(phones: Phones, office: Office) -> None:
    """11205: a failed connection is retried once by default."""
    await phones.person({"pause_s": 100})

    call = await phones.call(office, url="http://127.0.0.1:1/voice")
    await phones.until_over(call.sid)

    assert len(await phones.log("webhook.voice", "no connection")) == 2
    assert [e["what"] for e in await phones.log("debugger")] == ["11205"]
