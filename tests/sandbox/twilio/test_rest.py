"""Twilio's REST API, asked by Twilio's own client."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import requests
from aiohttp import web
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from sandbox.state import Options
from tests.sandbox.twilio.conftest import FROM, TO, Phones, ToSandbox
from tests.sandbox.twilio.office import Office

HANGUP = "<Response><Hangup/></Response>"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"to": "4155550101"}, 21211),
        ({"to": "+1415555010a"}, 21211),
        ({"to": "+14155550101234567"}, 21211),
        ({"to": "+0155501012"}, 21211),
        ({"to": FROM}, 21211),
        ({"to": ""}, 21201),
        ({"from_": ""}, 21213),
        ({"from_": "hello"}, 21212),
        ({"from_": "+14155550199"}, 21210),
        ({"url": None}, 21205),
        ({"url": "voice.example.test/answer"}, 21205),
        ({"url": "https://voice_box.example.test/answer"}, 21205),
        ({"status_callback": "ftp://h.test/x"}, 21205),
        ({"url": None, "application_sid": "AP" + "0" * 32}, 21218),
        ({"url": None, "twiml": "x" * 4001}, 32018),
        ({"timeout": 601}, 20001),
        ({"recording_channels": "stereo"}, 20001),
        ({"machine_detection": "maybe"}, 20001),
        ({"machine_detection": "Enable", "machine_detection_timeout": 60}, 20001),
    ],
)
async def test_a_bad_create_is_refused_with_twilios_code(
    phones: Phones, office: Office, wrong: dict[str, Any], code: int
) -> None:
    """[A5] The body names code, message, where to read more, and the status."""
    with pytest.raises(TwilioRestException) as refused:
        await phones.call(office, **wrong)

    assert (refused.value.code, refused.value.status) == (code, 400)
    assert refused.value.msg
    assert phones.world.carrier.calls == {}


async def test_an_error_body_has_four_fields(phones: Phones) -> None:
    """`code`, `message`, `more_info`, `status`."""
    status, body = await phones.rest("GET", f"/Calls/CA{'0' * 32}.json")

    assert status == 404
    assert set(body) == {"code", "message", "more_info", "status"}
    assert (body["code"], body["status"]) == (20404, 404)
    assert body["more_info"] == "https://www.twilio.com/docs/errors/20404"


async def test_wrong_credentials_are_refused(phones: Phones) -> None:
    """401 with 20003, whatever is asked."""
    sid = phones.world.state.options.account_sid

    for login in ((sid, "wrong"), ("AC" + "f" * 32, "wrong"), ("", "")):
        status, body = await phones.rest("GET", "/Calls.json", auth=login)
        assert (status, body["code"]) == (401, 20003)
    for header in ("", "Basic", "Basic %", "Basic \u00e9", "Bearer x"):
        url = f"{phones.url}/2010-04-01/Accounts/{sid}/Calls.json"
        async with phones.http.get(url, headers={"Authorization": header}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (401, 20003)
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="Twilio API"'


async def test_an_api_key_is_as_good_as_the_auth_token(phones: Phones, options: Options) -> None:
    """`SK…` and its secret, for the account's own resources."""
    client = Client(
        options.api_key,
        options.api_secret,
        options.account_sid,
        http_client=ToSandbox(phones.url),
    )

    account = await phones.do(client.api.accounts(options.account_sid).fetch)
    client.http_client.session.close()

    assert (account.sid, account.status, account.type) == (options.account_sid, "active", "Full")


async def test_a_new_call_has_every_field_and_no_facts_yet(phones: Phones, office: Office) -> None:
    """201, queued, and null for all that the future holds."""
    fields = {"To": TO, "From": FROM, "Twiml": HANGUP}

    status, body = await phones.rest("POST", "/Calls.json", data=fields)

    assert status == 201
    assert body["status"] == "queued"
    assert body["direction"] == "outbound-api"
    nothing = (
        "date_created", "date_updated", "start_time", "end_time", "duration", "price",
        "answered_by", "parent_call_sid",
    )  # fmt: skip
    assert {body[name] for name in nothing} == {None}
    assert (body["price_unit"], body["queue_time"], body["api_version"]) == (
        "USD", "0", "2010-04-01",
    )  # fmt: skip
    assert body["phone_number_sid"].startswith("PN")
    assert body["uri"] == f"/2010-04-01/Accounts/{body['account_sid']}/Calls/{body['sid']}.json"
    assert set(body["subresource_uris"]) >= {"recordings", "streams", "events"}
    scalars = [v for k, v in body.items() if k != "subresource_uris"]
    assert all(value is None or isinstance(value, str) for value in scalars)


