"""Twilio's callbacks as they come over HTTP."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from calls.core.lifecycle import Status
from calls.models import CallEvent, QuarantinedEvent
from tests.calls.kit import (
    ACCOUNT,
    address,
    make_call,
    new_sid,
    post,
    report,
    row,
    status_of,
)


@pytest.mark.django_db
def test_a_report_moves_the_call() -> None:
    call = make_call(Status.INITIATED)

    answer = post(address("twilio-status", call), report(call, "ringing"))

    assert (answer.status_code, answer.content) == (204, b"")
    assert status_of(call) is Status.RINGING


@pytest.mark.django_db
def test_the_end_of_a_call_is_stored_with_all_that_twilio_says() -> None:
    call = make_call(Status.IN_PROGRESS)
    facts = {"CallDuration": "49", "SipResponseCode": "200", "AnsweredBy": "human"}

    post(address("twilio-status", call), {**report(call, "completed"), **facts})

    found = row(call)
    assert (found["status"], found["duration_s"], found["sip_code"]) == ("completed", 49, "200")
    assert (found["answered_by"], found["end_reason"]) == ("human", "recipient_hung_up")


@pytest.mark.django_db
@pytest.mark.parametrize("order", list(itertools.permutations(range(5))))
def test_callbacks_in_any_order_leave_the_same_call(order: tuple[int, ...]) -> None:
    """[B7, R16] Over HTTP, with the verdict on who answered among them; the SID is not yet ours."""
    call, sid = make_call(Status.DIALING), new_sid()
    call.twilio_sid = sid
    reports = [
        ("twilio-status", report(call, "initiated")),
        ("twilio-status", report(call, "ringing", second=1)),
        ("twilio-status", report(call, "in-progress", second=3)),
        ("twilio-amd", {"CallSid": sid, "AccountSid": ACCOUNT, "AnsweredBy": "human"}),
        ("twilio-status", report(call, "completed", second=9, CallDuration="6")),
    ]

    codes = [post(address(reports[n][0], call), reports[n][1]).status_code for n in order]

    found = row(call)
    assert codes == [204] * 5
    assert (found["status"], found["twilio_sid"], found["answered_by"]) == (
        "completed",
        sid,
        "human",
    )
    assert (found["answered_at"] - found["initiated_at"]).total_seconds() == 3
    assert (found["ended_at"] - found["initiated_at"]).total_seconds() == 9
    assert (found["duration_s"], found["end_reason"]) == (6, "recipient_hung_up")
    assert set(CallEvent.objects.filter(call=call).values_list("key", flat=True)) == {
        "bound",
        "amd",
        "status:initiated",
        "status:ringing",
        "status:in-progress",
        "status:completed",
    }


@pytest.mark.django_db
def test_a_callback_may_come_before_we_know_the_sid() -> None:
    """[B9] The token in its address says which call it is."""
    call = make_call(Status.DIALING)
    sid = new_sid()

    answer = post(address("twilio-status", call), {**report(call, "ringing"), "CallSid": sid})

    assert answer.status_code == 204
    assert (row(call)["twilio_sid"], status_of(call)) == (sid, Status.RINGING)


@pytest.mark.django_db
def test_a_captured_callback_can_be_replayed_without_effect() -> None:
    """[B4]"""
    call = make_call(Status.RINGING)
    form = report(call, "completed", CallDuration="1")
    post(address("twilio-status", call), form)
    before = row(call)

    codes = {post(address("twilio-status", call), form).status_code for _ in range(100)}

    assert codes == {204}
    assert row(call) == before


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["twilio-status", "twilio-amd"])
@pytest.mark.parametrize(
    "token", ["", "0" * 32, "x", "0" * 31 + "٣", "%00", "a" * 5000, "0" * 32 + "&call=1"]
)
def test_a_callback_for_no_call_of_ours_is_kept_aside(name: str, token: str) -> None:
    """[B10] Without a word about why."""
    form = {"CallSid": new_sid(), "AccountSid": ACCOUNT, "AnsweredBy": "human"}
    path = f"{address(name)}?call={token}"

    answer = post(path, {**form, "CallStatus": "ringing"})

    if token.startswith("0" * 31 + "٣"):
        # Not an address that Twilio was ever told: the signature cannot fit it.
        assert answer.status_code in (403, 404)
        return
    assert (answer.status_code, answer.content) == (404, b"")
    assert QuarantinedEvent.objects.get().params["CallSid"] == form["CallSid"]


@pytest.mark.django_db
def test_a_callback_with_the_sid_of_another_call_changes_neither() -> None:
    """[B22]"""
    one, other = make_call(Status.RINGING), make_call(Status.DIALING)
    before = row(one), row(other)

    answer = post(address("twilio-status", other), report(one, "completed"))

    assert answer.status_code == 404
    assert (row(one), row(other)) == before


@pytest.mark.django_db
def test_an_answering_machine_is_hung_up_on() -> None:
    call = make_call(Status.IN_PROGRESS)
    form = {
        "CallSid": call.twilio_sid or "",
        "AccountSid": ACCOUNT,
        "AnsweredBy": "machine_start",
        "MachineDetectionDuration": "7420",
    }

    answer = post(address("twilio-amd", call), form)

    assert answer.status_code == 204
    found = row(call)
    assert (found["answered_by"], found["end_reason"]) == ("machine_start", "voicemail")
    assert found["hangup_requested_at"] is not None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("CallStatus", ""),
        ("CallStatus", "COMPLETED"),
        ("CallStatus", "a" * 21),
        ("CallDuration", "9" * 5000),
        ("CallDuration", "-1"),
        ("CallDuration", "1e3"),
        ("CallDuration", "٤٩"),
        ("CallDuration", "NaN"),
        ("SipResponseCode", "20"),
        ("SipResponseCode", "abc"),
        ("ErrorCode", "1234567"),
        ("AnsweredBy", "<b>"),
        ("Timestamp", "x" * 65),
        ("From", "a\x00b"),
    ],
)
def test_a_signed_report_with_a_garbled_field_is_refused(field: str, value: str) -> None:
    """[B16]"""
    call = make_call(Status.RINGING)
    before = row(call)

    answer = post(address("twilio-status", call), {**report(call, "completed"), field: value})

    assert answer.status_code == 400
    assert row(call) == before


@pytest.mark.django_db(transaction=True)
@effort(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    fields=st.dictionaries(
        st.sampled_from(
            [
                "CallStatus",
                "CallDuration",
                "SipResponseCode",
                "ErrorCode",
                "AnsweredBy",
                "Timestamp",
                "ErrorMessage",
                "CallSid",
                "AccountSid",
                "New",
                "From",
            ]
        ),
        st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)
        | st.sampled_from(["completed", "ringing", "busy", "0", "486", "human", "machine_start"]),
        max_size=8,
    ),
    name=st.sampled_from(["twilio-status", "twilio-amd"]),
)
def test_no_signed_form_whatever_breaks_the_door(fields: dict[str, str], name: str) -> None:
    """[B16] Zero answers of 500 and above."""
    call = make_call(Status.RINGING)

    answer = post(address(name, call), {**report(call, "completed"), **fields})

    assert answer.status_code < 500
