"""The addresses that Twilio posts reports about calls to."""

from __future__ import annotations

from django.urls import path

from calls import webhooks

urlpatterns = [
    path("api/twilio/status", webhooks.status, name="twilio-status"),
    path("api/twilio/amd", webhooks.answered_by, name="twilio-amd"),
]
