"""Staff's lists and forms; what happens in a call has pages of its own (`views.py`)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action as page_action
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from calls import admin_calls as admin_calls  # registers itself; Django looks for admin.py only
from calls import feed, localtime
from calls.admin_base import ReadOnlyAdmin, StaffAdmin
from calls.core.lifecycle import Status
from calls.forms import MAX_RECIPIENTS, AgentForm, DoNotCallForm, RecipientForm, ids_text
from calls.models import (
    Agent,
    Call,
    DialingPause,
    DoNotCall,
    Price,
    QuarantinedEvent,
    Recipient,
)
from calls.services import placing, recipients
from calls.views import PREVIEW_CHOICES


@admin.register(Agent)
class AgentAdmin(StaffAdmin[Agent]):
    form = AgentForm
    list_display = ["name", "language", "voice", "model", "in_use"]
    list_filter = ["is_active"]
    search_fields = ["name"]
    warn_unsaved_form = True
    change_form_after_template = "staff/agent_preview.html"
    empty_text = "An agent is who speaks in a call: its voice, its instructions, its limits."
    fieldsets = [
        (None, {"fields": ["name", "is_active"]}),
        ("What it does", {"fields": ["instructions", "variables", "tools"]}),
        ("First words", {"fields": ["opening", "opening_wait_s", "opening_text"]}),
        ("Voice and language", {"fields": ["voice", "language", "model"]}),
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

    @admin.display(description="In use", ordering="is_active", boolean=True)
    def in_use(self, agent: Agent) -> bool:
        return agent.is_active

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        kept = _calls_kept("agent", objs, "take the agent out of use instead")
        return ([], {}, set(), kept) if kept else super().get_deleted_objects(objs, request)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        may_see = request.user.has_perm("calls.view_recipient")
        people = recipients.find("", limit=PREVIEW_CHOICES) if may_see else []
        context = {
            **(extra_context or {}),
            "preview_recipients": people,
            "preview_has_more": len(people) == PREVIEW_CHOICES,
        }
        response: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        return response


@admin.register(Recipient)
class RecipientAdmin(StaffAdmin[Recipient]):
    form = RecipientForm
    list_display = ["name", "phone", "local_time", "last_call"]
    # The name alone stands for both: the list shows one mark of sorting, not two.
    ordering = ["name"]
    search_fields = ["name", "phone"]
    actions = ["call_selected"]
    actions_detail = ["call_now"]
    warn_unsaved_form = True
    empty_text = "Recipients are the people whom your agents call. Add the first one to begin."
    readonly_fields = ["inferred_zone", "local_time"]
    fieldsets = [
        (None, {"fields": ["name", "phone", "language"]}),
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

    def get_list_display(self, request: HttpRequest) -> list[str]:
        if not self.has_call_permission(request):
            return list(self.list_display)
        # Among the first, so that it is in sight on a phone, too.
        return ["name", "phone", "call_link", "local_time", "last_call"]

    @admin.display(description="Call")
    def call_link(self, recipient: Recipient) -> SafeString:
        return format_html(
            '<a class="calls-link" href="{}" aria-label="Call {} now">Call now</a>',
            _confirmation_url([recipient.pk]),
            recipient.name,
        )

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        kept = _calls_kept("recipient", objs, "put the number on the do-not-call list instead")
        return ([], {}, set(), kept) if kept else super().get_deleted_objects(objs, request)

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
        return redirect(_confirmation_url([int(object_id)] if object_id.isdecimal() else []))

    @admin.action(description="Call selected…", permissions=["call"])
    def call_selected(
        self, request: HttpRequest, queryset: QuerySet[Recipient]
    ) -> HttpResponse | None:
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: MAX_RECIPIENTS + 1])
        if len(ids) > MAX_RECIPIENTS:
            text = f"Choose at most {MAX_RECIPIENTS} people at a time."
            self.message_user(request, text, messages.ERROR)
            return None
        return redirect(_confirmation_url(ids))


def _confirmation_url(ids: list[int]) -> str:
    query = urlencode({"recipients": ids_text(ids)}, doseq=False)
    return f"{reverse('call-confirm')}?{query}"


def _calls_kept(field: str, objs: Any, what_to_do: str) -> list[str]:
    """Why these cannot be deleted: calls are on record with them."""
    pks = [obj.pk for obj in objs]
    counted = Call.objects.filter(**{f"{field}__in": pks}).values_list(field).order_by(field)
    calls = dict(counted.annotate(Count("pk")))
    return [
        f"{calls[obj.pk]} recorded {'call' if calls[obj.pk] == 1 else 'calls'} of {obj}:"
        f" {what_to_do}"
        for obj in objs
        if obj.pk in calls
    ]


@admin.register(DoNotCall)
class DoNotCallAdmin(StaffAdmin[DoNotCall]):
    form = DoNotCallForm
    list_display = ["phone", "reason", "added_by", "created_at"]
    list_select_related = ["added_by"]
    search_fields = ["phone", "reason"]
    empty_text = "Numbers on this list are never called, by any agent, for any purpose."

    def get_readonly_fields(self, request: HttpRequest, obj: DoNotCall | None = None) -> list[str]:
        # Another number is another entry: it has calls of its own to end.
        return ["phone"] if obj else []

    def save_model(self, request: HttpRequest, obj: DoNotCall, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        by = request.user if isinstance(request.user, User) else None
        # Not saved but forbidden: what is on its way to this number ends, too.
        entry = recipients.forbid_calls(obj.phone, by=by, reason=obj.reason)
        obj.pk = entry.pk


@admin.register(Price)
class PriceAdmin(StaffAdmin[Price]):
    list_display = ["item", "price", "valid_from", "source"]
    ordering = ["item"]
    search_fields = ["item"]
    empty_text = "What Twilio and OpenAI charge per unit. Without prices, costs are not estimated."

    @admin.display(description="Price", ordering="amount")
    def price(self, price: Price) -> str:
        return f"${feed.plain(price.amount)} per {price.unit}"


@admin.register(DialingPause)
class DialingPauseAdmin(StaffAdmin[DialingPause]):
    list_display = ["reason", "error_code", "since", "lifted_at", "lifted_by"]
    list_select_related = ["lifted_by"]
    fieldsets = [
        (
            None,
            {
                "fields": ["reason"],
                "description": "From the moment you save, nobody is dialled; conversations that are"
                " going on are not cut off. All staff see the reason until somebody resumes.",
            },
        )
    ]
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
    empty_text = "Reports by Twilio that belong to none of our calls would be kept here."


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
