"""Wiring: settings, URLs, the ASGI application and Celery. No behaviour of its own."""

from voicecall.celery import app as celery_app

__all__ = ["celery_app"]
