"""The Celery application: workers do what may take long, beat ticks the sweeps."""

from __future__ import annotations

import os

from celery import Celery

from voicecall import folder_queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voicecall.settings")

folder_queue.install()
app = Celery("voicecall")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
