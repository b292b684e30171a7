"""What becomes of a call: status reports, the answer, the end.

Reports come late, twice and out of order. Each is kept as an event; it moves the status only
upwards in rank, and fills in only what was not known. So any order of the same reports leaves
the same row.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Value, When
from django.utils import timezone

from calls import live, tasks
from calls.core.lifecycle import AT_TWILIO, TERMINAL, EndReason, Status, may_follow
from calls.core.twilio_errors import explain, explain_sip
from calls.kicks import kick_on_commit
from calls.models import Call, CallEvent, QuarantinedEvent

logger = logging.getLogger(__name__)

MAX_QUARANTINED: Final = 1000
# Twilio's words that are not ours.
_ONLY_OURS: Final = {Status.DIALING, Status.UNKNOWN, Status.BLOCKED, Status.EXPIRED}
_TWILIO_STATUS: Final = {
    **{status.value: status for status in Status if status not in _ONLY_OURS},
    "queued": Status.INITIATED,
}
_TIME_OF: Final = {
    Status.INITIATED: "initiated_at",
    Status.RINGING: "ringing_at",
    Status.IN_PROGRESS: "answered_at",
    **dict.fromkeys(TERMINAL, "ended_at"),
}
# What we conclude from the end of a call alone; the conversation itself may know better.
_INFERRED: Final = frozenset({"", EndReason.RECIPIENT_HUNG_UP, EndReason.NOT_REACHED})
# A time that Twilio reports is believed if it lies this close to ours.
_MAX_CLOCK_DIFFERENCE: Final = timedelta(days=1)


class Facts(TypedDict, total=False):
    """What else a report may say about a call; each is stored once."""

    answered_by: str
    duration_s: int | None
    sip_code: str
    error_code: str
    end_reason: EndReason
    end_detail: str


def twilio_status(word: str) -> Status | None:
    """Our status for Twilio's word, or None if the word is new to us."""
    return _TWILIO_STATUS.get(word)


def bump(call_id: UUID | str) -> None:
    """Note that staff can see something new about the call, and tell open pages."""
    Call.objects.filter(pk=call_id).update(revision=F("revision") + 1)
    live.hint_on_commit(call_id)


def note_event(
    call: Call,
    key: str,
    kind: str,
    *,
    at: datetime,
    data: Mapping[str, Any] | None = None,
    note: str = "",
) -> bool:
    """Add an entry to the call's timeline; False if it has one of this `key` already."""
    _, is_new = CallEvent.objects.get_or_create(
        call=call,
        key=key[:120],
        defaults={"kind": kind, "at": at, "data": dict(data or {}), "note": note[:200]},
    )
    return is_new


def advance(
    call_id: UUID | str,
    status: Status,
    *,
    at: datetime,
    key: str = "",
    data: Mapping[str, Any] | None = None,
    guess: bool = False,
    exact: bool = False,
    **facts: Unpack[Facts],
) -> bool:
    """Apply a report that the call reached `status` at `at`; True if the status moved.

    `key` names the report, so that a repetition changes nothing (default: one report per status).
    `guess` marks a terminal status that Twilio has not confirmed: its own report replaces it.
    `exact` marks Twilio's own time of the change: it replaces what we took for that time.
    """
    with transaction.atomic():
        call = Call.objects.select_for_update().filter(pk=call_id).first()
        if call is None:
            return False
        replaces = call.end_is_guess and status.is_terminal and not guess
        moves = call.state.rank < status.rank or replaces
        note = "" if moves else _why_not(call.state, status)
        if not note_event(call, key or f"status:{status}", "status", at=at, data=data, note=note):
            return False
        changes = _without_guess(call) if replaces else {}
        if guess and call.end_reason not in _INFERRED:
            facts.pop("end_reason", None)  # what is known counts for more
        changes |= _changes(call, status, at, facts, replaces=replaces, exact=exact)
        if moves:
            changes |= {"status": status, "end_is_guess": guess and status.is_terminal}
        from_ = TERMINAL if replaces else may_follow(status) if moves else frozenset(Status)
        Call.objects.filter(pk=call.pk, status__in=from_).update(
            **changes, revision=F("revision") + 1
        )
        live.hint_on_commit(call.pk)
        if moves and status.is_terminal:
            kick_on_commit(tasks.finish_call, call.pk)
    if moves:
        logger.info("call %s: %s", call_id, status)
    elif note.startswith("conflicts"):
        logger.warning("call %s: reported %s, which %s", call_id, status, note)
    return moves


