"""Celery's door: each task calls a service, and is harmless however often it is delivered."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone


@shared_task(name="recordings.tasks.fetch_recording")
def fetch_recording(recording_id: int | str) -> None:
    """Bring the audio of one recording home, if it is due and nobody does so already."""
    from recordings import fetching

    fetching.fetch(int(recording_id))


@shared_task(name="recordings.tasks.find_recordings")
def find_recordings(call_id: str) -> None:
    """Ask Twilio for the recordings of a call whose callback never came."""
    from recordings import services

    services.search(call_id)


@shared_task(name="recordings.tasks.delete_at_twilio")
def delete_at_twilio(recording_id: int | str) -> None:
    """Delete Twilio's copy of a recording that is safe with us, if that is wanted."""
    from recordings import services

    services.delete_at_twilio(int(recording_id))


@shared_task(name="recordings.tasks.sweep_recordings")
def sweep_recordings() -> None:
    """Start whatever is due and was not started."""
    from recordings import services

    services.sweep(timezone.now())
