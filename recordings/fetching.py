"""Brings one recording home: claim, ask, download, check, publish, record.

The row is claimed by a lease, and the try's number fences off whoever lost it: two deliveries of
the task, or a worker taken for dead, leave one file and one row.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO, Final

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from calls import gateway
from calls.gateway import TwilioRecording
from calls.kicks import kick_on_commit
from calls.models import Call
from calls.services import costs, progress
from recordings import download, services, storage, tasks
from recordings.core import problems, wav
from recordings.core.wav import NotWav, Wav
from recordings.errors import Doubtful, Later, NoLongerOurs, Unusable
from recordings.models import Recording, RecordingStatus

logger = logging.getLogger(__name__)

RATE_HZ: Final = 8000
_BYTES_PER_S: Final = RATE_HZ * 2 * wav.SAMPLE_BYTES
_SPARE_S: Final = 60
# Twilio tells whole seconds, rounded: less than this may be missing from what it told.
_ROUNDING_MS: Final = 1500
# Idle line noise, of 32768: nobody would hear it.
_INAUDIBLE: Final = 32
# A passing fault does not send the wrong thing three times.
_DOUBTS: Final = 3
# Who has not asked for a day, and then asks once, has not asked for a day.
_LEAST_TRIES: Final = 3
_LEASE: Final = timedelta(seconds=30)
_PUBLISHING_LEASE: Final = timedelta(seconds=120)
_RENEW_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Claim:
    recording: Recording
    attempt: int

    @property
    def call(self) -> Call:
        return self.recording.call

    def update(self, **values: Any) -> None:
        """Change the row, as long as it is ours.

        Raises:
            NoLongerOurs: the lease ran out, and another worker has taken the row.
        """
        ours = Recording.objects.filter(
            pk=self.recording.pk, attempts=self.attempt, status=RecordingStatus.FETCHING
        )
        if not ours.update(**values):
            raise NoLongerOurs

    def keep(self, lease: timedelta = _LEASE) -> None:
        self.update(lease_expires_at=timezone.now() + lease)


def fetch(recording_id: int) -> bool:
    """Fetch a recording that is due; True if it is ready now.

    Harmless however often it runs at once: only one run gets the claim.
    """
    claim = _take(recording_id)
    if claim is None:
        return False
    try:
        return _try(claim)
    except NoLongerOurs:
        logger.warning("call %s: the recording was taken over", claim.call.pk)
        return False


def _try(claim: _Claim) -> bool:
    try:
        return _bring_home(claim)
    except Unusable as exc:
        _reject(claim, exc)
    except Doubtful as exc:
        doubts = claim.recording.doubts + 1
        if doubts >= _DOUBTS:
            _reject(claim, exc)
        else:
            _park(claim, exc, doubts=doubts)
    except Later as exc:
        _park(claim, exc)
    return False


def _take(recording_id: int) -> _Claim | None:
    now = timezone.now()
    free = Recording.objects.filter(services.claimable(now), pk=recording_id)
    recording = free.select_related("call").first()
    if recording is None:
        return None
    taken = free.filter(attempts=recording.attempts).update(
        status=RecordingStatus.FETCHING,
        attempts=F("attempts") + 1,
        lease_expires_at=now + _LEASE,
    )
    return _Claim(recording, recording.attempts + 1) if taken else None


def _bring_home(claim: _Claim) -> bool:
    told = _ask(claim)
    if told is None:
        return False
    sid = claim.recording.recording_sid
    max_bytes = _most_bytes(told, claim.call)
    name = f"{claim.call.created_at:%Y/%m}/{claim.call.pk}/{sid}.wav"
    with storage.incoming(storage.incoming_name(sid, claim.attempt), room_for=max_bytes) as file:
        is_checked = download.fetch(sid, file, max_bytes=max_bytes, keep=_regularly(claim.keep))
        found = _check(file, told, claim.call, is_checked=is_checked)
        facts = _prepare(file, found)
        claim.keep(_PUBLISHING_LEASE)
        stored = storage.publish(file, name)
    _store(claim, stored, facts)
    return True


def _ask(claim: _Claim) -> TwilioRecording | None:
    """What Twilio knows of a recording that can be fetched now; None if it never can be."""
    try:
        told = gateway.fetch_recording(claim.recording.recording_sid)
    except gateway.Rejected as exc:
        raise Later(str(exc.explanation), needs_a_person=exc.is_account_problem) from exc
    except gateway.GatewayError as exc:
        raise Later("Twilio gave no answer about the recording.") from exc
    claim.keep()
    if told is None:
        raise Later("Twilio does not know the recording yet.", code="20404")
    if told.call_sid != claim.call.twilio_sid:
        raise Unusable(problems.FOREIGN)
    if told.status in ("absent", "failed"):
        services.conclude_without(claim.recording.pk, told.status, told.error_code)
        return None
    if told.status == "deleted":
        services.conclude(claim.recording.pk, RecordingStatus.FAILED, problems.DELETED)
        return None
    if told.status != "completed":
        raise Later("Twilio is still preparing the recording.")
    return told


def _most_bytes(told: TwilioRecording, call: Call) -> int:
    longest_s = max(told.duration_s or 0, call.duration_s or 0) or settings.CALL_MAX_DURATION_S
    return (longest_s + _SPARE_S) * _BYTES_PER_S


def _regularly(action: Callable[[], None]) -> Callable[[], None]:
    """`action`, but at most every few seconds however often it is called."""
    done_at = time.monotonic()

    def sometimes() -> None:
        nonlocal done_at
        if time.monotonic() - done_at >= _RENEW_EVERY_S:
            done_at = time.monotonic()
            action()

    return sometimes


def _check(file: BinaryIO, told: TwilioRecording, call: Call, *, is_checked: bool) -> Wav:
    try:
        found = wav.read(file)
    except NotWav as exc:
        raise Doubtful(f"What Twilio sent is {exc}.") from exc
    if found.channels != 2:
        raise Unusable(problems.MONO)
    if found.rate_hz != RATE_HZ:
        raise Unusable(f"The recording has {found.rate_hz} samples a second, not {RATE_HZ}.")
    told_s = told.duration_s if told.duration_s is not None else call.duration_s
    is_short = told_s is not None and found.duration_ms < told_s * 1000 - _ROUNDING_MS
    if is_short or (found.is_cut_off and not is_checked):
        raise Doubtful(
            f"The recording was cut off: {found.duration_ms / 1000:.1f} s came"
            + (f", of {told_s} s." if is_short else ".")
        )
    if wav.loudest(file, found) <= _INAUDIBLE:
        raise Unusable(problems.SILENT)
    return found


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _prepare(file: BinaryIO, found: Wav) -> dict[str, Any]:
    """Make the file what players and pages expect: left the person, right the agent, true sizes."""
    if settings.RECORDING_SWAP_CHANNELS:
        wav.swap_channels(file, found)
    wav.mend_sizes(file, found)
    left, right = wav.peaks(file, found)
    return {
        "channels": found.channels,
        "rate_hz": found.rate_hz,
        "duration_ms": found.duration_ms,
        "size_bytes": file.seek(0, 2),
        "sha256": _sha256(file),
        "peaks": {
            "left": left,
            "right": right,
            "step_ms": wav.step_frames(found) * 1000 / found.rate_hz,
        },
    }


def _store(claim: _Claim, stored: str, facts: dict[str, Any]) -> None:
    now = timezone.now()
    wants_deletion = settings.RECORDING_DELETE_AT_TWILIO
    with transaction.atomic():
        claim.update(
            status=RecordingStatus.READY,
            file=stored,
            problem="",
            error_code="",
            attempts=0,
            not_before=now,
            lease_expires_at=None,
            ready_at=now,
            delete_requested_at=now if wants_deletion else None,
            **facts,
        )
        services.note(claim.recording, "recording.ready")
        if wants_deletion:
            kick_on_commit(tasks.delete_at_twilio, claim.recording.pk)
    costs.refresh_estimate(claim.call.pk)
    logger.info("call %s: recording ready, %d ms", claim.call.pk, facts["duration_ms"])


def _reject(claim: _Claim, exc: Later | Unusable) -> None:
    claim.keep()  # what another worker may be fetching at this moment is not ours to reject
    services.conclude(claim.recording.pk, RecordingStatus.REJECTED, str(exc), exc.code)


def _park(claim: _Claim, exc: Later, **changes: Any) -> None:
    """Try again after a pause, unless a day has passed in vain.

    What waits for a person to mend something waits as long as that takes: Twilio has the recording.
    """
    now = timezone.now()
    is_old = claim.recording.created_at < now - services.GIVE_UP_AFTER
    if is_old and claim.attempt >= _LEAST_TRIES and not exc.needs_a_person:
        problem = f"Given up after a day. {exc}"
        services.conclude(claim.recording.pk, RecordingStatus.FAILED, problem, exc.code)
        return
    level = logging.ERROR if exc.needs_a_person else logging.WARNING
    logger.log(level, "call %s: recording, try %d: %s", claim.call.pk, claim.attempt, exc)
    is_news = claim.recording.problem != str(exc)[:300]
    with transaction.atomic():
        claim.update(
            status=RecordingStatus.PENDING,
            not_before=now + services.pause(claim.attempt),
            lease_expires_at=None,
            problem=str(exc)[:300],
            error_code=exc.code[:16],
            **changes,
        )
        if is_news:
            progress.bump(claim.call.pk)
