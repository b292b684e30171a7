"""What Twilio reports of recordings, what nobody reported, and what is deleted at Twilio."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.utils import timezone

from calls.core.lifecycle import Status
from calls.models import Call, CallEvent, QuarantinedEvent
from recordings import fetching, services, storage, tasks
from recordings.models import Recording, RecordingSearch, RecordingStatus, recordings_storage
from tests.calls.kit import ACCOUNT, address, at_once, post
from tests.recordings import fake_twilio
from tests.recordings.conftest import all_about_to_update, make_call, make_recording
from tests.recordings.fake_twilio import FakeTwilio

SID = "RE" + "a" * 32
ENCRYPTION = (
    "Twilio could not encrypt the recording. Check the public key under Voice, Settings in the"
    " Twilio console. (Twilio's code 16104)"
)


def form(call: Call, status: str = "completed", sid: str = SID, **more: str) -> dict[str, str]:
    """A recording callback as Twilio posts it."""
    return {
        "AccountSid": ACCOUNT,
        "CallSid": str(call.twilio_sid),
        "RecordingSid": sid,
        "RecordingUrl": f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Recordings/{sid}",
        "RecordingStatus": status,
        "RecordingDuration": "10",
        "RecordingChannels": "2",
        "RecordingStartTime": "Mon, 23 Nov 2026 10:00:00 +0000",
        "RecordingSource": "OutboundAPI",
        "RecordingTrack": "both",
        "ErrorCode": "0",
        **more,
    }


def told(call: Call, params: dict[str, str]) -> int:
    """Twilio posts this about the call; the answer's status."""
    return post(address("twilio-recording-status", call), params).status_code


@pytest.mark.django_db
def test_a_finished_recording_becomes_a_row_that_is_due() -> None:
    call = make_call()

    assert told(call, form(call)) == 204

    recording = Recording.objects.get()
    assert (recording.call, recording.recording_sid, recording.status) == (call, SID, "pending")
    assert recording in Recording.objects.filter(services.due(timezone.now()))
    assert CallEvent.objects.get(kind="recording").data["RecordingSid"] == SID
    call.refresh_from_db()
    assert call.revision == 1


@pytest.mark.django_db
def test_a_recording_under_way_waits_for_the_end_of_the_call() -> None:
    call = make_call(status=Status.IN_PROGRESS.value, ended_at=None, duration_s=None)

    told(call, form(call, "in-progress"))

    recording = Recording.objects.get()
    assert recording not in Recording.objects.filter(services.due(timezone.now()))
    told(call, form(call, "completed"))
    Call.objects.update(ended_at=timezone.now())
    assert recording in Recording.objects.filter(services.due(timezone.now()))


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["in-progress", "completed", "completed"]))
)
@pytest.mark.django_db
def test_any_order_and_repetition_of_reports_leaves_one_row(order: tuple[str, ...]) -> None:
    """[E7] Late, twice and out of order changes nothing."""
    call = make_call()

    for status in order:
        told(call, form(call, status))

    assert Recording.objects.get().status == RecordingStatus.PENDING
    assert CallEvent.objects.filter(call=call).count() == 2


def test_parallel_reports_make_one_row(database: str) -> None:
    """[E7] The database decides, not the process that was quicker."""
    call = make_call()

    answers = at_once(8, lambda _: told(call, form(call)))

    assert set(answers) <= {204, 503}
    assert Recording.objects.count() == 1
    assert CallEvent.objects.filter(call=call, kind="recording").count() == 1


@pytest.mark.parametrize(
    ("status", "code", "ours", "problem"),
    [
        (
            "absent",
            "16102",
            "absent",
            "Twilio heard nothing but silence, and kept no recording. (Twilio's code 16102)",
        ),
        ("absent", "0", "absent", "Twilio made no recording of this call, and gives no reason."),
        (
            "failed",
            "16104",
            "failed",
            ENCRYPTION,
        ),
    ],
)
@pytest.mark.django_db
def test_a_recording_that_will_not_come_ends_with_the_reason(
    status: str, code: str, ours: str, problem: str
) -> None:
    """[E9] absent and failed are final, in plain words and with the code."""
    call = make_call()

    told(call, form(call, status, ErrorCode=code))
    told(call, form(call, "completed"))

    recording = Recording.objects.get()
    assert (recording.status, recording.problem) == (ours, problem)
    assert recording.error_code == ("" if code == "0" else code)
    assert not fetching.fetch(recording.pk)


