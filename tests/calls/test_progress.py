"""Reports about a call: late, twice, out of order, in conflict."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from calls.core.lifecycle import AT_TWILIO, EndReason, Status
from calls.models import Call, QuarantinedEvent
from calls.services import progress
from tests.calls.kit import make_call, new_sid, report, row, status_of

pytestmark = pytest.mark.django_db

ENDINGS = [
    ("completed", {"CallDuration": "49", "Duration": "1", "SipResponseCode": "200"}),
    ("busy", {"CallDuration": "0", "SipResponseCode": "486"}),
    ("no-answer", {"CallDuration": "0", "SipResponseCode": "487"}),
    ("failed", {"CallDuration": "0", "SipResponseCode": "404", "ErrorCode": "13224"}),
    ("canceled", {"CallDuration": "0"}),
]


def reports_of(call: Call, ending: str, facts: dict[str, str]) -> list[dict[str, str]]:
    return [
        report(call, "initiated", second=0),
        report(call, "ringing", second=1),
        report(call, "in-progress", second=4),
        report(call, ending, second=53, **facts),
    ]


@pytest.mark.parametrize(("ending", "facts"), ENDINGS)
def test_any_order_of_the_same_reports_leaves_the_same_call(
    ending: str, facts: dict[str, str]
) -> None:
    """[B7] Every permutation of the four reports, and of each with every one repeated."""
    first = make_call(Status.INITIATED)
    reports = reports_of(first, ending, facts)
    different: tuple[str, ...] = (
        "id",
        "token",
        "request_key",
        "twilio_sid",
        "agent_id",
        "recipient_id",
        "to_number",
    )
    different += ("brief", "created_at", "claimed_at", "not_before")
    finals = []

    for order in itertools.permutations(range(4)):
        for repeated in range(4):
            call = make_call(Status.INITIATED)
            for n in (*order, repeated):
                progress.report_status(call, {**reports[n], "CallSid": call.twilio_sid or ""})
            finals.append(row(call, *different))

    assert len(finals) == 96
    assert [final for final in finals if final != finals[0]] == []
    assert finals[0]["status"] == ending
    assert finals[0]["ended_at"] - finals[0]["initiated_at"] == timedelta(seconds=53)
    assert finals[0]["revision"] == 4


def test_a_request_for_twiml_among_the_reports_leaves_the_same_call_too() -> None:
    """[B7] It says that the call was answered, but not when: Twilio's own time counts."""
    finals = []

    for order in itertools.permutations(range(4)):
        call = make_call(Status.INITIATED)
        twiml = report(call, "in-progress")
        del twiml["Timestamp"]
        reports = [
            twiml,
            report(call, "ringing", second=-50),
            report(call, "in-progress", second=-40),
            report(call, "completed", second=-10, CallDuration="30"),
        ]
        for n in order:
            progress.report_status(call, reports[n])
        found = row(call)
        talked = found["ended_at"] - found["answered_at"]
        rang = found["answered_at"] - found["ringing_at"]
        finals.append((found["status"], talked.total_seconds(), rang.total_seconds()))

    assert set(finals) == {("completed", 30, 10)}


def test_without_a_report_of_the_answer_the_request_for_twiml_is_one() -> None:
    call = make_call(Status.RINGING)
    twiml = report(call, "in-progress")
    del twiml["Timestamp"]

    progress.report_status(call, twiml)

    assert row(call)["answered_at"] is not None


def test_a_repeated_report_changes_nothing() -> None:
    """[B4] Also the ten thousandth time."""
    call = make_call(Status.INITIATED)
    progress.report_status(call, report(call, "ringing"))
    before = row(call)

    moved = [progress.report_status(call, report(call, "ringing", second=n)) for n in range(200)]

    assert not any(moved)
    assert row(call) == before
    assert call.events.count() == 1


@pytest.mark.parametrize("later", ["no-answer", "busy", "failed", "canceled"])
def test_of_two_endings_the_first_counts_and_the_second_is_flagged(later: str) -> None:
    """[B8] The second stays visible in the timeline."""
    call = make_call(Status.IN_PROGRESS)
    progress.report_status(call, report(call, "completed", CallDuration="49"))
    before = row(call, "revision")

    moved = progress.report_status(call, report(call, later, CallDuration="0"))

    assert not moved
    assert row(call, "revision") == before
    assert call.events.get(key=f"status:{later}").note == "conflicts with completed"


