"""Staff's lists and forms; what happens in a call has pages of its own (`views.py`)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action as page_action
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from calls import exports, localtime, words
from calls.admin_base import ReadOnlyAdmin, StaffAdmin
from calls.core.lifecycle import LIVE, Status
from calls.feed import money
from calls.forms import MAX_RECIPIENTS, AgentForm, DoNotCallForm, RecipientForm, ids_text
from calls.models import (
    Agent,
    Call,
    DialingPause,
    DoNotCall,
    Price,
    QuarantinedEvent,
    Recipient,
    Turn,
)
from calls.services import placing
from calls.services.recipients import end_calls_to


@admin.register(Agent)
class AgentAdmin(StaffAdmin[Agent]):
    form = AgentForm
    list_display = ["name", "language", "voice", "model", "is_active"]
    list_filter = ["is_active"]
    search_fields = ["name"]
    warn_unsaved_form = True
    change_form_after_template = "staff/agent_preview.html"
    empty_text = "An agent is who speaks in a call: its voice, its instructions, its limits."
    fieldsets = [
        (None, {"fields": ["name", "is_active"]}),
        ("What it does", {"fields": ["instructions", "variables", "tools"]}),
        ("First words", {"fields": ["opening", "opening_wait_s", "opening_text"]}),
        ("Voice and language", {"fields": [("voice", "language"), "model"]}),
        ("Limits", {"fields": [("max_duration_s", "silence_s")]}),
        (
            "Listening and sound",
            {
                "fields": [
                    ("turn_detection", "vad_silence_ms"),
                    ("vad_threshold", "noise_reduction"),
                    "audio_format",
                ],
                "classes": ["collapse"],
            },
        ),
    ]

    class Media:
        js = ["calls/agent_preview.js"]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        may_see = request.user.has_perm("calls.view_recipient")
        recipients = Recipient.objects.order_by("name")[:50] if may_see else []
        context = {**(extra_context or {}), "preview_recipients": recipients}
        response: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        return response


@admin.register(Recipient)
class RecipientAdmin(StaffAdmin[Recipient]):
    form = RecipientForm
    list_display = ["name", "phone", "local_time", "last_call"]
    search_fields = ["name", "phone"]
    actions = ["call_selected"]
    actions_detail = ["call_now"]
    actions_row = ["call_now"]
    warn_unsaved_form = True
    empty_text = "Recipients are the people whom your agents call. Add the first one to begin."
    readonly_fields = ["inferred_zone", "local_time"]
    fieldsets = [
        (None, {"fields": [("name", "phone"), "language"]}),
        ("Time", {"fields": ["zone", ("inferred_zone", "local_time")]}),
        ("For the agent", {"fields": ["context", "data"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Recipient]:
        latest = Call.objects.filter(recipient=OuterRef("pk")).order_by("-created_at")
        queryset: QuerySet[Recipient] = super().get_queryset(request)
        return queryset.annotate(
            last_status=Subquery(latest.values("status")[:1]),
            last_call_id=Subquery(latest.values("pk")[:1]),
        )

    @admin.display(description="Local time")
    def local_time(self, recipient: Recipient) -> str:
        if not recipient.phone:
            return "known once there is a number"
        return localtime.describe(timezone.now(), recipient.phone, recipient.zone)

    @admin.display(description="Zone of the number")
    def inferred_zone(self, recipient: Recipient) -> str:
        zones = localtime.zones_of(recipient.phone, "") if recipient.phone else ()
        if not zones:
            return "unknown"
        more = f" and {len(zones) - 3} more" if len(zones) > 3 else ""
        return ", ".join(zones[:3]) + more

    @admin.display(description="Last call", empty_value="none yet")
    def last_call(self, recipient: Any) -> SafeString | None:
        if recipient.last_status is None:
            return None
        url = reverse("call-page", args=[recipient.last_call_id])
        label = Status(recipient.last_status).label
        return format_html('<a class="calls-link" href="{}">{}</a>', url, label)

    @page_action(  # type: ignore[untyped-decorator]
        description="Call now",
        permissions=["call"],
        url_path="call-now",
        icon="call",
        variant=ActionVariant.PRIMARY,
    )
    def call_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return _to_confirmation([int(object_id)] if object_id.isdecimal() else [])

    @admin.action(description="Call selected…", permissions=["call"])
    def call_selected(
        self, request: HttpRequest, queryset: QuerySet[Recipient]
    ) -> HttpResponse | None:
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: MAX_RECIPIENTS + 1])
        if len(ids) > MAX_RECIPIENTS:
            text = f"Choose at most {MAX_RECIPIENTS} people at a time."
            self.message_user(request, text, messages.ERROR)
            return None
        return _to_confirmation(ids)


def _to_confirmation(ids: list[int]) -> HttpResponse:
    query = urlencode({"recipients": ids_text(ids)}, doseq=False)
    return redirect(f"{reverse('call-confirm')}?{query}")


class TurnInline(TabularInline):  # type: ignore[misc]  # unfold has no types
    model = Turn
    fields = readonly_fields = ["started_ms", "speaker", "text", "heard_chars", "interrupted"]
    ordering = ["generation", "position", "id"]
    extra = 0
    can_delete = False
    show_change_link = False

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


@admin.register(Call)
class CallAdmin(ReadOnlyAdmin[Call]):
    list_display = ["person", "agent", "state_label", "asked", "talked", "cost", "how"]
    list_display_links = None
    # One count of a million rows is enough.
    show_full_result_count = False
    list_select_related = ["agent", "recipient"]
    list_filter = [StateFilter, AskedFilter, "status", "agent", "created_at"]
    search_fields = ["recipient__name", "to_number", "twilio_sid"]
    actions = ["export"]
    inlines = [TurnInline]
    exclude = ["token", "request_key", "brief"]
    empty_text = "Calls appear here once you have asked for one: choose whom, then “Call now”."
    empty_link = "admin:calls_recipient_changelist"
    empty_link_text = "Choose whom to call"

    @admin.display(description="Person", ordering="recipient__name")
    def person(self, call: Call) -> SafeString:
        url = reverse("call-page", args=[call.pk])
        return format_html(
            '<a class="calls-link" href="{}">{}</a><br>{}', url, call.recipient.name, call.to_number
        )

    @admin.display(description="Asked for", ordering="created_at")
    def asked(self, call: Call) -> str:
        return f"{timezone.localtime(call.created_at):%d %b %Y, %H:%M}"

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
        if call.duration_s is None:
            return None
        return f"{call.duration_s // 60}:{call.duration_s % 60:02}"

    @admin.display(description="Cost", ordering="estimated_cost", empty_value="–")
    def cost(self, call: Call) -> str | None:
        return None if call.estimated_cost is None else money(call.estimated_cost)

    @admin.display(description="How it ended", ordering="end_reason", empty_value="–")
    def how(self, call: Call) -> str | None:
        return words.reason_label(call.end_reason) or None

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


@admin.register(DoNotCall)
class DoNotCallAdmin(StaffAdmin[DoNotCall]):
    form = DoNotCallForm
    list_display = ["phone", "reason", "added_by", "created_at"]
    list_select_related = ["added_by"]
    search_fields = ["phone", "reason"]
    empty_text = "Numbers on this list are never called, by any agent, for any purpose."

    def save_model(self, request: HttpRequest, obj: DoNotCall, form: Any, change: bool) -> None:
        by = request.user if isinstance(request.user, User) else None
        if not change:
            obj.added_by = by
        super().save_model(request, obj, form, change)
        end_calls_to(obj.phone, by=by)


@admin.register(Price)
class PriceAdmin(StaffAdmin[Price]):
    list_display = ["item", "amount", "unit", "valid_from", "source"]
    search_fields = ["item"]
    empty_text = "What Twilio and OpenAI charge per unit. Without prices, costs are not estimated."


@admin.register(DialingPause)
class DialingPauseAdmin(StaffAdmin[DialingPause]):
    list_display = ["reason", "error_code", "since", "lifted_at", "lifted_by"]
    list_select_related = ["lifted_by"]
    fields = ["reason"]
    actions = ["resume"]
    empty_text = "Dialling has never been paused. Add a pause to stop all dialling at once."

    def has_change_permission(self, request: HttpRequest, obj: DialingPause | None = None) -> bool:
        # What paused dialling, and when, is history; lifting is the action below.
        return False

    def has_delete_permission(self, request: HttpRequest, obj: DialingPause | None = None) -> bool:
        return False

    def has_resume_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("calls.change_dialingpause")

    @admin.action(description="Resume dialling", permissions=["resume"])
    def resume(self, request: HttpRequest, queryset: QuerySet[DialingPause]) -> None:
        by = request.user if isinstance(request.user, User) else None
        lifted = placing.lift_pauses(by=by)
        text = "Dialling goes on." if lifted else "Dialling was not paused any more."
        self.message_user(request, text, messages.SUCCESS if lifted else messages.INFO)


@admin.register(QuarantinedEvent)
class QuarantinedEventAdmin(ReadOnlyAdmin[QuarantinedEvent]):
    list_display = ["path", "at"]
    empty_text = "Twilio has reported nothing that fits no call of ours."


# --- Accounts, in the same clothes --------------------------------------------------------------
admin.site.index_template = "staff/index.html"
admin.site.index_title = "Overview"

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class StaffUserAdmin(UserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]  # no types
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class StaffGroupAdmin(GroupAdmin, ModelAdmin):  # type: ignore[misc]  # unfold has no types
    pass
