"""Faults of the configuration that are found at start, each with a hint how to mend it.

The settings refuse what is malformed. Here is what is well-formed and does not fit together.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register

from calls.core.hours import Window

TAG = "voicecall"
# Less is for tests, against a Twilio that shows a call at once.
_LEAST_GRACE_S = 30
_WIDEST = Window.parse("08:00-21:00")


@register(TAG)
def check_configuration(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Run every check of ours."""
    return [message for check in _CHECKS if (message := check()) is not None]


def calls_real_people() -> bool:
    """Whether calls go to Twilio itself, not to a sandbox on this machine."""
    return not _is_loopback(urlsplit(settings.TWILIO_BASE_URL).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain_http() -> CheckMessage | None:
    if settings.PUBLIC_BASE_URL.startswith("https://") or not calls_real_people():
        return None
    return Error(
        "PUBLIC_BASE_URL is a plain http address: Twilio opens media streams over TLS only.",
        hint="Put a proxy with a certificate in front and set PUBLIC_BASE_URL=https://….",
        id="voicecall.E001",
    )


def _unreachable() -> CheckMessage | None:
    host = urlsplit(settings.PUBLIC_BASE_URL).hostname or ""
    if not calls_real_people() or not _is_loopback(host):
        return None
    return Error(
        f"PUBLIC_BASE_URL names {host}, which Twilio cannot reach.",
        hint="Set it to the public address of this server, or of a tunnel to it.",
        id="voicecall.E002",
    )


def _sandbox_secret() -> CheckMessage | None:
    if not settings.SECRET_KEY.startswith("sandbox-only") or not calls_real_people():
        return None
    return Error(
        "DJANGO_SECRET_KEY is the sandbox's, which everybody knows.",
        hint="Set it to a long random text of your own, at least 32 characters.",
        id="voicecall.E003",
    )


def _half_a_key() -> CheckMessage | None:
    if bool(settings.TWILIO_API_KEY) == bool(settings.TWILIO_API_SECRET):
        return None
    missing = "TWILIO_API_SECRET" if settings.TWILIO_API_KEY else "TWILIO_API_KEY"
    return Error(
        f"{missing} is missing: an API key and its secret belong together.",
        hint=f"Set {missing} too, or neither of the two; the auth token is then used.",
        id="voicecall.E004",
    )


def _debug() -> CheckMessage | None:
    if not settings.DEBUG or not calls_real_people():
        return None
    return Error(
        "DJANGO_DEBUG is on: error pages show settings and people's data to anybody.",
        hint="Set DJANGO_DEBUG=false, or leave it out.",
        id="voicecall.E005",
    )


def _embedded_broker() -> CheckMessage | None:
    is_postgres = settings.DATABASES["default"]["ENGINE"].endswith("postgresql")
    if not is_postgres or not settings.CELERY_BROKER_URL.startswith("filesystem:"):
        return None
    return checks.Warning(
        "The database is PostgreSQL and the broker a folder of this machine: workers elsewhere "
        "would never hear of a task, and pages served elsewhere follow a call second by second.",
        hint="Set REDIS_URL.",
        id="voicecall.W001",
    )


def _sqlite_with_redis() -> CheckMessage | None:
    is_sqlite = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
    if not is_sqlite or not settings.REDIS_URL:
        return None
    return checks.Warning(
        "The broker is Redis and the database a file: all processes must run on one machine.",
        hint="Set DATABASE_URL to a PostgreSQL database before a second machine joins.",
        id="voicecall.W002",
    )


def _wide_hours() -> CheckMessage | None:
    if not calls_real_people():
        return None
    for name in ("CALLING_HOURS", "CALLING_HOURS_SUNDAY"):
        window = Window.parse(getattr(settings, name))
        is_open = window.start_min < window.end_min
        early, late = window.start_min < _WIDEST.start_min, window.end_min > _WIDEST.end_min
        if is_open and (early or late):
            return checks.Warning(
                f"{name} allows calls {window}, when people sleep and laws forbid many calls.",
                hint=f"Keep within {_WIDEST}, the recipient's local time.",
                id="voicecall.W003",
            )
    return None


def _quoted_speech() -> CheckMessage | None:
    if not settings.LOG_TRANSCRIPTS or not calls_real_people():
        return None
    return checks.Warning(
        "LOG_TRANSCRIPTS is on: what people say, personal data, goes into the log.",
        hint="Set LOG_TRANSCRIPTS=false; the transcript stands on the call's page.",
        id="voicecall.W004",
    )


def _short_grace() -> CheckMessage | None:
    if settings.UNKNOWN_GRACE_S >= _LEAST_GRACE_S or not calls_real_people():
        return None
    return checks.Warning(
        f"UNKNOWN_GRACE_S is {settings.UNKNOWN_GRACE_S}: Twilio's list may lag behind by more, and"
        " a person whose call it does not show yet is called a second time.",
        hint=f"Set it to {_LEAST_GRACE_S} at least, or leave it out.",
        id="voicecall.W005",
    )


_CHECKS: Sequence[Callable[[], CheckMessage | None]] = (
    _plain_http,
    _unreachable,
    _sandbox_secret,
    _half_a_key,
    _debug,
    _embedded_broker,
    _sqlite_with_redis,
    _wide_hours,
    _quoted_speech,
    _short_grace,
)