async def test_only_repeated_keys_ask_for_several_events(phones: Phones, office: Office) -> None:
    """One value with spaces is not understood: only `completed` is reported, with a warning."""
    office.answers["voice"] = HANGUP

    call = await phones.call(office, status_callback_event=["initiated ringing answered"])
    await phones.until_over(call.sid)
    await office.until(lambda: "completed" in office.statuses())

    assert office.statuses() == ["completed"]
    assert [e["what"] for e in await phones.log("debugger")] == ["21626"]


async def test_calls_start_at_the_accounts_pace(phones: Phones) -> None:
    """Faster creates do not fail; they wait, and `queue_time` says how long."""
    await phones.control("POST", "settings", {"cps": 2.0})
    fields = {"To": TO, "From": FROM, "Twiml": HANGUP}

    answers = [await phones.rest("POST", "/Calls.json", data=fields) for _ in range(4)]

    assert {status for status, _ in answers} == {201}
    waits = [int(body["queue_time"]) for _, body in answers]
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] > 0


async def test_a_days_queue_is_full(phones: Phones) -> None:
    """22005 once more than 24 hours of calls wait."""
    await phones.control("POST", "settings", {"cps": 0.00001})
    fields = {"To": TO, "From": FROM, "Twiml": HANGUP}
    await phones.rest("POST", "/Calls.json", data=fields)

    status, body = await phones.rest("POST", "/Calls.json", data=fields)

    assert (status, body["code"]) == (400, 22005)


async def test_a_list_is_filtered_and_paged(phones: Phones) -> None:
    """By To, From, Status and StartTime, newest first, page by page."""
    for number in ("+14155550107", "+14155550108", "+14155550109"):
        fields = {"To": number, "From": FROM, "Twiml": HANGUP}
        await phones.rest("POST", "/Calls.json", data=fields)
    calls = phones.client.calls
    an_hour = timedelta(hours=1)
    now = datetime.now(UTC)

    everything = await phones.do(calls.list, page_size=2)
    to_one = await phones.do(calls.list, to="+14155550108", from_=FROM)
    recent = await phones.do(calls.list, start_time_after=now - an_hour)
    old = await phones.do(calls.list, start_time_before=now - an_hour)

    assert [c.to[-4:] for c in everything] == ["0109", "0108", "0107"]
    assert [c.to for c in to_one] == ["+14155550108"]
    assert (len(recent), len(old)) == (3, 0)
    _, page = await phones.rest("GET", "/Calls.json?PageSize=2")
    assert (page["page"], page["page_size"], page["end"]) == (0, 2, 1)
    assert page["next_page_uri"].endswith("PageSize=2&Page=1")


async def test_readers_lag_behind(phones: Phones, office: Office) -> None:
    """A fetched call is older than what the callbacks have told; a list does not hold it yet."""
    await phones.control("POST", "settings", {"consistency_lag_s": 3600})
    await phones.person({"pause_s": 60})
    office.answers["voice"] = office.stream()

    call = await phones.call(office)
    await office.until(lambda: "in-progress" in office.statuses())
    seen = await phones.do(phones.client.calls(call.sid).fetch)
    listed = await phones.do(phones.client.calls.list)

    assert (seen.status, listed) == ("queued", [])


@pytest.mark.parametrize("status", ["completed", "canceled"])
async def test_a_ringing_call_is_cancelled(phones: Phones, office: Office, status: str) -> None:
    """Either word ends it before the answer; the report says `canceled`."""
    await phones.person(ring_s=500.0)
    call = await phones.call(office)
    await office.until(lambda: "ringing" in office.statuses())

    await phones.do(phones.client.calls(call.sid).update, status=status)
    await office.until(lambda: len(office.statuses()) == 3)

    assert office.statuses()[-1] == "canceled"
    assert office.got("voice") == []


