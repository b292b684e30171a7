"""What is known of a call's recordings: what Twilio reports, what is due, what became of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from calls import gateway
from calls.core.lifecycle import Status
from calls.kicks import kick_on_commit
from calls.models import Call
from calls.services import costs, progress
from recordings import storage, tasks
from recordings.core import problems
from recordings.models import Recording, RecordingSearch, RecordingStatus

logger = logging.getLogger(__name__)

# Twilio's callback comes seconds after the end of the call. Later than this, we ask.
SEARCH_AFTER: Final = timedelta(seconds=20)
GIVE_UP_AFTER: Final = timedelta(hours=24)
_BATCH: Final = 100
_LONGEST_PAUSE_S: Final = 900

_WAITING: Final = (RecordingStatus.PENDING, RecordingStatus.FETCHING)


def pause(attempts: int) -> timedelta:
    """How long to wait after so many tries: 2 s, then twice as long each time, up to 15 min."""
    return timedelta(seconds=min(2 ** min(max(attempts, 1), 12), _LONGEST_PAUSE_S))


# --- Twilio's reports ---------------------------------------------------------------------------
def report(call: Call, params: Mapping[str, str]) -> bool:
    """Apply a recording callback (fields as Twilio posts them); False if it belongs elsewhere.

    Source: Twilio, Recordings, "RecordingStatusCallback parameters".
    """
    sid, word = params["RecordingSid"], params["RecordingStatus"]
    now = timezone.now()
    with transaction.atomic():
        recording = _row(call, sid)
        if recording is None:
            return False
        key = f"recording:{sid}:{word}"
        if not progress.note_event(call, key, "recording", at=now, data=params):
            return True
        progress.bump(call.pk)
        code = params.get("ErrorCode", "")
        if word == "completed":
            _make_due(recording, now)
        elif word in ("absent", "failed"):
            conclude_without(recording.pk, word, code)
        elif word != "in-progress":
            logger.error("call %s: unknown RecordingStatus %r", call.pk, word)
    return True


def _row(call: Call, sid: str) -> Recording | None:
    recording, _ = Recording.objects.get_or_create(recording_sid=sid, defaults={"call": call})
    if recording.call_id == call.pk:
        return recording
    logger.error("call %s: recording %s belongs to another call", call.pk, sid)
    return None


def _make_due(recording: Recording, now: datetime) -> None:
    # It is whole now: whatever pause was being kept no longer is.
    due = Recording.objects.filter(pk=recording.pk, status=RecordingStatus.PENDING)
    if due.update(not_before=now):
        kick_on_commit(tasks.fetch_recording, recording.pk)


def conclude_without(recording_id: int, word: str, code: str) -> bool:
    """Store that there is and will be no audio, for the reason that Twilio gives; True if new."""
    absent = word == "absent"
    return conclude(
        recording_id,
        RecordingStatus.ABSENT if absent else RecordingStatus.FAILED,
        problems.why_absent(code) if absent else problems.why_failed(code),
        code if code != "0" else "",
    )


def conclude(recording_id: int, status: RecordingStatus, problem: str, code: str = "") -> bool:
    """Store how a recording ended without audio; True unless it has ended before."""
    with transaction.atomic():
        ended = Recording.objects.filter(pk=recording_id, status__in=_WAITING).update(
            status=status, problem=problem[:300], error_code=code[:16], lease_expires_at=None
        )
        if not ended:
            return False
        recording = Recording.objects.select_related("call").get(pk=recording_id)
        note(recording, f"recording.{status.value}", problem)
    costs.refresh_estimate(recording.call_id)
    logger.warning("call %s: recording %s: %s", recording.call_id, status.value, problem)
    return True


def note(recording: Recording, kind: str, problem: str = "") -> None:
    """Add what became of a recording to its call's timeline, once, and tell open pages."""
    data = {"RecordingSid": recording.recording_sid, **({"problem": problem} if problem else {})}
    key = f"{kind}:{recording.recording_sid}"
    if progress.note_event(recording.call, key, kind, at=timezone.now(), data=data):
        progress.bump(recording.call_id)


# --- What staff see -----------------------------------------------------------------------------
def best_of(call: Call) -> Recording | None:
    """The recording of a call to show: one that is ready, else the newest."""
    found = list(call.recordings.order_by("-created_at"))
    ready = [r for r in found if r.status == RecordingStatus.READY]
    return next(iter([*ready, *found]), None)


def may_have_recording(call: Call) -> bool:
    """Whether the call was answered, as far as we know: every answered call is recorded."""
    return call.answered_at is not None or call.state is Status.COMPLETED


def is_given_up(call: Call) -> bool:
    """Whether Twilio was asked for a day, and had no recording of the call."""
    return RecordingSearch.objects.filter(call=call, gave_up_at__isnull=False).exists()


