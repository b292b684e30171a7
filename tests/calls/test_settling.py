"""What became of calls whose worker died, whose answer was lost, whose callbacks never came."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from django.utils import timezone

from calls.core.lifecycle import AT_TWILIO, EndReason, Status
from calls.models import Call, DialingPause
from calls.services import costs, placing, progress, settling
from tests.calls.kit import (
    FakeTwilio,
    error,
    make_call,
    new_sid,
    report,
    resource,
    row,
    status_of,
)

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def unknown(**fields: Any) -> Call:
    """A call that Twilio was asked for a minute ago, and whose answer was lost."""
    now = timezone.now()
    times = {"claimed_at": now - MINUTE, "lease_expires_at": now + MINUTE, **fields}
    return make_call(Status.UNKNOWN, **times)


# --- Workers that died --------------------------------------------------------------------------
def test_a_dial_whose_worker_died_is_not_repeated_before_twilio_was_asked(
    twilio: FakeTwilio,
) -> None:
    """[A1] The lease is over: the call may or may not exist."""
    call = make_call(Status.DIALING, lease_expires_at=timezone.now() - MINUTE)

    settling.settle(timezone.now())

    assert status_of(call) is Status.UNKNOWN
    assert twilio.created == []


def test_a_dial_that_is_under_way_is_left_alone(twilio: FakeTwilio) -> None:
    call = make_call(Status.DIALING)
    before = row(call)

    settling.settle(timezone.now())

    assert row(call) == before
    assert twilio.received == []


def test_a_call_that_twilio_never_heard_of_is_dialled_after_the_grace(
    twilio: FakeTwilio, settings: Any
) -> None:
    """[A1] Once."""
    now = timezone.now() - 5 * MINUTE
    call = make_call(
        Status.DIALING, claimed_at=now - 2 * MINUTE, lease_expires_at=now - MINUTE, not_before=now
    )

    settling.settle(now)
    settling.settle(now + timedelta(seconds=settings.UNKNOWN_GRACE_S - 1))
    before_the_grace = status_of(call)
    settling.settle(now + timedelta(seconds=settings.UNKNOWN_GRACE_S + 5))
    after_the_grace = status_of(call)
    placing.place(call.pk)

    assert (before_the_grace, after_the_grace) == (Status.UNKNOWN, Status.QUEUED)
    assert len(twilio.created) == 1
    assert row(call)["dial_attempts"] == 2


def test_a_call_that_twilio_had_accepted_is_found_and_not_dialled_again(
    twilio: FakeTwilio,
) -> None:
    """[A2, A3] By its numbers and its time."""
    call = unknown()
    theirs = twilio.add_call(to=call.to_number, status="in-progress")

    settling.settle(timezone.now())

    found = row(call)
    assert (found["twilio_sid"], found["status"]) == (theirs["sid"], "in-progress")
    assert twilio.created == []


def test_a_call_that_is_over_already_when_it_is_found_ends_with_all_its_facts(
    twilio: FakeTwilio,
) -> None:
    """[A2]"""
    call = unknown()
    now = timezone.now().replace(microsecond=0)
    twilio.add_call(
        to=call.to_number,
        status="completed",
        start_time=format_datetime(now - timedelta(seconds=55)),
        end_time=format_datetime(now),
        duration="40",
        answered_by="human",
    )

    settling.settle(timezone.now())

    found = row(call)
    assert (found["status"], found["duration_s"], found["answered_by"]) == (
        "completed",
        40,
        "human",
    )
    assert (found["answered_at"], found["ended_at"]) == (now - timedelta(seconds=40), now)
    assert found["end_reason"] == EndReason.RECIPIENT_HUNG_UP


def test_an_earlier_call_to_the_same_number_is_not_taken_for_this_one(twilio: FakeTwilio) -> None:
    call = unknown()
    earlier = make_call(Status.COMPLETED, recipient=call.recipient)
    twilio.add_call(sid=earlier.twilio_sid, to=call.to_number)
    twilio.add_call(to=call.to_number, date_created="Mon, 23 Nov 2020 10:00:00 +0000")

    settling.settle(timezone.now())

    assert (row(call)["twilio_sid"], status_of(call)) == (None, Status.UNKNOWN)


def test_beside_an_earlier_call_that_we_know_ours_is_found(twilio: FakeTwilio) -> None:
    """[A2] Nobody has to choose: the other is the call of another row."""
    call = unknown()
    earlier = make_call(Status.COMPLETED, recipient=call.recipient)
    twilio.add_call(sid=earlier.twilio_sid, to=call.to_number, status="completed")
    ours = twilio.add_call(to=call.to_number, status="ringing")

    settling.settle(timezone.now())

    assert (row(call)["twilio_sid"], status_of(call)) == (ours["sid"], Status.RINGING)


def test_of_two_calls_that_fit_a_person_must_choose(
    twilio: FakeTwilio, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither is taken, nothing is dialled, and staff are told once."""
    an_hour_ago = timezone.now() - timedelta(hours=1)
    call = unknown(claimed_at=an_hour_ago, lease_expires_at=timezone.now() - MINUTE)
    for _ in range(2):
        twilio.add_call(to=call.to_number)

    for n in range(3):
        settling.settle(timezone.now() + n * MINUTE)

    assert (row(call)["twilio_sid"], status_of(call)) == (None, Status.UNKNOWN)
    assert "2 calls" in row(call)["end_detail"]
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1
    assert twilio.created == []