@pytest.mark.django_db
def test_a_late_absent_does_not_take_a_stored_recording_away(twilio: FakeTwilio) -> None:
    call = make_call()
    twilio.has(SID, call.twilio_sid)
    told(call, form(call))
    fetching.fetch(Recording.objects.get().pk)

    told(call, form(call, "absent"))

    assert Recording.objects.get().status == RecordingStatus.READY


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://user:pass@example.test/x",
        "//example.test",
        "not a url \x7f",
        "",
    ],
)
@pytest.mark.django_db
def test_the_address_in_a_report_is_never_used(twilio: FakeTwilio, url: str) -> None:
    """[E10] The address of the audio is built from the SID, whatever the callback says."""
    call = make_call()
    twilio.has(SID, call.twilio_sid)

    assert told(call, form(call, RecordingUrl=url)) == 204
    assert fetching.fetch(Recording.objects.get().pk)

    assert [request.path for request in twilio.asked_for(".wav")] == [
        f"/2010-04-01/Accounts/{ACCOUNT}/Recordings/{SID}.wav"
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"RecordingSid": "RE123"},
        {"RecordingSid": "RE" + "a" * 31 + "/"},
        {"RecordingSid": "../" + "a" * 31},
        {"RecordingStatus": ""},
        {"RecordingStatus": "x" * 40},
        {"ErrorCode": "many"},
        {"CallSid": "CA1"},
    ],
)
@pytest.mark.django_db
def test_a_malformed_report_is_refused_and_changes_nothing(wrong: dict[str, str]) -> None:
    call = make_call()

    assert told(call, form(call) | wrong) == 400

    assert not Recording.objects.exists()
    assert not CallEvent.objects.exists()


@pytest.mark.django_db
def test_an_unsigned_report_changes_nothing() -> None:
    call = make_call()

    answer = post(address("twilio-recording-status", call), form(call), signature="guess")

    assert answer.status_code == 403
    assert not Recording.objects.exists()


@pytest.mark.django_db
def test_a_report_of_a_call_that_is_not_ours_is_kept_apart() -> None:
    call = make_call()

    assert told(call, form(call) | {"CallSid": "CA" + "0" * 32}) == 404

    assert not Recording.objects.exists()
    assert QuarantinedEvent.objects.count() == 1


@pytest.mark.django_db
def test_a_recording_cannot_change_the_call_it_belongs_to() -> None:
    first, second = make_call(), make_call()
    told(first, form(first))

    assert told(second, form(second)) == 404

    assert Recording.objects.get().call == first
    assert not CallEvent.objects.filter(call=second).exists()


@pytest.mark.django_db
def test_a_new_word_of_twilio_s_is_noted_and_harms_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    call = make_call()

    assert told(call, form(call, "transmogrified")) == 204

    assert Recording.objects.get().status == RecordingStatus.PENDING
    assert "unknown RecordingStatus 'transmogrified'" in caplog.text


# --- What no callback told ----------------------------------------------------------------------
def silent() -> list[Call]:
    """The calls whose recordings the sweep would look for now."""
    return list(Call.objects.filter(services.silent(timezone.now())))


@pytest.mark.django_db
def test_a_recording_that_was_never_reported_is_found_at_twilio(twilio: FakeTwilio) -> None:
    """[E1] The sweep asks for the recordings of calls that ended without one."""
    call = make_call()
    twilio.has(SID, call.twilio_sid)

    assert silent() == [call]
    assert services.search(call.pk)

    recording = Recording.objects.get()
    assert (recording.call, recording.recording_sid) == (call, SID)
    assert fetching.fetch(recording.pk)
    assert silent() == []