def test_twilios_own_ending_replaces_one_that_we_guessed() -> None:
    call = make_call(Status.IN_PROGRESS)
    progress.advance(call.pk, Status.FAILED, at=timezone.now(), key="guess:failed", guess=True)

    progress.report_status(call, report(call, "completed", CallDuration="49"))

    call.refresh_from_db()
    assert (call.status, call.duration_s, call.end_is_guess) == ("completed", 49, False)
    assert call.end_reason == EndReason.RECIPIENT_HUNG_UP


def test_a_guess_never_replaces_what_twilio_reported() -> None:
    call = make_call(Status.IN_PROGRESS)
    progress.report_status(call, report(call, "completed", CallDuration="49"))

    moved = progress.advance(
        call.pk, Status.FAILED, at=timezone.now(), key="guess:failed", guess=True
    )

    assert not moved
    assert status_of(call) is Status.COMPLETED


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("completed", EndReason.RECIPIENT_HUNG_UP),
        ("busy", EndReason.NOT_REACHED),
        ("no-answer", EndReason.NOT_REACHED),
        ("failed", EndReason.NOT_REACHED),
        ("canceled", EndReason.CANCELED),
    ],
)
def test_the_end_of_a_call_alone_tells_why_it_ended(ending: str, reason: EndReason) -> None:
    call = make_call(Status.RINGING)

    progress.report_status(call, report(call, ending))

    call.refresh_from_db()
    assert call.end_reason == reason


def test_a_failed_call_says_in_plain_words_what_was_wrong() -> None:
    call = make_call(Status.RINGING)

    progress.report_status(call, report(call, "failed", SipResponseCode="404"))

    call.refresh_from_db()
    assert (call.sip_code, call.end_detail) == ("404", "The number is not in service.")


@pytest.mark.parametrize("conversation_first", [True, False])
def test_the_conversation_knows_best_why_it_ended(conversation_first: bool) -> None:
    call = make_call(Status.IN_PROGRESS)

    def conversation() -> None:
        progress.end_conversation(call.pk, EndReason.AGENT_ENDED, "goodbye", timezone.now())

    def twilio() -> None:
        progress.report_status(call, report(call, "completed", CallDuration="49"))

    for tell in [conversation, twilio] if conversation_first else [twilio, conversation]:
        tell()

    call.refresh_from_db()
    assert (call.status, call.end_reason, call.end_detail) == (
        "completed",
        EndReason.AGENT_ENDED,
        "goodbye",
    )


def test_the_first_reason_of_a_conversation_stays() -> None:
    call = make_call(Status.IN_PROGRESS)
    progress.end_conversation(call.pk, EndReason.SILENCE, "", timezone.now())

    again = progress.end_conversation(call.pk, EndReason.STREAM_LOST, "", timezone.now())

    assert not again
    assert row(call)["end_reason"] == EndReason.SILENCE


def test_staff_hung_up_whatever_the_stream_makes_of_it(user: Any) -> None:
    call = make_call(Status.IN_PROGRESS)
    progress.request_hang_up(call.pk, by=user)

    progress.end_conversation(call.pk, EndReason.RECIPIENT_HUNG_UP, "", timezone.now())
    progress.report_status(call, report(call, "completed", CallDuration="9"))

    assert row(call)["end_reason"] == EndReason.STAFF_HUNG_UP
    assert row(call)["hangup_requested_by_id"] == user.pk


def test_a_waiting_call_is_cancelled_at_once(user: Any) -> None:
    call = make_call(Status.QUEUED)

    assert progress.request_hang_up(call.pk, by=user)

    assert (row(call)["status"], row(call)["end_reason"]) == ("canceled", EndReason.CANCELED)


def test_a_call_that_is_over_cannot_be_hung_up() -> None:
    call = make_call(Status.COMPLETED)
    before = row(call)

    assert not progress.request_hang_up(call.pk)

    assert row(call) == before


def test_a_cancelled_call_that_was_answered_in_between_was_hung_up_by_staff() -> None:
    call = make_call(Status.RINGING)
    progress.request_hang_up(call.pk)

    progress.report_status(call, report(call, "in-progress"))
    progress.report_status(call, report(call, "completed"))

    assert row(call)["end_reason"] == EndReason.STAFF_HUNG_UP


