"""Celery's door: each task calls a service, and is harmless however often it is delivered."""

from __future__ import annotations

import logging

from celery import shared_task
from django.utils import timezone

logger = logging.getLogger(__name__)


@shared_task(name="calls.tasks.place_call")
def place_call(call_id: str) -> None:
    """Dial one queued call: at most once, however often this is delivered or killed."""
    from calls.services.placing import place

    place(call_id)


@shared_task(name="calls.tasks.hang_up_call")
def hang_up_call(call_id: str) -> None:
    """Have Twilio end a call whose end was asked for."""
    from calls.services.settling import hang_up_at_twilio

    hang_up_at_twilio(call_id)


@shared_task(name="calls.tasks.finish_call")
def finish_call(call_id: str) -> None:
    """What follows the end of a call: its cost, as far as it is known."""
    from calls.services.costs import refresh_estimate

    refresh_estimate(call_id)


@shared_task(name="calls.tasks.sweep_due_calls")
def sweep_due_calls() -> None:
    """Start the calls that are due and whose kick was lost."""
    from calls.services.placing import sweep

    sweep(timezone.now())


@shared_task(name="calls.tasks.settle_calls")
def settle_calls() -> None:
    """Find out what became of calls that have been silent for too long."""
    from calls.services.settling import settle

    settle(timezone.now())


@shared_task(name="calls.tasks.poll_prices")
def poll_prices() -> None:
    """Ask Twilio what it charged, until it says so."""
    from calls.services.settling import ask_prices

    ask_prices(timezone.now())


@shared_task(name="calls.tasks.heartbeat")
def heartbeat() -> None:
    """Show that the scheduler ticks and a worker works."""
    from calls.models import Heartbeat

    Heartbeat.objects.update_or_create(name="beat", defaults={"at": timezone.now()})