async def test_a_call_cancelled_in_the_queue_is_never_reported(
    phones: Phones, office: Office
) -> None:
    """No callback at all, not even `completed`."""
    await phones.control("POST", "settings", {"cps": 0.01})
    await phones.call(office, to="+14155550104")
    waiting = await phones.call(office)

    await phones.do(phones.client.calls(waiting.sid).update, status="canceled")
    await phones.until_over(waiting.sid)
    await office.until(lambda: "failed" in office.statuses())

    assert {r.fields["CallSid"] for r in office.got("status")} != {waiting.sid}
    assert waiting.sid not in {r.fields["CallSid"] for r in office.got("status")}


async def test_hanging_up_twice_is_21220(phones: Phones, office: Office) -> None:
    """A call that is over cannot be changed."""
    call = await phones.call(office, to="+14155550104")
    await phones.until_over(call.sid)

    with pytest.raises(TwilioRestException) as refused:
        await phones.do(phones.client.calls(call.sid).update, status="completed")

    assert (refused.value.status, refused.value.code) == (400, 21220)


async def test_canceled_does_not_end_an_answered_call(phones: Phones, office: Office) -> None:
    """Only `completed` does."""
    await phones.person({"pause_s": 500})
    office.answers["voice"] = office.stream()
    call = await phones.call(office)
    await office.until(lambda: office.talks)

    await phones.do(phones.client.calls(call.sid).update, status="canceled")
    still = await phones.do(phones.client.calls(call.sid).fetch)
    await phones.do(phones.client.calls(call.sid).update, status="completed")
    await phones.until_over(call.sid)

    assert still.status == "in-progress"
    assert phones.world.carrier.calls[call.sid].status == "completed"


async def test_the_time_limit_ends_a_call_and_may_be_changed(
    phones: Phones, office: Office
) -> None:
    """`TimeLimit` counts from the answer, also when it is set later."""
    await phones.person({"pause_s": 5000})
    office.answers["voice"] = office.stream()
    call = await phones.call(office, time_limit=4000)
    await office.until(lambda: office.talks)

    await phones.do(phones.client.calls(call.sid).update, time_limit=1)
    await phones.until_over(call.sid)

    assert phones.world.carrier.calls[call.sid].status == "completed"


async def test_a_live_call_can_be_told_to_report_and_fall_back_elsewhere(
    phones: Phones, office: Office
) -> None:
    """`StatusCallback` and `FallbackUrl` are updated in place; the stream goes on."""
    await phones.person({"pause_s": 500})
    office.answers |= {"voice": office.stream(), "sorry": HANGUP}
    office.answers["broken"] = lambda: web.Response(status=500)
    call = await phones.call(office, status_callback_event=["completed"])
    await office.until(lambda: office.talks)
    live = phones.client.calls(call.sid)

    await phones.do(
        live.update,
        status_callback=f"{office.url}/elsewhere",
        fallback_url=f"{office.url}/sorry",
        fallback_method="GET",
    )
    was_talking = not office.talks[0].is_closed
    await phones.do(live.update, url=f"{office.url}/broken")
    await office.until(lambda: office.got("elsewhere"))

    assert was_talking
    assert [r.method for r in office.got("sorry")] == ["GET"]
    assert [r.fields["CallStatus"] for r in office.got("elsewhere")] == ["completed"]
    assert office.got("status") == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"Status": "ringing"}, 20001),
        ({"Status": "completed", "TimeLimit": "0"}, 20001),
        ({"Url": "nowhere"}, 21205),
        ({"Url": "https://h.test/", "Twiml": HANGUP}, 20001),
        ({"Twiml": "x" * 4001}, 32018),
    ],
)
async def test_a_bad_update_changes_nothing(
    phones: Phones, office: Office, fields: dict[str, str], code: int
) -> None:
    """It is refused as a whole, before anything was done."""
    await phones.person({"pause_s": 500})
    office.answers["voice"] = office.stream()
    call = await phones.call(office)
    await office.until(lambda: office.talks and office.talks[0].of("media"))
    heard = len(office.talks[0].of("media"))

    status, body = await phones.rest("POST", f"/Calls/{call.sid}.json", data=fields)
    await office.talks[0].until(lambda talk: len(talk.of("media")) > heard + 25)

    assert (status, body["code"]) == (400, code)
    assert phones.world.carrier.calls[call.sid].status == "in-progress"


