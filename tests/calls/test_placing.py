"""Dialling: what Twilio answers, and what becomes of the call."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from calls.core.lifecycle import EndReason, Status
from calls.models import Call, DialingPause
from calls.services import placing, progress
from tests.calls.kit import (
    FakeTwilio,
    at_once,
    error,
    make_call,
    new_sid,
    row,
    status_of,
)


@pytest.mark.django_db
def test_an_accepted_call_has_its_sid(twilio: FakeTwilio) -> None:
    call = make_call()

    placing.place(call.pk)

    found = row(call)
    assert (found["status"], found["dial_attempts"], found["lease_expires_at"]) == (
        "initiated",
        1,
        None,
    )
    assert list(twilio.calls) == [found["twilio_sid"]]


@pytest.mark.django_db
def test_a_throttled_call_waits_and_it_counts_as_no_attempt(twilio: FakeTwilio) -> None:
    """[A4]"""
    call = make_call()
    twilio.will((429, error(20429, "Too Many Requests", 429)))

    placing.place(call.pk)

    found = row(call)
    assert (found["status"], found["dial_attempts"]) == ("queued", 0)
    assert found["not_before"] > timezone.now()
    assert placing.claim(call.pk) is None


@pytest.mark.django_db
def test_the_wait_grows_with_the_time_spent_trying_and_is_never_the_same() -> None:
    """[A4, A26]"""
    call = make_call(Status.DIALING)
    began = call.claimed_at
    assert began is not None

    waits = [
        [placing.backoff_s(call, began + timedelta(seconds=s)) for _ in range(50)]
        for s in (0, 8, 30, 3600)
    ]

    assert [
        (min(w) >= low / 2, max(w) <= low * 1.5)
        for w, low in zip(waits, (1, 8, 30, 60), strict=True)
    ] == [(True, True)] * 4
    assert all(len(set(w)) > 40 for w in waits)


@pytest.mark.django_db
def test_a_refused_call_has_failed_with_the_reason(twilio: FakeTwilio) -> None:
    """[A5]"""
    call = make_call()
    twilio.will((400, error(21211, "The 'To' number is not valid.", 400)))

    placing.place(call.pk)

    found = row(call)
    assert (found["status"], found["end_reason"], found["error_code"]) == (
        "failed",
        EndReason.REJECTED,
        "21211",
    )
    assert found["end_detail"] == (
        "This is not a phone number that can be called. Correct the recipient's number."
    )
    assert not DialingPause.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(("status", "code"), [(401, 20003), (403, 20005), (403, 20006)])
def test_a_problem_of_the_account_pauses_all_dialling_once(
    status: int, code: int, twilio: FakeTwilio, caplog: pytest.LogCaptureFixture
) -> None:
    """[A5] The call itself waits: it is not its fault."""
    calls = [make_call(), make_call()]
    twilio.will((status, error(code, "Authenticate", status)))

    for call in calls:
        placing.place(call.pk)

    assert [status_of(call) for call in calls] == [Status.QUEUED] * 2
    assert len(twilio.created) == 1
    assert DialingPause.objects.get().error_code == str(code)
    errors = [r.message for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1
    assert errors[0].startswith("dialling is paused")


def test_the_same_pause_found_by_many_workers_is_one(database: str) -> None:
    at_once(8, lambda _: placing.pause_dialling("20003", "credentials"))

    assert DialingPause.objects.filter(lifted_at=None).count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "answer", [(500, b""), (502, b""), (503, b""), (504, b""), (201, b"{"), lambda _: None]
)
def test_a_lost_answer_leaves_the_call_unknown_and_nobody_dials_it_again(
    answer: Any, twilio: FakeTwilio
) -> None:
    """[A3]"""
    call = make_call()
    twilio.will(answer)

    for _ in range(3):
        placing.place(call.pk)
        placing.sweep(timezone.now())

    assert status_of(call) is Status.UNKNOWN
    assert len(twilio.created) == 1


def test_twilio_may_call_back_before_it_answers(database: str, twilio: FakeTwilio) -> None:
    """[B9] Over real sockets and threads."""
    call = make_call()
    sid = new_sid()

    def call_back_first(_: Any) -> tuple[int, Any]:
        at_once(1, lambda _: progress.bind(call.token, sid))
        return 201, {"sid": sid}

    twilio.will(call_back_first)
    placing.place(call.pk)

    assert (row(call)["twilio_sid"], status_of(call)) == (sid, Status.INITIATED)
    assert call.events.filter(kind="bound").count() == 1


def test_a_call_that_the_row_does_not_want_is_ended_at_once(
    database: str, twilio: FakeTwilio, caplog: pytest.LogCaptureFixture
) -> None:
    """[B22] Nobody may talk on a call that we do not know."""
    call = make_call()
    ours, surplus = new_sid(), new_sid()

    def answer_late(_: Any) -> tuple[int, Any]:
        at_once(1, lambda _: progress.bind(call.token, ours))
        return 201, twilio.add_call(sid=surplus, status="ringing")

    twilio.will(answer_late)
    placing.place(call.pk)

    assert row(call)["twilio_sid"] == ours
    assert twilio.calls[surplus]["status"] == "completed"
    assert "surplus" in caplog.text


@pytest.mark.django_db
def test_a_call_whose_end_was_asked_for_while_it_was_dialled_is_cancelled() -> None:
    call = make_call()
    claimed = placing.claim(call.pk)
    assert claimed is not None
    placing.hang_up(claimed, by=None)

    placing.give_back(claimed, 0)

    assert status_of(call) is Status.CANCELED


@pytest.mark.django_db
def test_a_call_whose_end_was_asked_for_is_not_dialled_though_nobody_cancelled_it(
    twilio: FakeTwilio,
) -> None:
    """[A22] The worker that gave it back was killed before it could."""
    call = make_call(hangup_requested_at=timezone.now(), end_reason=EndReason.CANCELED)

    placing.place(call.pk)

    assert (status_of(call), row(call)["end_reason"]) == (Status.CANCELED, EndReason.CANCELED)
    assert twilio.created == []


@pytest.mark.django_db
def test_who_asked_for_the_end_is_remembered(django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("sam")
    call = make_call()
    claimed = placing.claim(call.pk)
    assert claimed is not None
    placing.hang_up(claimed, by=user)

    placing.give_back(claimed, 0)

    assert row(call)["hangup_requested_by_id"] == user.pk


@pytest.mark.django_db
def test_a_worker_that_stood_still_after_its_claim_does_not_dial(
    twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[A1] By now another may: its claim is over, and the call may have been queued again."""
    call = make_call()
    with monkeypatch.context() as patch:
        patch.setattr(placing, "lease", timedelta)

        placing.place(call.pk)

    assert twilio.created == []
    assert (status_of(call), row(call)["dial_attempts"]) == (Status.QUEUED, 0)
    placing.place(call.pk)
    assert len(twilio.created) == 1