@pytest.mark.django_db
def test_the_search_pauses_longer_each_time_and_ends_after_a_day(twilio: FakeTwilio) -> None:
    """[E1] Until found, or 24 hours: then the call says that there is none."""
    call = make_call()

    assert not services.search(call.pk)
    first = RecordingSearch.objects.get()
    assert not services.search(call.pk)  # its pause is not over
    later = first.not_before + timedelta(seconds=1)
    assert not services.search(call.pk, now=later)
    second = RecordingSearch.objects.get()
    Call.objects.filter(pk=call.pk).update(ended_at=timezone.now() - timedelta(hours=25))
    services.search(call.pk, now=second.not_before)
    services.search(call.pk, now=second.not_before + timedelta(days=1))

    assert len(twilio.asked_for("Recordings.json")) == 3
    assert second.not_before - later > first.not_before - timezone.now()
    assert RecordingSearch.objects.get().gave_up_at is not None
    assert CallEvent.objects.get(call=call).kind == "recording.absent"


@pytest.mark.parametrize(
    "fields",
    [
        {"answered_at": None, "status": Status.NO_ANSWER.value},
        {"ended_at": None, "status": Status.IN_PROGRESS.value},
        {"twilio_sid": None},
    ],
    ids=["not answered", "not over", "never at Twilio"],
)
@pytest.mark.django_db
def test_nobody_asks_for_recordings_that_cannot_be_there(
    twilio: FakeTwilio, fields: dict[str, Any]
) -> None:
    call = make_call(**fields)

    assert silent() == []
    assert not services.search(call.pk)
    assert twilio.asked == []


@pytest.mark.django_db
def test_twilio_gets_a_moment_to_report_by_itself(twilio: FakeTwilio) -> None:
    call = make_call(ended_at=timezone.now() - timedelta(seconds=2))

    assert silent() == []
    assert not services.search(call.pk)
    assert twilio.asked == []


@pytest.mark.parametrize("status", [429, 500, 401])
@pytest.mark.django_db
def test_a_search_that_twilio_does_not_answer_is_repeated(twilio: FakeTwilio, status: int) -> None:
    """[E1] No answer is no proof that there is none."""
    call = make_call(ended_at=timezone.now() - timedelta(hours=30))
    twilio.has(SID, call.twilio_sid)
    twilio.api_answers = [fake_twilio.status(status)]

    assert not services.search(call.pk)

    search = RecordingSearch.objects.get()
    assert search.gave_up_at is None
    assert services.search(call.pk, now=search.not_before)


def test_searches_at_once_ask_twilio_once(twilio: FakeTwilio, database: str) -> None:
    call = make_call()
    twilio.has(SID, call.twilio_sid)

    gate = threading.Barrier(6)

    def search(_: int) -> bool:
        with all_about_to_update("recordings_recordingsearch", gate):
            return services.search(call.pk)

    assert sorted(at_once(6, search)) == [False] * 5 + [True]

    assert len(twilio.asked_for("Recordings.json")) == 1
    assert Recording.objects.count() == 1


# --- Deleting at Twilio ---------------------------------------------------------------------------
@pytest.fixture
def kept(twilio: FakeTwilio, settings: Any, db: None) -> Recording:
    """A recording that is safe with us, and to be deleted at Twilio."""
    settings.RECORDING_DELETE_AT_TWILIO = True
    recording = make_recording()
    twilio.has(recording.recording_sid, recording.call.twilio_sid)
    assert fetching.fetch(recording.pk)
    return recording


def test_twilio_s_copy_is_deleted_once_ours_is_safe(kept: Recording, twilio: FakeTwilio) -> None:
    assert services.delete_at_twilio(kept.pk)

    kept.refresh_from_db()
    assert kept.deleted_at_twilio_at is not None
    assert twilio.told == {}
    assert not services.delete_at_twilio(kept.pk)


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_a_deletion_is_not_reported_before_twilio_confirms_it(
    kept: Recording, twilio: FakeTwilio, status: int
) -> None:
    """[E12] It is tried again; until it is confirmed, the row does not say so."""
    twilio.api_answers = [fake_twilio.status(status)]

    assert not services.delete_at_twilio(kept.pk)
    kept.refresh_from_db()
    unconfirmed = kept.deleted_at_twilio_at
    assert not services.delete_at_twilio(kept.pk)  # its pause is not over
    assert services.delete_at_twilio(kept.pk, now=kept.not_before)

    assert unconfirmed is None