# --- What no callback told ----------------------------------------------------------------------
def search(call_id: UUID | str, *, now: datetime | None = None) -> bool:
    """Ask Twilio for the recordings of a call that it has not reported; True if there are any.

    Does nothing while another search is at work or the pause after the last one is not over.
    """
    now = now or timezone.now()
    call = Call.objects.filter(silent(now), pk=call_id).first()
    if call is None or not _claim_search(call, now):
        return False
    try:
        found = gateway.list_recordings(str(call.twilio_sid))
    except gateway.GatewayError as exc:
        logger.warning("call %s: no list of recordings: %s", call.pk, exc)
        return False
    for entry in found:
        with transaction.atomic():
            recording = _row(call, entry.sid)
            if recording is not None:
                _make_due(recording, now)
                progress.bump(call.pk)
    if found:
        logger.info("call %s: %d recordings found that were never reported", call.pk, len(found))
    elif call.ended_at is not None and call.ended_at < now - GIVE_UP_AFTER:
        _give_up_search(call, now)
    return bool(found)


def silent(now: datetime) -> Q:
    """Calls that were answered, have ended, and have no recording yet."""
    return Q(
        Q(answered_at__isnull=False) | Q(status=Status.COMPLETED),
        ended_at__lt=now - SEARCH_AFTER,
        twilio_sid__isnull=False,
        recordings__isnull=True,
    )


def _claim_search(call: Call, now: datetime) -> bool:
    row, _ = RecordingSearch.objects.get_or_create(call=call, defaults={"not_before": now})
    due = RecordingSearch.objects.filter(
        pk=row.pk, not_before__lte=now, gave_up_at=None, attempts=row.attempts
    )
    next_try = now + pause(row.attempts + 2)
    return bool(due.update(attempts=F("attempts") + 1, not_before=next_try))


def _give_up_search(call: Call, now: datetime) -> None:
    RecordingSearch.objects.filter(call=call, gave_up_at=None).update(gave_up_at=now)
    data = {"problem": problems.NEVER_ANNOUNCED}
    if progress.note_event(call, "recording.absent", "recording.absent", at=now, data=data):
        progress.bump(call.pk)
    logger.warning("call %s: Twilio has no recording after a day", call.pk)


# --- Deleting at Twilio ---------------------------------------------------------------------------
def delete_at_twilio(recording_id: int, *, now: datetime | None = None) -> bool:
    """Delete Twilio's copy of a recording that is safe with us; True once Twilio has confirmed."""
    now = now or timezone.now()
    recording = Recording.objects.filter(_to_delete(now), pk=recording_id).first()
    if recording is None:
        return False
    taken = Recording.objects.filter(_to_delete(now), pk=recording_id, attempts=recording.attempts)
    if not taken.update(attempts=F("attempts") + 1, not_before=now + pause(recording.attempts + 3)):
        return False
    try:
        gateway.delete_recording(recording.recording_sid)
    except gateway.GatewayError as exc:
        logger.warning("call %s: recording not deleted at Twilio: %s", recording.call_id, exc)
        return False
    with transaction.atomic():
        Recording.objects.filter(pk=recording_id).update(deleted_at_twilio_at=now)
        note(recording, "recording.deleted_at_twilio")
    logger.info("call %s: recording deleted at Twilio", recording.call_id)
    return True


def _to_delete(now: datetime) -> Q:
    return Q(
        status=RecordingStatus.READY,
        delete_requested_at__isnull=False,
        deleted_at_twilio_at=None,
        not_before__lte=now,
    )


# --- The sweep ------------------------------------------------------------------------------------
def sweep(now: datetime) -> None:
    """Start whatever is due and was not started: lost kicks, dead workers, silent callbacks."""
    kick_on_commit(tasks.fetch_recording, *_pks(Recording.objects.filter(due(now))))
    kick_on_commit(tasks.delete_at_twilio, *_pks(Recording.objects.filter(_to_delete(now))))
    unasked = Q(recording_search=None) | Q(
        recording_search__not_before__lte=now, recording_search__gave_up_at=None
    )
    # Older ones were given up, or ended while nothing of ours ran for days: then one try more.
    recent = Q(ended_at__gt=now - 7 * GIVE_UP_AFTER)
    unreported = Call.objects.filter(silent(now), unasked, recent).order_by("ended_at")
    kick_on_commit(tasks.find_recordings, *unreported.values_list("pk", flat=True)[:_BATCH])
    removed = storage.remove_leftovers(_is_at_work)
    if removed:
        logger.warning("%d unfinished downloads of dead workers removed", removed)


def due(now: datetime) -> Q:
    """Recordings to fetch now: once their call is over, unless they were asked for before."""
    over = Q(call__ended_at__isnull=False) | Q(attempts__gt=0)
    return Q(over, claimable(now))


def claimable(now: datetime) -> Q:
    """Recordings that nobody works on: waiting, or of a worker that has died."""
    return Q(status=RecordingStatus.PENDING, not_before__lte=now) | Q(
        status=RecordingStatus.FETCHING, lease_expires_at__lt=now
    )


def _pks(found: QuerySet[Recording]) -> list[int]:
    return list(found.order_by("not_before").values_list("pk", flat=True)[:_BATCH])


def _is_at_work(incoming_name: str) -> bool:
    named = storage.try_of(incoming_name)
    if named is None:
        return False
    sid, attempt = named
    return Recording.objects.filter(
        recording_sid=sid, attempts=attempt, status=RecordingStatus.FETCHING
    ).exists()