def test_a_call_that_nobody_chose_for_is_given_up_in_the_end(twilio: FakeTwilio) -> None:
    """[R18] No call stays open beyond its longest time and five minutes."""
    call = unknown()
    for _ in range(2):
        twilio.add_call(to=call.to_number)

    settling.settle(timezone.now() + timedelta(seconds=30 + 630) + 5 * MINUTE)

    found = row(call)
    assert (found["status"], found["end_is_guess"]) == ("failed", True)


def test_a_call_that_kills_its_worker_each_time_fails_in_the_end(twilio: FakeTwilio) -> None:
    """[A28] It does not go round for ever."""
    call = make_call()
    now = timezone.now()

    for n in range(12):
        placing.claim(call.pk, now=now + n * 10 * MINUTE)
        settling.settle(now + n * 10 * MINUTE + 2 * MINUTE)
        settling.settle(now + n * 10 * MINUTE + 5 * MINUTE)

    found = row(call)
    assert (found["status"], found["dial_attempts"]) == ("failed", 5)
    assert found["end_reason"] == EndReason.INTERNAL_ERROR


def test_an_unknown_call_whose_end_was_asked_for_is_cancelled_and_not_queued(
    twilio: FakeTwilio,
) -> None:
    call = unknown(lease_expires_at=timezone.now() - MINUTE)
    placing.hang_up(call, by=None)

    settling.settle(timezone.now())

    assert status_of(call) is Status.CANCELED


def test_an_unknown_call_whose_end_was_asked_for_is_hung_up_when_it_is_found(
    twilio: FakeTwilio,
) -> None:
    call = unknown()
    placing.hang_up(call, by=None)
    theirs = twilio.add_call(to=call.to_number, status="ringing")

    settling.settle(timezone.now())
    settling.settle(timezone.now() + MINUTE)

    assert twilio.calls[theirs["sid"]]["status"] == "completed"


# --- Callbacks that never came ------------------------------------------------------------------
@pytest.mark.parametrize("status", sorted(AT_TWILIO))
def test_a_call_whose_last_callback_was_lost_ends_within_two_minutes(
    status: Status, twilio: FakeTwilio
) -> None:
    """[B11, A20] The sweep asks Twilio."""
    call = make_call(status)
    twilio.add_call(sid=call.twilio_sid, status="completed", duration="12")

    settling.settle(timezone.now() + 2 * MINUTE)

    found = row(call)
    assert (found["status"], found["duration_s"], found["end_is_guess"]) == ("completed", 12, False)


