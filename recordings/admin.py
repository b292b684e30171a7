"""Recordings as staff find them: to look at, never to edit."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from recordings.models import Recording, RecordingStatus


@admin.register(Recording)
class RecordingAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """A list of recordings by how far they have come; they change by themselves."""

    list_display = ["created_at", "call_page", "shown_status", "length", "problem"]
    list_display_links = ["created_at"]
    list_filter = ["status", "created_at"]
    list_select_related = ["call__recipient"]
    list_per_page = 50
    search_fields = ["recording_sid", "call__twilio_sid", "call__recipient__name"]
    exclude = ["peaks", "file"]
    list_fullwidth = True

    @admin.display(description="Call")
    def call_page(self, recording: Recording) -> SafeString:
        url = reverse("call-page", args=[recording.call_id])
        return format_html('<a href="{}">{}</a>', url, recording.call)

    @display(  # type: ignore[untyped-decorator]
        description="Status",
        ordering="status",
        label={
            RecordingStatus.PENDING.label: "info",
            RecordingStatus.FETCHING.label: "info",
            RecordingStatus.READY.label: "success",
            RecordingStatus.ABSENT.label: "warning",
            RecordingStatus.REJECTED.label: "danger",
            RecordingStatus.FAILED.label: "danger",
        },
    )
    def shown_status(self, recording: Recording) -> str:
        return recording.get_status_display()

    @admin.display(description="Length", ordering="duration_ms")
    def length(self, recording: Recording) -> str:
        if recording.duration_ms is None:
            return "–"
        minutes, seconds = divmod(recording.duration_ms // 1000, 60)
        return f"{minutes}:{seconds:02}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
