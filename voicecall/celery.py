"""The Celery application: workers do what may take long, beat ticks the sweeps."""

from __future__ import annotations

import os
import sys

from celery import Celery, signals

from voicecall import folder_queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voicecall.settings")

folder_queue.install()
app = Celery("voicecall")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.worker_init.connect
@signals.beat_init.connect
def _refuse_misfits(**_: object) -> None:
    # They need the settings and the app registry, which are there when these signals come.
    from voicecall.environment import Faults
    from voicecall.start import refuse_misfits

    try:
        refuse_misfits()
    except Faults as faults:
        # Celery logs what a receiver raises and goes on; an exit it lets through.
        sys.exit(str(faults))
