"""Finds out what became of calls that have been silent for too long, and mends the row.

Two kinds: calls of which nobody knows whether Twilio created them, found by number and time; and
calls at Twilio whose callbacks were lost, asked for by SID.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from calls import gateway, tasks
from calls.core.brief import Brief
from calls.core.lifecycle import AT_TWILIO, EndReason, Status
from calls.kicks import kick_on_commit
from calls.models import Call
from calls.services import costs, placing, progress

logger = logging.getLogger(__name__)

BATCH: Final = 20
# Clocks differ, and Twilio's times are whole seconds.
CLOCK_SLACK: Final = timedelta(seconds=30)
ASK_UNKNOWN_EVERY: Final = timedelta(seconds=4)
ASK_LIVE_EVERY: Final = timedelta(seconds=60)
# Sooner for a call of which something tells us that it should be over.
ASK_ENDING_EVERY: Final = timedelta(seconds=10)
OVERTIME: Final = timedelta(minutes=1)
GIVE_UP_AFTER: Final = timedelta(minutes=4)
# The conversation's last turns and tokens are written a moment after the call ends.
NEWS_AFTER_THE_END: Final = timedelta(seconds=20)
FINISHING: Final = timedelta(minutes=10)
PRICE_PATIENCE: Final = timedelta(hours=24)


def settle(now: datetime) -> None:
    """Mend what lost answers, lost callbacks and lost workers have left behind."""
    _give_up_expired_leases(now)
    _finish_what_ended(now)
    for calls, every, ask in (
        (_unknown(), ASK_UNKNOWN_EVERY, settle_unknown),
        (_ending(), ASK_ENDING_EVERY, settle_at_twilio),
        (_at_twilio(), ASK_LIVE_EVERY, settle_at_twilio),
    ):
        for call in _take(calls, now, every):
            if not _asked(ask, call, now):
                return


def _asked(ask: Callable[[Call, datetime], None], call: Call, now: datetime) -> bool:
    """Ask about one call; False if to ask about others would be in vain as well."""
    try:
        ask(call, now)
    except (gateway.Throttled, gateway.OutcomeUnknown) as exc:
        # Every further question would cost the same timeout: the next tick asks again.
        logger.warning("Twilio does not answer, settling goes on later: %s", exc)
        return False
    except gateway.Rejected as exc:
        if exc.is_account_problem:
            placing.pause_dialling(str(exc.code or exc.http_status), str(exc.explanation))
            return False
        # The others must not wait for a call that Twilio will not tell about.
        logger.error("call %s: Twilio does not tell about it: %s", call.pk, exc)  # noqa: TRY400
    return True


def _unknown() -> QuerySet[Call]:
    return Call.objects.filter(status=Status.UNKNOWN, twilio_sid=None)


def _at_twilio() -> QuerySet[Call]:
    return Call.objects.filter(status__in=AT_TWILIO, twilio_sid__isnull=False)


def _ending() -> QuerySet[Call]:
    return _at_twilio().filter(
        Q(hangup_requested_at__isnull=False)
        | Q(conversation_ended_at__isnull=False)
        | Q(stream_closed_at__isnull=False)
    )


def _take(calls: QuerySet[Call], now: datetime, every: timedelta) -> list[Call]:
    """Of these calls, the ones whose turn it is; another worker then leaves them alone."""
    due = calls.filter(
        Q(checked_at__lt=now - every) | Q(checked_at=None, claimed_at__lt=now - every)
    ).order_by(F("checked_at").asc(nulls_first=True))
    return [
        call
        for call in due[:BATCH]
        if Call.objects.filter(pk=call.pk, checked_at=call.checked_at).update(checked_at=now)
    ]


def _finish_what_ended(now: datetime) -> None:
    """Kick what follows the end of a call: while news may still come in, and if a kick was lost."""
    ended = Call.objects.filter(answered_at__isnull=False, ended_at__gte=now - FINISHING)
    young = Q(ended_at__gte=now - NEWS_AFTER_THE_END) | Q(estimated_cost=None)
    ids = ended.filter(young).order_by("-ended_at").values_list("pk", flat=True)
    kick_on_commit(tasks.finish_call, *ids[:BATCH])


# --- Calls that may or may not exist ------------------------------------------------------------
def _give_up_expired_leases(now: datetime) -> None:
    """A worker that has not reported by now is dead, before or after it asked Twilio."""
    expired = Call.objects.filter(status=Status.DIALING, lease_expires_at__lt=now)
    for call in expired.order_by("lease_expires_at")[:BATCH]:
        logger.warning("call %s: its worker is gone, asking Twilio what it did", call.pk)
        placing.record_unknown(call.token, now=now)


def settle_unknown(call: Call, now: datetime) -> None:
    """Look for the call at Twilio: bind the one that fits, or queue it again after the grace."""
    since = (call.claimed_at or call.created_at) - CLOCK_SLACK
    found = gateway.find_calls(call.to_number, call.from_number, since)
    taken = set(
        Call.objects.filter(twilio_sid__in=[f.sid for f in found]).values_list(
            "twilio_sid", flat=True
        )
    )
    candidates = [f for f in found if f.sid not in taken]
    if len(candidates) == 1:
        _bind(call, candidates[0], now)
    elif candidates:
        _leave_to_a_person(call, len(candidates), now)
    elif call.lease_expires_at is None or now >= call.lease_expires_at:
        placing.requeue(call, now)


def _bind(call: Call, found: gateway.TwilioCall, now: datetime) -> None:
    logger.info("call %s: found at Twilio as %s", call.pk, found.sid)
    bound = progress.bind(call.token, found.sid)
    if bound is not None:
        _apply(bound, found, now)


def _leave_to_a_person(call: Call, count: int, now: datetime) -> None:
    detail = (
        f"Twilio shows {count} calls to this number at that time, and we cannot tell which is"
        " ours. Look them up in the Twilio console."
    )
    if progress.note_event(call, "ambiguous", "ambiguous", at=now, note=detail):
        logger.error("call %s: %s", call.pk, detail)
        Call.objects.filter(pk=call.pk, end_detail="").update(end_detail=detail)
        progress.bump(call.pk)
    # Since this attempt became unknown: the first one may lie hours back.
    since = (call.lease_expires_at or now) - timedelta(seconds=settings.UNKNOWN_GRACE_S)
    if now > since + _longest(call) + GIVE_UP_AFTER:
        progress.give_up(call.pk, at=now)


# --- Calls whose callbacks were lost ------------------------------------------------------------
def settle_at_twilio(call: Call, now: datetime) -> None:
    """Ask Twilio how the call is doing, and apply the answer."""
    found = gateway.fetch_call(call.twilio_sid or "")
    if found is None:
        logger.error("call %s: Twilio knows no call %s", call.pk, call.twilio_sid)
        progress.give_up(call.pk, "Twilio does not know this call any more.", at=now)
        return
    _apply(call, found, now)
    call.refresh_from_db()
    if call.state.is_terminal:
        return
    if call.hangup_requested_at is not None:
        hang_up_at_twilio(call.pk)
    elif _is_overdue(call, found, now):
        logger.error("call %s: is longer than it may be, ending it", call.pk)
        progress.request_hang_up(call.pk, reason=EndReason.MAX_DURATION)


def _is_overdue(call: Call, found: gateway.TwilioCall, now: datetime) -> bool:
    """Whether the phone has been in use longer than any conversation may take.

    Counted from when Twilio began to dial. Before that a call may wait for hours, here for the end
    of a pause or there for its turn, and disturb nobody.
    """
    began = found.started_at or call.answered_at
    return began is not None and now > began + _longest(call) + OVERTIME


def _apply(call: Call, found: gateway.TwilioCall, now: datetime) -> None:
    status = progress.twilio_status(found.status)
    if status is None:
        logger.error("call %s: unknown status %r", call.pk, found.status)
        return
    if status.rank <= call.state.rank:
        return
    times = {Status.IN_PROGRESS: found.started_at, Status.INITIATED: found.created_at}
    at = times.get(status) or (found.ended_at if status.is_terminal else None) or now
    if status is Status.COMPLETED and found.ended_at and found.duration_s is not None:
        # Its start is when Twilio dialled; the duration counts from the answer.
        answered_at = found.ended_at - timedelta(seconds=found.duration_s)
        Call.objects.filter(pk=call.pk, answered_at=None).update(answered_at=answered_at)
    progress.advance(
        call.pk,
        status,
        at=at,
        key=f"fetched:{status}",
        data={"source": "settled", "status": found.status},
        duration_s=found.duration_s,
        answered_by=found.answered_by,
    )


def _longest(call: Call) -> timedelta:
    """The longest that a call may take from its dialling to its end."""
    talk_s = Brief.from_json(call.brief).max_duration_s + gateway.TIME_LIMIT_MARGIN_S
    return timedelta(seconds=settings.RING_TIMEOUT_S + talk_s)


def hang_up_at_twilio(call_id: UUID | str) -> None:
    """End a call at Twilio whose end was asked for; what fails is tried again by `settle`."""
    call = _at_twilio().filter(pk=call_id, hangup_requested_at__isnull=False).first()
    if call is None or call.twilio_sid is None:
        return
    try:
        if gateway.hang_up(call.twilio_sid):
            return
        # It was over before: its last callback may have been lost.
        found = gateway.fetch_call(call.twilio_sid)
    except gateway.GatewayError as exc:
        logger.warning("call %s: not hung up yet: %s", call.pk, exc)
        return
    if found is not None:
        _apply(call, found, timezone.now())


# --- Prices -------------------------------------------------------------------------------------
def ask_prices(now: datetime) -> None:
    """Ask for the final price of ended calls until Twilio has set it, for a day at most."""
    unpriced = Call.objects.filter(
        status=Status.COMPLETED,
        twilio_sid__isnull=False,
        twilio_price=None,
        ended_at__gte=now - PRICE_PATIENCE,
    )
    due = unpriced.filter(
        Q(price_checked_at=None)
        | Q(price_checked_at__lt=now - timedelta(minutes=1), ended_at__gte=now - timedelta(hours=1))
        | Q(price_checked_at__lt=now - timedelta(minutes=15))
    ).order_by(F("price_checked_at").asc(nulls_first=True))
    for call in due[:BATCH]:
        taken = Call.objects.filter(pk=call.pk, price_checked_at=call.price_checked_at)
        if taken.update(price_checked_at=now) and not _ask_price(call):
            return


def _ask_price(call: Call) -> bool:
    """Store the price if there is one; False if Twilio does not answer."""
    try:
        found = gateway.fetch_call(call.twilio_sid or "")
    except gateway.GatewayError as exc:
        logger.warning("call %s: no price yet: %s", call.pk, exc)
        return False
    if found is not None and found.price is not None:
        Call.objects.filter(pk=call.pk, twilio_price=None).update(
            twilio_price=found.price, twilio_price_unit=found.price_unit
        )
        # What is stored as the call's cost holds the bill, whether that or the recording came last.
        if not costs.refresh_estimate(call.pk):
            progress.bump(call.pk)
    return True
