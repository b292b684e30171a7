"""Addresses of recordings: Twilio's reports, and what staff listen to."""

from __future__ import annotations

from django.urls import path

from recordings import views, webhooks

urlpatterns = [
    path("api/twilio/recording-status", webhooks.recording_status, name="twilio-recording-status"),
    path("calls/<uuid:call_id>/recording", views.audio, name="recording-audio"),
    path("calls/<uuid:call_id>/recording.json", views.info, name="recording-info"),
]