@pytest.mark.django_db
def test_a_worker_that_was_overtaken_gives_nothing_back() -> None:
    call = make_call()
    claimed = placing.claim(call.pk)
    assert claimed is not None
    progress.bind(claimed.token, new_sid())
    before = row(call)

    assert not placing.give_back(claimed, 0)

    assert row(call) == before


@pytest.mark.django_db
def test_a_late_answer_to_one_attempt_does_not_take_the_next_one_back() -> None:
    """[A1] The next is being dialled: queued again, the person would be called by two workers."""
    call = make_call()
    first = placing.claim(call.pk)
    assert first is not None
    placing.record_unknown(first.token)
    placing.requeue(Call.objects.get(pk=call.pk), timezone.now())
    assert placing.claim(call.pk) is not None
    before = row(call)

    assert not placing.give_back(first, 0)

    assert row(call) == before


@pytest.mark.django_db
def test_a_call_that_turns_up_while_twilio_is_asked_is_not_queued_again() -> None:
    """[A2] Its callback came between Twilio's answer and ours."""
    call = make_call(Status.UNKNOWN)
    progress.bind(call.token, new_sid())
    before = row(call)

    assert not placing.requeue(call, timezone.now())

    assert row(call) == before


@pytest.mark.django_db
def test_every_outcome_of_a_dial_may_be_recorded_twice() -> None:
    records = {
        "accepted": lambda c: placing.record_accepted(c.token, "CA" + "1" * 32),
        "rejected": lambda c: placing.record_rejected(c.token, "21211", "no"),
        "unknown": lambda c: placing.record_unknown(c.token),
        "back": lambda c: placing.give_back(c, 5),
    }

    for first, second in itertools.product(records, repeat=2):
        call = make_call()
        claimed = placing.claim(call.pk)
        records[first](claimed)
        before = row(call)
        if first == second:
            records[second](claimed)
            assert row(call) == before, first
        Call.objects.all().delete()


@pytest.mark.django_db
def test_the_sweep_finds_what_is_due_and_nothing_else() -> None:
    make_call()
    make_call(not_before=timezone.now() + timedelta(minutes=1))
    make_call(Status.DIALING)
    make_call(Status.COMPLETED)

    assert placing.sweep(timezone.now()) == 1


def test_two_claims_at_once_never_wait_for_each_other(postgresql: str) -> None:
    """[A6] The second sees the lock and leaves."""
    call = make_call()
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Call.objects.select_for_update().get(pk=call.pk)
            locked.set()
            done.wait(10)

    def work(n: int) -> Any:
        if n == 0:
            return hold()
        assert locked.wait(10)
        try:
            return placing.claim(call.pk)
        finally:
            done.set()

    assert at_once(2, work) == [None, None]
    assert status_of(call) is Status.QUEUED