@pytest.mark.parametrize("status", [Status.QUEUED, Status.DIALING, Status.UNKNOWN])
def test_the_first_callback_binds_a_sid_that_was_never_saved(status: Status) -> None:
    """[B9] The token in its address names the call."""
    call = make_call(status)
    sid = new_sid()

    bound = progress.bind(call.token, sid)

    assert bound == call
    assert (row(call)["twilio_sid"], status_of(call)) == (sid, Status.INITIATED)


def test_a_second_sid_for_one_call_is_refused() -> None:
    call = make_call(Status.RINGING)
    before = row(call)

    assert progress.bind(call.token, new_sid()) is None

    assert row(call) == before


def test_one_sid_for_two_calls_is_refused_and_neither_changes() -> None:
    """[B22] No merge: a person has to look."""
    other = make_call(Status.RINGING)
    call = make_call(Status.DIALING)
    before = row(call), row(other)

    assert progress.bind(call.token, other.twilio_sid or "") is None

    assert (row(call), row(other)) == before


def test_a_call_that_was_never_dialled_and_is_over_takes_no_sid() -> None:
    call = make_call(Status.CANCELED, twilio_sid=None)

    assert progress.bind(call.token, new_sid()) is None
    assert row(call)["twilio_sid"] is None


@pytest.mark.parametrize(
    ("answered_by", "hang_up"),
    [("human", False), ("unknown", False), ("machine_start", True), ("fax", True)],
)
def test_a_machine_is_hung_up_on(answered_by: str, hang_up: bool) -> None:
    call = make_call(Status.IN_PROGRESS)

    wanted = progress.report_answered_by(call, {"AnsweredBy": answered_by})

    assert wanted is hang_up
    assert row(call)["answered_by"] == answered_by
    assert (row(call)["end_reason"] == EndReason.VOICEMAIL) is hang_up


def test_a_second_verdict_on_who_answered_changes_nothing() -> None:
    call = make_call(Status.IN_PROGRESS)
    progress.report_answered_by(call, {"AnsweredBy": "human"})
    before = row(call)

    assert not progress.report_answered_by(call, {"AnsweredBy": "machine_start"})

    assert row(call) == before


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "yesterday",
        "Mon, 99 Nov 2026",
        "Thu, 01 Jan 1970 00:00:00 +0000",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "\x01",
        "9",
    ],
)
def test_a_time_that_cannot_be_believed_is_replaced_by_ours(timestamp: str) -> None:
    """[B16]"""
    before = timezone.now()

    at = progress.reported_time(timestamp)

    assert before <= at <= timezone.now()


def test_a_new_word_for_a_status_is_kept_and_moves_nothing() -> None:
    call = make_call(Status.RINGING)
    before = row(call, "revision")

    assert not progress.report_status(call, report(call, "transferred"))

    assert row(call, "revision") == before
    assert call.events.get().note == "unknown status"


def test_fields_that_are_new_to_us_are_kept_with_the_event() -> None:
    """[B17] A page can show them."""
    call = make_call(Status.INITIATED)

    progress.report_status(call, report(call, "ringing", BrandNewField="yes"))

    assert call.events.get().data["BrandNewField"] == "yes"


def test_the_quarantine_keeps_the_newest_and_no_more_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """[B10]"""
    monkeypatch.setattr(progress, "MAX_QUARANTINED", 5)

    for n in range(12):
        progress.quarantine("/api/twilio/status", {"n": str(n)})

    kept = [event.params["n"] for event in QuarantinedEvent.objects.order_by("pk")]
    assert kept == ["7", "8", "9", "10", "11"]


@pytest.mark.parametrize("status", sorted(AT_TWILIO))
def test_hanging_up_a_live_call_is_asked_for_once(status: Status) -> None:
    call = make_call(status)
    progress.request_hang_up(call.pk)
    first = row(call)["hangup_requested_at"]

    progress.request_hang_up(call.pk)

    assert row(call)["hangup_requested_at"] == first
    assert call.events.filter(kind="hang-up").count() == 1


@pytest.fixture
def user(django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("sam")