def give_up(call_id: UUID, detail: str = "", *, at: datetime) -> bool:
    """Count a call as failed because nothing tells what became of it; True if the status moved.

    Twilio's own report, should it come after all, replaces this.
    """
    return advance(
        call_id,
        Status.FAILED,
        at=at,
        key="guess:failed",
        guess=True,
        end_reason=EndReason.INTERNAL_ERROR,
        end_detail=detail,
    )


def _why_not(current: Status, reported: Status) -> str:
    if current == reported:
        return "known already"
    if current.is_terminal and reported.is_terminal:
        return f"conflicts with {current}"
    return "late"


def _without_guess(call: Call) -> dict[str, Any]:
    """Take back why a guess believed that the call had ended; others who told why knew it."""
    if call.conversation_ended_at is not None:
        return {}
    call.end_detail = ""
    if call.end_reason == EndReason.INTERNAL_ERROR:
        call.end_reason = ""
    return {"end_reason": call.end_reason, "end_detail": call.end_detail}


def _changes(
    call: Call, status: Status, at: datetime, facts: Facts, *, replaces: bool, exact: bool
) -> dict[str, Any]:
    """The columns that a report fills: those still empty, unless it replaces a guess."""
    if status.is_terminal and call.state.is_terminal and call.state != status and not replaces:
        return {}
    found: dict[str, Any] = {
        name: value for name, value in facts.items() if value not in ("", None)
    }
    column = _TIME_OF.get(status, "")
    if column:
        found[column] = at
    if status.is_terminal:
        reason = _reason(call, status, found.pop("end_reason", None))
        if reason != call.end_reason:
            found["end_reason"] = reason
    final = {"end_reason", column if exact else ""}
    return {
        name: value
        for name, value in found.items()
        if replaces or name in final or getattr(call, name) in ("", None)
    }


def _reason(call: Call, status: Status, given: EndReason | None) -> str:
    """Why the call ended, as far as its last status and what is stored can tell."""
    if status is Status.COMPLETED and call.end_reason == EndReason.CANCELED:
        return EndReason.STAFF_HUNG_UP  # it was answered before the cancellation arrived
    if given is not None:
        return given
    if call.conversation_ended_at or call.end_reason not in _INFERRED:
        return call.end_reason
    if status is Status.COMPLETED:
        return EndReason.RECIPIENT_HUNG_UP
    if status is Status.CANCELED:
        return EndReason.CANCELED
    if status in (Status.BLOCKED, Status.EXPIRED):
        return EndReason.NOT_ALLOWED
    return EndReason.NOT_REACHED


# --- Twilio's reports ---------------------------------------------------------------------------
def bind(token: str, sid: str) -> Call | None:
    """The call that `token` names, if it is the one that Twilio calls `sid`.

    The first signed callback with the token tells us the SID, should we never have got to save
    it. None: unknown token, a call with another SID, or one that is over without ever having had
    one.
    """
    call = Call.objects.filter(token=token).first()
    if call is None or call.twilio_sid == sid:
        return call
    if call.twilio_sid is not None:
        logger.error("call %s: is %s, but a callback names %s", call.pk, call.twilio_sid, sid)
        return None
    try:
        with transaction.atomic():
            _store_sid(call, sid)
    except IntegrityError:
        logger.error("call %s: %s belongs to another call", call.pk, sid)  # noqa: TRY400
        return None
    call.refresh_from_db()
    return call if call.twilio_sid == sid else None


