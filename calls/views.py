"""Staff's own pages: ask for calls, watch one, hang up. Each has a strict content policy."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Concatenate, ParamSpec, cast
from uuid import UUID

from csp.constants import NONE, SELF
from csp.decorators import csp_replace
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from calls import feed, localtime
from calls.core import prompts
from calls.core.brief import OpeningKind
from calls.forms import PlaceCallsForm, ids_text, recipient_ids
from calls.models import Agent, Call, Recipient
from calls.services import agents, costs, placing, recipients

# How many people the agent's preview offers at once; the others are found by searching.
PREVIEW_CHOICES = 50

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]

_CONNECT = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]["connect-src"]
# No inline script, no inline style, no eval: what people said can run nowhere on these pages.
_strict_policy = csp_replace(
    {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "font-src": [SELF],
        "img-src": [SELF],
        "media-src": [SELF],
        "connect-src": _CONNECT,
    }
)


def staff_only(*permissions: str) -> Callable[[View[P]], View[P]]:
    """Let in signed-in staff who have all `permissions`; others get the login page, or 403."""

    def decorate(view: View[P]) -> View[P]:
        @functools.wraps(view)
        def checked(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if not request.user.is_staff or not request.user.has_perms(permissions):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return cast("View[P]", never_cache(_strict_policy(checked)))

    return decorate


# --- Asking for calls ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """Somebody who will be called, what time it is there, and when they were called last."""

    recipient: Recipient
    local_time: str
    last_called: datetime | None


@require_http_methods(["GET", "HEAD", "POST"])
@staff_only("calls.place_call", "calls.view_recipient")
def confirm(request: HttpRequest) -> HttpResponse:
    """Who will be called, who not and why, what it costs; the POST asks for the calls."""
    if request.method == "POST":
        return _place(request)
    try:
        ids = recipient_ids(request.GET.get("recipients", ""))
    except ValidationError as exc:
        return _back_to_recipients(request, exc.messages)
    people = list(Recipient.objects.filter(pk__in=ids))
    if not people:
        return _back_to_recipients(request, ["These people are not in the list any more."])
    known = list(Agent.objects.filter(is_active=True))
    return _confirmation(request, people, known, _chosen(known, request.GET.get("agent", "")))


def _chosen(known: list[Agent], wanted: str) -> Agent | None:
    by_id = {str(agent.pk): agent for agent in known}
    return by_id.get(wanted) or (known[0] if known else None)


def _confirmation(
    request: HttpRequest, people: list[Recipient], known: list[Agent], agent: Agent | None
) -> HttpResponse:
    now = timezone.now()
    context = {
        **_base(request, "Recipients"),
        "title": _whom(people),
        "agents": known,
        "agent": agent,
        "recipients_text": ids_text(r.pk for r in people),
        "request_key": secrets.token_urlsafe(16),
    }
    if agent is not None:
        preview = placing.preview(people, agent, now=now)
        count = len(preview.callable)
        context |= {
            "rows": _rows(preview.callable, now),
            "skipped": preview.skipped,
            "cost": _cost_range(costs.estimate_per_call(agent), count),
            "most_minutes": -(-min(agent.max_duration_s, settings.CALL_MAX_DURATION_S) // 60),
            "submit_label": f"Call {count} people" if count > 1 else "Call now",
        }
    return render(request, "staff/confirm.html", context)


def _rows(people: list[Recipient], now: datetime) -> list[Row]:
    calls = Call.objects.filter(recipient__in=people).order_by().values_list("recipient")
    last = dict(calls.annotate(Max("created_at")))
    return [Row(r, localtime.describe(now, r.phone, r.zone), last.get(r.pk)) for r in people]


def _whom(people: list[Recipient]) -> str:
    if len(people) == 1:
        return f"Call {people[0].name}?"
    return f"Call {len(people)} people?"


def _cost_range(per_call: tuple[Decimal, Decimal], count: int) -> str:
    low, high = (amount * count for amount in per_call)
    return f"${low:,.2f}" if low == high else f"${low:,.2f} – ${high:,.2f}"


def _place(request: HttpRequest) -> HttpResponse:
    form = PlaceCallsForm(request.POST)
    if not form.is_valid():
        problems = [str(problem) for each in form.errors.values() for problem in each]
        return _back_to_recipients(request, problems)
    data = form.cleaned_data
    people = list(Recipient.objects.filter(pk__in=data["recipients"]))
    requested = placing.request_calls(
        people, data["agent"], by=_user(request), request_key=data["request_key"]
    )
    for skipped in requested.skipped:
        messages.warning(request, f"{skipped.recipient} {skipped.reason}.")
    asked_for = [*requested.queued, *requested.repeated]
    if len(asked_for) == 1:
        return redirect("call-page", asked_for[0].pk)
    if not asked_for:
        return redirect("admin:calls_recipient_changelist")
    messages.success(request, f"{len(asked_for)} calls are on their way.")
    query = urlencode({"asked": data["request_key"]})
    return redirect(f"{reverse('admin:calls_call_changelist')}?{query}")


def _back_to_recipients(request: HttpRequest, problems: list[str]) -> HttpResponse:
    for problem in problems:
        messages.error(request, problem)
    return redirect("admin:calls_recipient_changelist")


# --- One call -----------------------------------------------------------------------------------


@require_safe
@staff_only("calls.view_call")
def call_page(request: HttpRequest, call_id: UUID) -> HttpResponse:
    """A call while it lasts, and its record afterwards."""
    call = _call(call_id)
    user = _user(request)
    snapshot = feed.snapshot(call)
    may_call = user.has_perm("calls.place_call")
    # Recordings stand above calls: only their permission and addresses are known here.
    may_listen = user.has_perm("recordings.listen_recording")
    now = timezone.now()
    again = urlencode({"recipients": call.recipient.pk, "agent": call.agent.pk})
    recipient_url = _record_url(user, call.recipient)
    context = {
        **_base(request, "Calls"),
        "title": f"Call to {call.recipient.name}",
        "call": call,
        "feed": snapshot,
        "may_call": may_call,
        "may_listen": may_listen,
        "call_again_url": f"{reverse('call-confirm')}?{again}",
        "recipient_url": recipient_url,
        "agent_url": _record_url(user, call.agent),
        "local_time": localtime.describe(now, call.to_number, call.recipient.zone),
        "page": {
            "feed": snapshot,
            "now": now.isoformat(),
            "may_call": may_call,
            "may_listen": may_listen,
            "names": {"person": call.recipient.name, "agent": call.agent.name},
            "urls": {
                "feed": reverse("call-feed", args=[call.pk]),
                "socket": f"/ws/calls/{call.pk}",
                "recording": reverse("recording-info", args=[call.pk]),
                "recipient": recipient_url,
            },
        },
    }
    return render(request, "staff/call.html", context)


@require_safe
@staff_only("calls.view_call")
def call_feed(request: HttpRequest, call_id: UUID) -> HttpResponse:
    """What is newer than revision `after`; without news, the bare revision."""
    after = request.GET.get("after", "-1")
    if not after.removeprefix("-").isdecimal() or len(after) > 10:
        return JsonResponse({"error": "after must be a revision, such as 12"}, status=400)
    call = _call(call_id)
    is_news = call.revision > int(after)
    return JsonResponse(feed.snapshot(call) if is_news else feed.unchanged(call))


@require_POST
@staff_only("calls.place_call")
def call_hang_up(request: HttpRequest, call_id: UUID) -> HttpResponse:
    """End the call, wherever it has got to."""
    call = _call(call_id)
    if not placing.hang_up(call, by=_user(request)):
        messages.info(request, "The call was over already.")
    return redirect("call-page", call.pk)


def _record_url(user: User, record: Recipient | Agent) -> str:
    """Where the admin keeps it; empty for those who may not look."""
    name = record._meta.model_name
    if not user.has_perm(f"calls.view_{name}"):
        return ""
    return reverse(f"admin:calls_{name}_change", args=[record.pk])


def _call(call_id: UUID) -> Call:
    call = feed.load(call_id)
    if call is None:
        raise Http404("There is no such call.")
    return call


# --- Agents and dialling ------------------------------------------------------------------------


@require_POST
@staff_only("calls.view_agent", "calls.view_recipient")
def agent_preview(request: HttpRequest) -> HttpResponse:
    """The instructions in the form, unsaved as they are, filled in for one recipient."""
    recipient_id = request.POST.get("recipient", "")
    if not recipient_id.isdecimal() or len(recipient_id) > 18:
        return JsonResponse({"problems": ["Choose a recipient."]}, status=400)
    recipient = Recipient.objects.filter(pk=recipient_id).first()
    if recipient is None:
        return JsonResponse({"problems": ["There is no such recipient any more."]}, status=404)
    agent = _unsaved_agent(request)
    problems = agents.check_instructions(agent.instructions, agent.variables)
    if agent.opening == OpeningKind.VERBATIM:
        problems += agents.check_instructions(agent.opening_text, agent.variables)
    if problems:
        return JsonResponse({"problems": list(dict.fromkeys(problems))})
    rules, text = prompts.apart(agents.render_for(agent, recipient))
    missing = agents.missing_values(agent, recipient)
    lacking = f"{recipient.name} lacks a value for {', '.join(missing)}, so would not be called."
    return JsonResponse(
        {
            "problems": [lacking] if missing else [],
            "first_words": agents.first_words(agent, recipient),
            "text": text,
            "rules": rules,
        }
    )


def _unsaved_agent(request: HttpRequest) -> Agent:
    form = request.POST
    return Agent(
        name=form.get("name", "")[:80],
        language=prompts.language_code(form.get("language", "")) or "en",
        instructions=form.get("instructions", ""),
        variables=form.get("variables", "").replace(",", " ").split(),
        opening=form.get("opening", ""),
        opening_text=form.get("opening_text", ""),
        tools=form.getlist("tools"),
    )


@require_safe
@staff_only("calls.view_agent", "calls.view_recipient")
def preview_recipients(request: HttpRequest) -> HttpResponse:
    """People whom the preview can be shown for: by a part of the name or the number."""
    found = recipients.find(request.GET.get("q", "")[:120], limit=PREVIEW_CHOICES)
    return JsonResponse({"recipients": [{"id": r.pk, "label": str(r)} for r in found]})


@require_POST
@staff_only("calls.change_dialingpause")
def resume_dialling(request: HttpRequest) -> HttpResponse:
    """Lift every pause; what was waiting is dialled at once."""
    if placing.lift_pauses(by=_user(request)):
        messages.success(request, "Dialling goes on.")
    else:
        messages.info(request, "Dialling was not paused any more.")
    target = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(
        target, {request.get_host()}, require_https=request.is_secure()
    )
    return redirect(target if is_ours else "admin:index")


def _user(request: HttpRequest) -> User:
    user = request.user
    if isinstance(user, AnonymousUser):
        raise PermissionDenied
    return user


def _base(request: HttpRequest, section: str) -> dict[str, Any]:
    return {**admin.site.each_context(request), "section": section}