def test_a_call_that_goes_on_is_asked_about_once_a_minute(twilio: FakeTwilio) -> None:
    call = make_call(Status.IN_PROGRESS)
    twilio.add_call(sid=call.twilio_sid, status="in-progress")
    now = timezone.now()

    for second in range(0, 181, 5):
        settling.settle(now + timedelta(seconds=second))

    assert len(twilio.received) == 2
    assert status_of(call) is Status.IN_PROGRESS


def test_a_call_whose_stream_has_closed_is_asked_about_sooner(twilio: FakeTwilio) -> None:
    """[B11]"""
    now = timezone.now()
    call = make_call(Status.IN_PROGRESS, stream_closed_at=now)
    twilio.add_call(sid=call.twilio_sid, status="completed")

    settling.settle(now + timedelta(seconds=11))

    assert status_of(call) is Status.COMPLETED


@pytest.mark.parametrize(
    ("theirs", "ours"), [("ringing", Status.RINGING), ("in-progress", Status.IN_PROGRESS)]
)
def test_a_call_that_has_moved_on_is_brought_up_to_date(
    theirs: str, ours: Status, twilio: FakeTwilio
) -> None:
    call = make_call(Status.INITIATED)
    twilio.add_call(sid=call.twilio_sid, status=theirs)

    settling.settle(timezone.now() + 2 * MINUTE)

    assert status_of(call) is ours


def test_an_answer_that_is_behind_the_times_moves_nothing(twilio: FakeTwilio) -> None:
    """What Twilio shows lags behind what it reports."""
    call = make_call(Status.IN_PROGRESS)
    twilio.add_call(sid=call.twilio_sid, status="ringing")

    settling.settle(timezone.now() + 2 * MINUTE)

    assert status_of(call) is Status.IN_PROGRESS


def test_a_call_that_twilio_does_not_know_any_more_is_over(twilio: FakeTwilio) -> None:
    call = make_call(Status.IN_PROGRESS)

    settling.settle(timezone.now() + 2 * MINUTE)

    found = row(call)
    assert (found["status"], found["end_is_guess"]) == ("failed", True)


@pytest.mark.parametrize("ending", ["completed", "failed"])
def test_what_was_guessed_is_taken_back_when_twilio_reports_the_end(
    ending: str, twilio: FakeTwilio
) -> None:
    """[B7] The status, and why it was believed."""
    guessed, told = make_call(Status.IN_PROGRESS), make_call(Status.IN_PROGRESS)
    settling.settle_at_twilio(guessed, timezone.now())
    assert row(guessed)["end_reason"] == EndReason.INTERNAL_ERROR

    for call in (guessed, told):
        form = report(call, ending, CallDuration="9", SipResponseCode="200")
        progress.report_status(call, form)

    names = ("status", "end_reason", "end_detail", "end_is_guess", "duration_s", "sip_code")
    assert [row(guessed)[name] for name in names] == [row(told)[name] for name in names]


def test_a_guess_does_not_overrule_what_is_known(twilio: FakeTwilio) -> None:
    call = make_call(Status.IN_PROGRESS)
    placing.hang_up(call, by=None)

    settling.settle(timezone.now() + MINUTE)

    assert (row(call)["status"], row(call)["end_reason"]) == ("failed", EndReason.STAFF_HUNG_UP)


def test_a_dial_given_up_after_many_tries_may_still_turn_out_to_have_failed_by_itself(
    twilio: FakeTwilio,
) -> None:
    """[B7] A late report of the last try is no repetition of our guess."""
    call = unknown(dial_attempts=placing.MAX_DIAL_ATTEMPTS, lease_expires_at=timezone.now())
    settling.settle(timezone.now() + MINUTE)
    assert row(call)["end_is_guess"]
    call.twilio_sid = new_sid()
    progress.bind(call.token, call.twilio_sid)

    progress.report_status(call, report(call, "failed", SipResponseCode="404"))

    found = row(call)
    assert (found["end_is_guess"], found["end_detail"]) == (False, "The number is not in service.")


