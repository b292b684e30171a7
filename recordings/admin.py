"""Recordings as staff find them: to look at, never to edit."""

from __future__ import annotations

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from calls import localtime
from calls.admin_base import ReadOnlyAdmin
from recordings.models import Recording, RecordingStatus


@admin.register(Recording)
class RecordingAdmin(ReadOnlyAdmin[Recording]):
    """A list of recordings by how far they have come; they change by themselves."""

    list_display = ["call_page", "created_at", "shown_status", "length", "problem"]
    list_display_links = ["created_at"]
    list_filter = ["status", "created_at"]
    list_select_related = ["call__recipient"]
    search_fields = ["recording_sid", "call__twilio_sid", "call__recipient__name"]
    list_fullwidth = True
    readonly_fields = ["call_page", "length"]
    fieldsets = [
        (None, {"fields": ["call_page", "created_at", "status", "length", "problem"]}),
        (
            "For engineers",
            {
                "fields": [
                    "recording_sid", "error_code", "channels", "rate_hz", "size_bytes", "sha256",
                    "attempts", "not_before", "lease_expires_at", "ready_at",
                    "delete_requested_at", "deleted_at_twilio_at",
                ],
                "classes": ["collapse"],
            },
        ),
    ]  # fmt: skip
    empty_text = "Every answered call is recorded. Its recording appears here when Twilio has it."
    empty_link = "admin:calls_call_changelist"
    empty_link_text = "Look at the calls"

    @admin.display(description="Call")
    def call_page(self, recording: Recording) -> SafeString:
        url = reverse("call-page", args=[recording.call_id])
        return format_html('<a class="calls-link" href="{}">{}</a>', url, recording.call)

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

    @admin.display(description="Length", ordering="duration_ms", empty_value="–")
    def length(self, recording: Recording) -> str | None:
        if recording.duration_ms is None:
            return None
        return localtime.clock(recording.duration_ms // 1000)
