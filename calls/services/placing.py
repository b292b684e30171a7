"""Asks for calls and dials them: claim, ask Twilio, record. At most one dial for each claim.

The row is written first, and is the only truth: a task that is lost, repeated or killed costs
time. Twilio is asked outside any transaction, after the claim is committed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Final
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import timezone

from calls import gateway, live, tasks
from calls.core.lifecycle import EndReason, Status
from calls.failpoints import failpoint
from calls.kicks import kick_on_commit
from calls.models import Agent, Call, DialingPause, DoNotCall, Recipient
from calls.services import agents, progress, rules
from calls.services.rules import Preview, Skipped, preview

__all__ = ["Preview", "Requested", "Skipped", "preview", "request_calls"]

logger = logging.getLogger(__name__)

MAX_REQUEST_KEY: Final = 60
SWEEP_SIZE: Final = 100
MAX_DIAL_ATTEMPTS: Final = 5
_MAX_BACKOFF_S: Final = 60.0
_random = SystemRandom()


@dataclass(frozen=True, slots=True)
class Requested:
    """What became of a request; `repeated` are calls that the same request had asked for before."""

    queued: list[Call]
    skipped: list[Skipped]
    repeated: list[Call]


# --- Asking for calls ---------------------------------------------------------------------------
def request_calls(
    recipients: Iterable[Recipient],
    agent: Agent,
    *,
    by: User | None,
    request_key: str,
    now: datetime | None = None,
) -> Requested:
    """Ask for one call to each recipient, and return at once: workers dial.

    `request_key` names the request (at most 60 characters). Sent again, even at the same instant
    by another process, it asks for nothing new.

    Raises:
        ValueError: the request key is empty or too long.
    """
    if not 0 < len(request_key) <= MAX_REQUEST_KEY:
        raise ValueError(f"request_key: give it 1 to {MAX_REQUEST_KEY} characters")
    now = now or timezone.now()
    unique = {recipient.pk: recipient for recipient in recipients}
    key_of = {pk: f"{request_key}:{pk}" for pk in unique}
    with transaction.atomic():
        before = {call.recipient_id for call in _calls_with(key_of.values())}
        new = [recipient for pk, recipient in unique.items() if pk not in before]
        sorted_out = preview(new, agent, now=now)
        calls = [_new_call(r, agent, by, key_of[r.pk], now) for r in sorted_out.callable]
        # Whoever loses a race against the same request, or against another one for the same
        # number, inserts nothing: the unique constraints decide. In one order, so that two
        # requests never wait for each other.
        Call.objects.bulk_create(sorted(calls, key=_number_of), ignore_conflicts=True)
        stored = _calls_with(key_of.values())
        ours = {call.pk for call in calls}
        queued = [call for call in stored if call.pk in ours]
        repeated = [call for call in stored if call.pk not in ours]
        beaten = [Skipped(r, "is on a call already") for r in sorted_out.callable]
        there = {call.recipient_id for call in stored}
        skipped = [s for s in sorted_out.skipped + beaten if s.recipient.pk not in there]
        for call in queued:
            data = {"by": getattr(by, "pk", None)}
            progress.note_event(call, "queued", "queued", at=now, data=data)
        kick_on_commit(tasks.place_call, *(call.pk for call in queued))
    if queued:
        logger.info("%d calls queued for agent %s", len(queued), agent.pk)
    return Requested(queued, skipped, repeated)


def _calls_with(request_keys: Iterable[str]) -> list[Call]:
    return list(
        Call.objects.filter(request_key__in=list(request_keys))
        .select_related("recipient", "agent")
        .order_by("created_at", "pk")
    )


def _number_of(call: Call) -> str:
    return call.to_number


def _new_call(recipient: Recipient, agent: Agent, by: User | None, key: str, now: datetime) -> Call:
    return Call(
        agent=agent,
        recipient=recipient,
        requested_by=by,
        request_key=key,
        to_number=recipient.phone,
        from_number=settings.TWILIO_PHONE_NUMBER,
        brief=agents.brief_for(agent, recipient).to_json(),
        not_before=now,
    )


# --- Claim, dial, record ------------------------------------------------------------------------
def place(call_id: UUID | str) -> None:
    """Dial one queued call, unless somebody else does or a rule forbids it."""
    call = claim(call_id)
    if call is None:
        return
    failpoint("dial.after_claim")
    if call.lease_expires_at is not None and timezone.now() >= call.lease_expires_at:
        # This process stood still. By now Twilio may have been asked about the call, and another
        # worker may dial it.
        logger.warning("call %s: claimed too long ago to be dialled", call.pk)
        give_back(call, 0)
        return
    try:
        sid = gateway.dial(call)
    except gateway.Throttled as exc:
        logger.warning("call %s: not dialled yet: %s", call.pk, exc)
        give_back(call, backoff_s(call, timezone.now()))
    except gateway.OutcomeUnknown as exc:
        logger.warning("call %s: Twilio's answer was lost: %s", call.pk, exc)
        record_unknown(call.token)
    except gateway.Rejected as exc:
        if exc.is_account_problem:
            pause_dialling(str(exc.code or exc.http_status), str(exc.explanation))
            give_back(call, 0)
        else:
            record_rejected(call.token, str(exc.code or exc.http_status), str(exc.explanation))
    else:
        failpoint("dial.after_post")
        failpoint("dial.before_record")
        if record_accepted(call.token, sid) is None:
            _end_surplus(call, sid)


def _end_surplus(call: Call, sid: str) -> None:
    """The row went another way meanwhile: nobody may talk on a call that we do not know."""
    logger.error("call %s: ending the surplus call %s", call.pk, sid)
    try:
        gateway.hang_up(sid)
    except gateway.GatewayError as exc:
        # Should it be answered, its webhooks find no call of ours, and Twilio ends it.
        logger.error("call %s: %s may still be live: %s", call.pk, sid, exc)  # noqa: TRY400


def claim(call_id: UUID | str, *, now: datetime | None = None) -> Call | None:
    """Take a due call for dialling, or None: taken, not due, paused, or no longer allowed.

    The rules are checked here, in the transaction that takes the call, because this is the last
    moment before dialling. A call that may not be made any more ends here.
    """
    now = now or timezone.now()
    with transaction.atomic():
        call = (
            Call.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("recipient")
            .filter(pk=call_id, status=Status.QUEUED, twilio_sid=None, not_before__lte=now)
            .first()
        )
        if call is None or rules.is_paused():
            return None
        if not _still_allowed(call, now):
            return None
        taken = Call.objects.filter(pk=call.pk, status=Status.QUEUED).update(
            status=Status.DIALING,
            claimed_at=Coalesce("claimed_at", now),
            lease_expires_at=now + lease(),
            checked_at=None,
            dial_attempts=F("dial_attempts") + 1,
            revision=F("revision") + 1,
        )
        if not taken:
            return None
        call.refresh_from_db()
        progress.note_event(call, f"dialing:{call.dial_attempts}", "dialing", at=now)
        live.hint_on_commit(call.pk)
    return call


def lease() -> timedelta:
    """How long a worker may take to ask Twilio and store the answer."""
    return timedelta(seconds=gateway.CONNECT_TIMEOUT_S + 2 * settings.TWILIO_TIMEOUT_S + 5)


def _still_allowed(call: Call, now: datetime) -> bool:
    if call.hangup_requested_at is not None:
        # Asked for while an earlier attempt was under way; whoever gave the call back was killed
        # before cancelling it, or overtaken.
        progress.advance(call.pk, Status.CANCELED, at=now, key="canceled")
        return False
    if DoNotCall.objects.filter(phone=call.to_number).exists():
        _forbid(call, Status.BLOCKED, "The number is on the do-not-call list.", now)
        return False
    verdict = rules.hours_verdict(call.recipient, call.to_number, now)
    if verdict.allowed:
        return True
    status = Status.BLOCKED if verdict.next_allowed is None else Status.EXPIRED
    _forbid(call, status, f"The person {verdict.reason}.", now)
    return False


def _forbid(call: Call, status: Status, why: str, now: datetime) -> None:
    progress.advance(
        call.pk, status, at=now, end_reason=EndReason.NOT_ALLOWED, end_detail=why[:500]
    )


def backoff_s(call: Call, now: datetime) -> float:
    """How long to wait before asking again: about as long as we have been trying, with jitter."""
    tried_s = (now - (call.claimed_at or now)).total_seconds()
    return min(_MAX_BACKOFF_S, max(1.0, tried_s)) * _random.uniform(0.5, 1.5)


def give_back(call: Call, delay_s: float) -> bool:
    """Return a claimed call that was certainly not dialled; it counts as no attempt."""
    now = timezone.now()
    returned = Call.objects.filter(
        pk=call.pk, status=Status.DIALING, dial_attempts=call.dial_attempts, twilio_sid=None
    ).update(
        status=Status.QUEUED,
        not_before=now + timedelta(seconds=delay_s),
        lease_expires_at=None,
        dial_attempts=F("dial_attempts") - 1,
        revision=F("revision") + 1,
    )
    if returned:
        # The same attempt will be made again, under the same number.
        call.events.filter(key=f"dialing:{call.dial_attempts}").delete()
        live.hint_on_commit(call.pk)
        _cancel_if_unwanted(call.pk)
    return bool(returned)


def record_accepted(token: str, sid: str) -> Call | None:
    """Store that Twilio created the call; None if the row does not want this SID."""
    return progress.bind(token, sid)


def record_rejected(token: str, code: str, message: str) -> bool:
    """Store that Twilio refused the call for good."""
    call = Call.objects.filter(token=token, twilio_sid=None).first()
    return call is not None and progress.advance(
        call.pk,
        Status.FAILED,
        at=timezone.now(),
        key="rejected",
        end_reason=EndReason.REJECTED,
        error_code=code,
        end_detail=message[:500],
    )


def record_unknown(token: str, *, now: datetime | None = None) -> bool:
    """Store that nobody knows whether Twilio created the call: it is settled before any new dial.

    From now on it is asked for; after the grace period, silence means that there is no call.
    """
    now = now or timezone.now()
    changed = Call.objects.filter(token=token, status=Status.DIALING, twilio_sid=None).update(
        status=Status.UNKNOWN,
        lease_expires_at=now + timedelta(seconds=settings.UNKNOWN_GRACE_S),
        revision=F("revision") + 1,
    )
    if changed:
        call = Call.objects.get(token=token)
        progress.note_event(call, f"unknown:{call.dial_attempts}", "unknown", at=now)
        live.hint_on_commit(call.pk)
    return bool(changed)


def requeue(call: Call, now: datetime) -> bool:
    """Queue an unknown call again, of which Twilio knows nothing; after five times it failed."""
    if call.dial_attempts >= MAX_DIAL_ATTEMPTS:
        tried = f"Dialling was tried {call.dial_attempts} times and never came through."
        return progress.give_up(call.pk, f"{tried} See the worker's log.", at=now)
    queued = Call.objects.filter(
        pk=call.pk,
        status=Status.UNKNOWN,
        twilio_sid=None,
        dial_attempts=call.dial_attempts,
    ).update(
        status=Status.QUEUED, not_before=now, lease_expires_at=None, revision=F("revision") + 1
    )
    if queued:
        logger.info("call %s: Twilio has no such call, queued again", call.pk)
        progress.note_event(call, f"requeued:{call.dial_attempts}", "queued", at=now)
        live.hint_on_commit(call.pk)
        if not _cancel_if_unwanted(call.pk):
            kick_on_commit(tasks.place_call, call.pk)
    return bool(queued)


def _cancel_if_unwanted(call_id: UUID) -> bool:
    """Cancel a call whose end was asked for while nobody knew whether it had begun."""
    wanted = Call.objects.filter(pk=call_id, hangup_requested_at__isnull=False)
    return wanted.exists() and hang_up(Call.objects.get(pk=call_id), by=None)


# --- Stop and go --------------------------------------------------------------------------------
def hang_up(call: Call, *, by: User | None) -> bool:
    """End a call in whatever state it is; False if it is over already."""
    return progress.request_hang_up(call.pk, by=by)


def pause_dialling(code: str, reason: str) -> None:
    """Stop all dialling until somebody lifts the pause; calls that are live go on."""
    try:
        with transaction.atomic():
            DialingPause.objects.create(error_code=code, reason=reason[:300])
    except IntegrityError:
        return  # paused for this cause already
    logger.error("dialling is paused: %s (code %s)", reason, code)


def lift_pauses(*, by: User | None) -> int:
    """Let dialling go on; returns how many pauses were lifted."""
    lifted = DialingPause.objects.filter(lifted_at=None).update(
        lifted_at=timezone.now(), lifted_by=by
    )
    if lifted:
        sweep(timezone.now())
    return lifted


def sweep(now: datetime) -> int:
    """Kick the calls that are due and that nobody has taken; returns how many."""
    if rules.is_paused():
        return 0
    due = Call.objects.filter(status=Status.QUEUED, twilio_sid=None, not_before__lte=now)
    ids = list(due.order_by("not_before", "created_at").values_list("pk", flat=True)[:SWEEP_SIZE])
    kick_on_commit(tasks.place_call, *ids)
    return len(ids)
