"""Whether this process lives (`/healthz`), and whether calls can be placed (`/readyz`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from celery import current_app
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from kombu.exceptions import KombuError

from calls.models import Heartbeat

# Beat asks for a heartbeat every 5 seconds; a worker writes it down.
HEARTBEAT_LIMIT = timedelta(seconds=30)
CANNOT_BE_ASKED = "the database, which knows, cannot be read"
_BROKER_TIMEOUT_S = 2


@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """The process answers: nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """200 when database, broker, worker and beat all do their work; else 503 and what does not."""
    problems = {name: ask() for name, ask in _QUESTIONS.items()}
    is_ready = not any(problems.values())
    checks = {name: problem or "ok" for name, problem in problems.items()}
    return JsonResponse({"ready": is_ready, "checks": checks}, status=200 if is_ready else 503)


def database_problem() -> str | None:
    """Why the database does not answer, or None."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as exc:
        return f"the database does not answer ({type(exc).__name__})"
    return None


def broker_problem() -> str | None:
    """Why tasks cannot be sent, or None."""
    try:
        with current_app.connection_for_write(connect_timeout=_BROKER_TIMEOUT_S) as broker:
            broker.ensure_connection(max_retries=1, timeout=_BROKER_TIMEOUT_S)
    except (KombuError, OSError) as exc:
        return f"the broker does not answer ({type(exc).__name__})"
    return None


def heartbeat_problem() -> str | None:
    """Why beat and a worker do not seem to run, or None."""
    try:
        newest = Heartbeat.objects.order_by("-at").values_list("at", flat=True).first()
    except DatabaseError:
        return CANNOT_BE_ASKED
    if newest is None:
        return "beat and a worker have never worked together on this database"
    age = timezone.now() - newest
    if age > HEARTBEAT_LIMIT:
        return f"the last sign of life of beat and a worker is {age.total_seconds():.0f} s old"
    return None


_QUESTIONS: dict[str, Callable[[], str | None]] = {
    "database": database_problem,
    "broker": broker_problem,
    "worker and beat": heartbeat_problem,
}
