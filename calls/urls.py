"""Addresses of the calls app: staff's pages, Twilio's reports, health."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from calls import health, views

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("calls.urls_webhooks")),
    path("healthz", health.live, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    path("calls/new", views.confirm, name="call-confirm"),
    path("calls/<uuid:call_id>/", views.call_page, name="call-page"),
    path("calls/<uuid:call_id>/feed", views.call_feed, name="call-feed"),
    path("calls/<uuid:call_id>/hang-up", views.call_hang_up, name="call-hang-up"),
    path("agents/preview", views.agent_preview, name="agent-preview"),
    path("agents/preview/recipients", views.preview_recipients, name="preview-recipients"),
    path("dialling/resume", views.resume_dialling, name="dialling-resume"),
]