def test_staff_need_not_choose_any_more_once_twilio_names_the_call(twilio: FakeTwilio) -> None:
    call = unknown()
    for _ in range(2):
        twilio.add_call(to=call.to_number)
    settling.settle(timezone.now())
    assert row(call)["end_detail"]

    progress.bind(call.token, new_sid())

    assert row(call)["end_detail"] == ""


def test_a_call_that_is_longer_than_it_may_be_is_hung_up(twilio: FakeTwilio) -> None:
    """[R18, G8] Should every other limit have failed."""
    an_hour_ago = timezone.now() - timedelta(hours=1)
    call = make_call(Status.IN_PROGRESS, claimed_at=an_hour_ago)
    began = format_datetime(an_hour_ago)
    twilio.add_call(sid=call.twilio_sid, status="in-progress", start_time=began)

    settling.settle(timezone.now())
    settling.settle(timezone.now() + 2 * MINUTE)

    assert twilio.calls[call.twilio_sid or ""]["status"] == "completed"
    assert row(call)["end_reason"] == EndReason.MAX_DURATION


@pytest.mark.parametrize(
    ("status", "began"),
    [(Status.IN_PROGRESS, timedelta(minutes=-1)), (Status.INITIATED, None)],
    ids=["it talks since a minute", "it waits at Twilio for its turn"],
)
def test_the_time_that_a_call_waited_is_not_held_against_it(
    status: Status, began: timedelta | None, twilio: FakeTwilio
) -> None:
    """Throttled, or paused, an hour ago: what counts is how long the phone has been in use."""
    now = timezone.now()
    call = make_call(status, claimed_at=now - timedelta(hours=1))
    started = None if began is None else format_datetime(now + began)
    theirs = "queued" if began is None else "in-progress"
    twilio.add_call(sid=call.twilio_sid, status=theirs, start_time=started)

    settling.settle(now)

    assert row(call)["hangup_requested_at"] is None
    assert len(twilio.received) == 1


def test_a_call_that_was_only_just_accepted_is_not_asked_about(twilio: FakeTwilio) -> None:
    """What Twilio shows lags behind what it has accepted: it may not know the call yet."""
    call = make_call(claimed_at=timezone.now() - timedelta(hours=1))
    placing.place(call.pk)
    placing.hang_up(call, by=None)

    settling.settle(timezone.now() + timedelta(seconds=8))

    assert [request.method for request in twilio.received] == ["POST"]


def test_hanging_up_is_tried_until_it_succeeds(twilio: FakeTwilio) -> None:
    call = make_call(Status.IN_PROGRESS)
    twilio.add_call(sid=call.twilio_sid, status="in-progress")
    placing.hang_up(call, by=None)
    twilio.will((500, b""))

    settling.hang_up_at_twilio(call.pk)
    failed = twilio.calls[call.twilio_sid or ""]["status"]
    settling.settle(timezone.now() + MINUTE)

    assert (failed, twilio.calls[call.twilio_sid or ""]["status"]) == ("in-progress", "completed")


def test_hanging_up_what_was_over_stores_how_it_ended(twilio: FakeTwilio) -> None:
    call = make_call(Status.IN_PROGRESS)
    twilio.add_call(sid=call.twilio_sid, status="completed", duration="7")
    placing.hang_up(call, by=None)

    settling.hang_up_at_twilio(call.pk)

    found = row(call)
    assert (found["status"], found["duration_s"]) == ("completed", 7)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.COMPLETED, Status.IN_PROGRESS])
def test_nothing_is_hung_up_that_nobody_asked_for(status: Status, twilio: FakeTwilio) -> None:
    settling.hang_up_at_twilio(make_call(status).pk)

    assert twilio.received == []


def test_while_twilio_is_away_it_is_asked_once_a_round_and_nothing_changes(
    twilio: FakeTwilio,
) -> None:
    calls = [make_call(Status.IN_PROGRESS) for _ in range(5)]
    before = [row(call, "checked_at") for call in calls]
    twilio.will((503, b""))

    settling.settle(timezone.now() + 2 * MINUTE)

    assert len(twilio.received) == 1
    assert [row(call, "checked_at") for call in calls] == before