async def test_only_a_finished_call_can_be_deleted(phones: Phones, office: Office) -> None:
    """20009 before, 204 after, then 20404."""
    await phones.person({"pause_s": 500})
    office.answers["voice"] = office.stream()
    call = await phones.call(office)
    await office.until(lambda: office.talks)

    early, body = await phones.rest("DELETE", f"/Calls/{call.sid}.json")
    await phones.do(phones.client.calls(call.sid).update, status="completed")
    await phones.until_over(call.sid)
    is_deleted = await phones.do(phones.client.calls(call.sid).delete)
    after, _ = await phones.rest("GET", f"/Calls/{call.sid}.json")

    assert (early, body["code"], is_deleted, after) == (400, 20009, True, 404)


async def test_the_accounts_numbers_are_listed(phones: Phones) -> None:
    """With and without a filter."""
    numbers = phones.client.incoming_phone_numbers

    mine = await phones.do(numbers.list)
    one = await phones.do(numbers(mine[0].sid).fetch)
    other = await phones.do(numbers.list, phone_number="+14155550199")

    assert [(n.phone_number, n.capabilities["voice"]) for n in mine] == [(FROM, True)]
    assert (one.phone_number, other) == (FROM, [])


@pytest.mark.parametrize(
    ("what", "status", "code", "calls"),
    [
        ("429", 429, 20429, 0),
        ("code:21215", 400, 21215, 0),
        ("code:20005", 403, 20005, 0),
        ("status:503", 503, 20500, 0),
        ("after:500", 500, 20500, 1),
    ],
)
async def test_a_create_fails_on_order(
    phones: Phones, office: Office, what: str, status: int, code: int, calls: int
) -> None:
    """[A3] [A4] Before anything was done, or after the call was created: the caller cannot know."""
    await phones.fault("rest.create", what)

    with pytest.raises(TwilioRestException) as refused:
        await phones.call(office)
    await phones.call(office)

    assert (refused.value.status, refused.value.code) == (status, code)
    assert len(phones.world.carrier.calls) == calls + 1


@pytest.mark.parametrize(("what", "calls"), [("reset", 0), ("after:reset", 1)])
async def test_a_connection_is_reset_on_order(
    phones: Phones, office: Office, what: str, calls: int
) -> None:
    """[A3] The client sees a broken connection, whether or not the call exists."""
    await phones.fault("rest.create", what)

    with pytest.raises(requests.exceptions.ConnectionError):
        await phones.call(office)

    assert len(phones.world.carrier.calls) == calls


@pytest.mark.parametrize(("what", "calls"), [("hang", 0), ("after:hang", 1)])
async def test_an_answer_may_never_come(phones: Phones, what: str, calls: int) -> None:
    """[A3] The client gives up; whether the call exists it cannot know."""
    await phones.fault("rest.create", what)
    fields = {"To": TO, "From": FROM, "Twiml": HANGUP}

    with pytest.raises(TimeoutError):
        await phones.rest(
            "POST", "/Calls.json", data=fields, timeout=aiohttp.ClientTimeout(total=0.5)
        )

    assert len(phones.world.carrier.calls) == calls


async def test_an_answer_can_be_unreadable(phones: Phones, office: Office) -> None:
    """[A3] 200 and a page of HTML, though the call was created."""
    await phones.fault("rest.create", "after:html")

    with pytest.raises((TwilioRestException, ValueError)):
        await phones.call(office)

    assert len(phones.world.carrier.calls) == 1


async def test_a_callback_can_overtake_the_answer(phones: Phones, office: Office) -> None:
    """[B9] With `early`, the first report arrives before `create` has returned."""
    await phones.fault("rest.create", "early")
    arrived = asyncio.create_task(office.until(lambda: office.statuses()))

    call = await phones.call(office)

    assert arrived.done() or office.statuses()
    assert office.got("status")[0].fields["CallSid"] == call.sid
