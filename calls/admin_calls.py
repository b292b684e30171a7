"""Calls as the admin lists and keeps them; watching and hearing one is `views.call_page`."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import action as page_action
from unfold.decorators import display
from unfold.enums import ActionVariant

from calls import exports, localtime, words
from calls.admin_base import ReadOnlyAdmin
from calls.core.lifecycle import LIVE, Status
from calls.feed import money
from calls.models import Call, Turn


class TurnInline(TabularInline):  # type: ignore[misc]  # unfold has no types
    """What was said, as far as it was heard."""

    model = Turn
    fields = readonly_fields = ["at", "speaker", "text", "heard"]
    ordering = ["generation", "position", "id"]
    extra = 0
    can_delete = False
    show_change_link = False
    show_title = False
    if hasattr(TabularInline, "hide_title"):  # what older releases of the theme call it
        hide_title = True
    verbose_name_plural = "What was said"

    @admin.display(description="At")
    def at(self, turn: Turn) -> str:
        return localtime.clock(max(0, turn.started_ms) // 1000)

    @admin.display(description="Heard", empty_value="–")
    def heard(self, turn: Turn) -> str | None:
        if turn.heard_chars is None:
            return None
        heard = turn.text[: turn.heard_chars]
        return "all of it" if heard == turn.text else f"“{heard.strip()}”" if heard else "nothing"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("calls.view_call")


class StateFilter(admin.SimpleListFilter):
    """What staff look for first."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("live", "On the line or waiting"), ("today", "Today"), ("failed", "Failed today")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        return calls_in_state(queryset, self.value())


class AskedFilter(admin.SimpleListFilter):
    """The calls of one request, as the confirmation page links to them."""

    title = "request"
    parameter_name = "asked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = request.GET.get(self.parameter_name, "")
        return [(value, "The calls you just asked for")] if value else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        value = self.value()
        return queryset.filter(request_key__startswith=f"{value}:") if value else queryset


def calls_in_state(calls: QuerySet[Call], state: str | None) -> QuerySet[Call]:
    """The calls that `StateFilter` means by a word."""
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    match state:
        case "live":
            return calls.filter(status__in=LIVE)
        case "today":
            return calls.filter(created_at__gte=today)
        case "failed":
            return calls.filter(created_at__gte=today, status=Status.FAILED)
    return calls


class AskedAtFilter(admin.DateFieldListFilter):
    """When the call was asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "day"


@admin.register(Call)
class CallAdmin(ReadOnlyAdmin[Call]):
    list_display = ["person", "state_label", "agent", "asked", "talked", "cost", "how"]
    list_display_links = None
    # One count of a million rows is enough.
    show_full_result_count = False
    list_select_related = ["agent", "recipient"]
    list_filter = [StateFilter, AskedFilter, "status", "agent", ("created_at", AskedAtFilter)]
    search_fields = ["recipient__name", "to_number", "twilio_sid"]
    actions = ["export"]
    actions_detail = ["open_page"]
    inlines = [TurnInline]
    readonly_fields = ["asked", "talked", "how", "cost"]
    fieldsets = [
        (None, {"fields": ["recipient", "agent", "requested_by", "asked"]}),
        ("How it went", {"fields": ["status", "talked", "how", "end_detail", "error_code"]}),
        ("Cost", {"fields": ["cost", ("twilio_price", "twilio_price_unit")]}),
        (
            "For engineers",
            {
                "fields": [
                    "twilio_sid", "to_number", "from_number", "answered_by", "sip_code",
                    "dial_attempts", "not_before", "claimed_at", "lease_expires_at", "initiated_at",
                    "ringing_at", "answered_at", "connected_at", "stream_offered_at",
                    "stream_opened_at", "stream_closed_at", "stream_sid", "stream_generation",
                    "conversation_ended_at", "ended_at", "end_is_guess", "hangup_requested_at",
                    "hangup_requested_by", "checked_at", "price_checked_at", "revision",
                ],
                "classes": ["collapse"],
            },
        ),
    ]  # fmt: skip
    empty_text = "Calls appear here once you have asked for one: choose whom, then “Call now”."
    empty_link = "admin:calls_recipient_changelist"
    empty_link_text = "Choose whom to call"

    @admin.display(description="Person", ordering="recipient__name")
    def person(self, call: Call) -> SafeString:
        url = reverse("call-page", args=[call.pk])
        return format_html(
            '<div class="calls-person"><a class="calls-link" href="{}">{}</a><div>{}</div></div>',
            url,
            call.recipient.name,
            call.to_number,
        )

    @admin.display(description="Asked for", ordering="created_at")
    def asked(self, call: Call) -> str:
        return localtime.stamp(call.created_at)

    @display(  # type: ignore[untyped-decorator]
        description="Status",
        ordering="status",
        # The tones of words.py; one that is missing here would be shown itself.
        label={
            "live": "success",
            "waiting": "warning",
            "good": "info",
            "bad": "danger",
            "missed": "default",
        },
    )
    def state_label(self, call: Call) -> tuple[str, str]:
        return words.tone_of(call.state), call.state.label

    @admin.display(description="Duration", ordering="duration_s", empty_value="–")
    def talked(self, call: Call) -> str | None:
        return localtime.clock(call.duration_s) if call.duration_s else None

    @admin.display(description="Cost", ordering="estimated_cost", empty_value="–")
    def cost(self, call: Call) -> str | None:
        return None if call.estimated_cost is None else money(call.estimated_cost)

    @admin.display(description="How it ended", ordering="end_reason", empty_value="–")
    def how(self, call: Call) -> str | None:
        return words.reason_label(call.end_reason) or None

    @page_action(  # type: ignore[untyped-decorator]
        description="Transcript and recording",
        permissions=["view"],
        url_path="open",
        icon="forum",
        variant=ActionVariant.PRIMARY,
    )
    def open_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect("call-page", object_id)

    @admin.action(description="Export…", permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet[Call]) -> HttpResponse | None:
        if queryset[exports.MAX_ROWS :].exists():
            text = f"Filter the list to at most {exports.MAX_ROWS:,} calls, then export again."
            self.message_user(request, text, messages.ERROR)
            return None
        # The mark tells spreadsheets that this is UTF-8.
        body = "\ufeff" + exports.calls_as_csv(queryset)
        response = HttpResponse(body, content_type="text/csv; charset=utf-8")
        name = f"calls-{timezone.localtime():%Y%m%d-%H%M}.csv"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response
