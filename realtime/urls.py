"""Addresses at which Twilio asks what to do with an answered call."""

from __future__ import annotations

from django.urls import path

from realtime import webhooks

urlpatterns = [
    path("api/twilio/voice", webhooks.voice, name="twilio-voice"),
    path("api/twilio/resume", webhooks.resume, name="twilio-resume"),
    path("api/twilio/fallback", webhooks.fallback, name="twilio-fallback"),
    path("api/twilio/stream-status", webhooks.stream_status, name="twilio-stream-status"),
]