def test_a_copy_that_is_gone_already_counts_as_deleted(kept: Recording, twilio: FakeTwilio) -> None:
    twilio.told.clear()

    assert services.delete_at_twilio(kept.pk)


@pytest.mark.django_db
def test_without_the_policy_nothing_is_deleted(twilio: FakeTwilio) -> None:
    recording = make_recording()
    twilio.has(recording.recording_sid, recording.call.twilio_sid)
    fetching.fetch(recording.pk)

    assert not services.delete_at_twilio(recording.pk)

    assert [request.method for request in twilio.asked] == ["GET", "GET"]


@pytest.mark.django_db
def test_what_is_not_safe_with_us_is_not_deleted_at_twilio(
    twilio: FakeTwilio, settings: Any
) -> None:
    settings.RECORDING_DELETE_AT_TWILIO = True
    recording = make_recording()
    twilio.has(recording.recording_sid, recording.call.twilio_sid, b"<html>")
    fetching.fetch(recording.pk)

    assert not services.delete_at_twilio(recording.pk)

    assert recording.recording_sid in twilio.told


# --- The sweep ------------------------------------------------------------------------------------
@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any) -> Any:
    """Runs the sweep, and the tasks that it kicks in this process, as a worker would."""

    def run() -> None:
        kicked: list[tuple[Any, tuple[str, ...]]] = []
        monkeypatch.setattr("calls.kicks.publisher.publish", kicked.extend)
        with django_capture_on_commit_callbacks(execute=True):
            tasks.sweep_recordings()
        for task, args in kicked:
            task(*args)

    return run


@pytest.mark.django_db
def test_the_sweep_finds_fetches_and_deletes_what_no_kick_started(
    twilio: FakeTwilio, settings: Any, eager: Any
) -> None:
    """[E1] Three sweeps: found, fetched, deleted at Twilio; a fourth does nothing."""
    settings.RECORDING_DELETE_AT_TWILIO = True
    call = make_call()
    twilio.has(SID, call.twilio_sid)

    eager()
    eager()
    eager()
    asked = len(twilio.asked)
    eager()

    recording = Recording.objects.get()
    assert recording.status == RecordingStatus.READY
    assert recording.deleted_at_twilio_at is not None
    assert len(twilio.asked) == asked


@pytest.mark.django_db
def test_the_sweep_takes_over_from_a_dead_worker(twilio: FakeTwilio, eager: Any) -> None:
    """[E6] A lease that ran out is taken over within the next sweep."""
    recording = make_recording(status="fetching", attempts=1)
    Recording.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    twilio.has(recording.recording_sid, recording.call.twilio_sid)

    eager()

    recording.refresh_from_db()
    assert recording.status == RecordingStatus.READY


@pytest.mark.django_db
def test_the_sweep_removes_leftovers_but_not_what_is_being_worked_on(eager: Any) -> None:
    """[E6] Only the file of the current try of a recording that is being fetched is left."""
    at_work = make_recording(status="fetching", attempts=2)
    Recording.objects.update(lease_expires_at=timezone.now() + timedelta(seconds=30))
    root = recordings_storage()
    assert isinstance(root, FileSystemStorage)
    names = [
        storage.incoming_name(at_work.recording_sid, 1),
        storage.incoming_name(at_work.recording_sid, 2),
        storage.incoming_name("RE" + uuid4().hex, 1),
    ]
    for name in names:
        root.save(f".incoming/{name}.part", ContentFile(b"RIFF"))

    eager()

    left = [name for name in names if root.exists(f".incoming/{name}.part")]
    root.delete(f".incoming/{names[1]}.part")
    assert left == [names[1]]


@pytest.mark.django_db
def test_a_recording_shown_is_the_one_that_can_be_heard() -> None:
    call = make_call()
    assert services.best_of(call) is None
    ready = make_recording(call, status="ready")
    newer = make_recording(call, status="absent")

    assert services.best_of(call) == ready
    ready.delete()
    assert services.best_of(call) == newer