def _store_sid(call: Call, sid: str) -> None:
    waiting = may_follow(Status.INITIATED)
    bound = (
        Call.objects.filter(pk=call.pk, twilio_sid=None)
        .exclude(status__in=TERMINAL, end_is_guess=False)
        .update(
            twilio_sid=sid,
            lease_expires_at=None,
            # Twilio's list lags behind: it is not asked about a call that it has only just made.
            checked_at=timezone.now(),
            # What staff were told while nobody knew which call it was.
            end_detail="",
            status=Case(
                When(status__in=waiting, then=Value(Status.INITIATED.value)), default=F("status")
            ),
            revision=F("revision") + 1,
        )
    )
    if not bound:
        return
    note_event(call, "bound", "bound", at=timezone.now(), data={"CallSid": sid})
    live.hint_on_commit(call.pk)
    hang_up_wanted = Call.objects.filter(pk=call.pk, hangup_requested_at__isnull=False)
    if hang_up_wanted.exists():
        kick_on_commit(tasks.hang_up_call, call.pk)


def report_status(call: Call, params: Mapping[str, str]) -> bool:
    """Apply a status callback (fields as Twilio posts them); True if the status moved.

    Source: Twilio, Call resource, "StatusCallback parameters".
    """
    word = params["CallStatus"]
    at = reported_time(params.get("Timestamp", ""))
    status = twilio_status(word)
    if status is None:
        # A new word of Twilio's is ours to learn; an HTTP error would only fill its debugger.
        logger.error("call %s: unknown CallStatus %r", call.pk, word)
        if note_event(call, f"status:{word}", "status", at=at, data=params, note="unknown status"):
            bump(call.pk)
        return False
    ended = _end_facts(params) if status.is_terminal else Facts()
    # A request for TwiML says the status too, but not since when: it must not pass for the report.
    exact = "Timestamp" in params
    key = f"{'status' if exact else 'twiml'}:{word}"
    return advance(call.pk, status, at=at, key=key, data=params, exact=exact, **ended)


def _end_facts(params: Mapping[str, str]) -> Facts:
    duration = _digits(params, "CallDuration", 6)
    sip_code = _digits(params, "SipResponseCode", 3)
    error = _digits(params, "ErrorCode", 6)
    facts = Facts(
        duration_s=int(duration) if duration else None,
        sip_code=sip_code,
        error_code=error,
        answered_by=params.get("AnsweredBy", "")[:24],
    )
    if error:
        facts["end_detail"] = str(explain(int(error), params.get("ErrorMessage", "")))[:500]
    elif params["CallStatus"] != Status.COMPLETED:
        facts["end_detail"] = explain_sip(sip_code)
    return facts


def _digits(params: Mapping[str, str], name: str, most: int) -> str:
    value = params.get(name, "")
    return value if re.fullmatch(rf"[0-9]{{1,{most}}}", value) else ""