def test_a_call_that_twilio_will_not_tell_about_does_not_keep_the_others_waiting(
    twilio: FakeTwilio, caplog: pytest.LogCaptureFixture
) -> None:
    """[A28] Nor does it end the task."""
    calls = [make_call(Status.IN_PROGRESS) for _ in range(3)]
    for call in calls:
        twilio.add_call(sid=call.twilio_sid, status="completed")
    twilio.will((400, error(20001, "Bad request", 400)))

    settling.settle(timezone.now() + 2 * MINUTE)

    assert sorted(status_of(call) for call in calls) == ["completed", "completed", "in-progress"]
    assert "does not tell about it" in caplog.text


def test_a_problem_of_the_account_found_while_settling_pauses_dialling(
    twilio: FakeTwilio,
) -> None:
    make_call(Status.IN_PROGRESS)
    twilio.will((401, error(20003, "Authenticate", 401)))

    settling.settle(timezone.now() + 2 * MINUTE)

    assert DialingPause.objects.get().error_code == "20003"


# --- Prices -------------------------------------------------------------------------------------
def ended(ago: timedelta, **fields: Any) -> Call:
    return make_call(Status.COMPLETED, ended_at=timezone.now() - ago, duration_s=49, **fields)


def test_the_price_is_asked_for_until_twilio_has_set_it(twilio: FakeTwilio) -> None:
    call = ended(MINUTE)
    theirs = twilio.add_call(sid=call.twilio_sid, status="completed", price=None)
    now = timezone.now()

    settling.ask_prices(now)
    without = row(call)["twilio_price"]
    theirs["price"] = "-0.02800"
    settling.ask_prices(now + timedelta(seconds=30))
    settling.ask_prices(now + timedelta(seconds=61))
    settling.ask_prices(now + timedelta(seconds=130))

    found = row(call)
    assert without is None
    assert (found["twilio_price"], found["twilio_price_unit"]) == (Decimal("0.02800"), "USD")
    assert len(twilio.received) == 2


@pytest.mark.parametrize("billed_first", [True, False])
def test_the_stored_cost_holds_the_bill_whatever_came_last(
    billed_first: bool, twilio: FakeTwilio
) -> None:
    call = ended(MINUTE, answered_at=timezone.now() - 2 * MINUTE)
    twilio.add_call(sid=call.twilio_sid, status="completed", price="-5.00000")
    if not billed_first:
        costs.refresh_estimate(call.pk)

    settling.ask_prices(timezone.now())
    if billed_first:
        costs.refresh_estimate(call.pk)

    total = costs.total(costs.lines(Call.objects.get(pk=call.pk))).amount
    assert row(call)["estimated_cost"] == total
    assert total > 5


def test_after_a_day_nobody_asks_any_more(twilio: FakeTwilio) -> None:
    ended(timedelta(hours=25))

    settling.ask_prices(timezone.now())

    assert twilio.received == []


def test_an_old_call_is_asked_about_less_often(twilio: FakeTwilio) -> None:
    call = ended(timedelta(hours=3))
    twilio.will(*[(200, resource(sid=call.twilio_sid, status="completed"))] * 10)
    now = timezone.now()

    for minute in range(31):
        settling.ask_prices(now + minute * MINUTE)

    assert len(twilio.received) == 2


def test_a_new_price_shows_on_open_pages(twilio: FakeTwilio) -> None:
    call = ended(MINUTE)
    twilio.add_call(sid=call.twilio_sid, status="completed", price="-0.01400")
    before = row(call)["revision"]

    settling.ask_prices(timezone.now())

    assert row(call)["revision"] == before + 1


def test_while_twilio_is_away_no_more_prices_are_asked_for(twilio: FakeTwilio) -> None:
    for _ in range(5):
        ended(MINUTE)
    twilio.will((503, b""))

    settling.ask_prices(timezone.now())

    assert len(twilio.received) == 1