def reported_time(text: str) -> datetime:
    """The time in a callback (RFC 2822), or ours where it is missing or not to be believed."""
    now = timezone.now()
    try:
        at = parsedate_to_datetime(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return now
    return at if abs(at - now) < _MAX_CLOCK_DIFFERENCE else now


def report_answered_by(call: Call, params: Mapping[str, str]) -> bool:
    """Store who picked up; True if it was a machine and the call is to be hung up.

    Source: Twilio, "Answering machine detection", AsyncAmdStatusCallback.
    """
    answered_by = params["AnsweredBy"]
    is_machine = is_machine_answer(answered_by)
    with transaction.atomic():
        locked = Call.objects.select_for_update().get(pk=call.pk)
        is_new = note_event(locked, "amd", "amd", at=timezone.now(), data=params)
        if not is_new:
            return False
        Call.objects.filter(pk=call.pk, answered_by="").update(answered_by=answered_by)
        bump(call.pk)
        if not is_machine or locked.state.is_terminal:
            return False
        _want_hang_up(locked, EndReason.VOICEMAIL)
    logger.info("call %s: answered by %s, hanging up", call.pk, answered_by)
    return True


def is_machine_answer(answered_by: str) -> bool:
    """Whether Twilio's word for who picked up means nobody to talk to."""
    return answered_by == "fax" or bool(re.match(r"machine_", answered_by))


# --- The end ------------------------------------------------------------------------------------
def end_conversation(call_id: UUID | str, reason: EndReason, detail: str, at: datetime) -> bool:
    """Store why the conversation ended, as its own side tells it; the first report wins.

    It replaces what only the call's status made us believe. It does not replace what we know for
    certain: that staff hung up, or that we hung up on a machine.
    """
    with transaction.atomic():
        call = Call.objects.select_for_update().filter(pk=call_id).first()
        if call is None or call.conversation_ended_at is not None:
            return False
        changes: dict[str, Any] = {"conversation_ended_at": at}
        if call.end_reason in _INFERRED:
            changes |= {"end_reason": reason, "end_detail": detail[:500]}
        Call.objects.filter(pk=call.pk).update(**changes, revision=F("revision") + 1)
        data = {"reason": reason, "detail": detail[:500]}
        note_event(call, "conversation.ended", "conversation.ended", at=at, data=data)
        live.hint_on_commit(call.pk)
    logger.info("call %s: conversation ended: %s", call_id, reason)
    return True


def request_hang_up(
    call_id: UUID | str, *, by: User | None = None, reason: EndReason = EndReason.STAFF_HUNG_UP
) -> bool:
    """Have the call ended: at once where nobody has dialled, through Twilio where it is live."""
    with transaction.atomic():
        call = Call.objects.select_for_update().filter(pk=call_id).first()
        if call is None or call.state.is_terminal:
            return False
        if call.state is Status.QUEUED:
            at = timezone.now()
            data = {"by": getattr(by, "pk", None)}
            # Who asked first stays: the call may have been given back meanwhile.
            Call.objects.filter(pk=call.pk, hangup_requested_at=None).update(
                hangup_requested_at=at, hangup_requested_by=by
            )
            return advance(call.pk, Status.CANCELED, at=at, key="canceled", data=data)
        answered = call.state is Status.IN_PROGRESS
        _want_hang_up(call, reason if answered else EndReason.CANCELED, by=by)
    logger.info("call %s: hang-up requested", call_id)
    return True


def _want_hang_up(call: Call, reason: EndReason, *, by: User | None = None) -> None:
    at = timezone.now()
    asked = Call.objects.filter(pk=call.pk, hangup_requested_at=None).update(
        hangup_requested_at=at, hangup_requested_by=by, revision=F("revision") + 1
    )
    if asked:
        # What ends the call is known from here on, whatever its status reports make of it.
        Call.objects.filter(pk=call.pk, end_reason="").update(end_reason=reason)
        data = {"by": getattr(by, "pk", None), "reason": reason}
        note_event(call, "hang-up", "hang-up", at=at, data=data)
        live.hint_on_commit(call.pk)
    if call.state in AT_TWILIO:
        kick_on_commit(tasks.hang_up_call, call.pk)


def quarantine(path: str, params: Mapping[str, str]) -> None:
    """Keep a signed callback that fits no call of ours; the newest thousand are kept."""
    logger.warning("a signed callback fits no call: %s", path)
    QuarantinedEvent.objects.create(path=path[:200], params=dict(params))
    oldest = QuarantinedEvent.objects.order_by("-at", "-pk").values_list("pk", flat=True)
    surplus = list(oldest[MAX_QUARANTINED : MAX_QUARANTINED + 100])
    if surplus:
        QuarantinedEvent.objects.filter(pk__in=surplus).delete()
