"""What we run ourselves: configuration, database, broker, worker, beat, storage."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from datetime import UTC, datetime

from celery import current_app
from django.conf import settings
from django.core.checks import run_checks
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, storages
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import KombuError

from calls import checks, health
from calls.doctor.findings import Trouble

MAX_SKEW_S = 2.0
_PING_S = 3.0
# An hour of recordings, stereo at 8 kHz and 16 bit, is 115 MB.
_LEAST_FREE_BYTES = 1_000_000_000


def configuration() -> str:
    """The settings fit together."""
    found = run_checks(tags=[checks.TAG])
    serious = [message for message in found if message.is_serious()]
    if serious:
        raise Trouble(
            " ".join(message.msg for message in serious),
            " ".join(f"{message.hint} ({message.id})" for message in serious),
        )
    warnings = ", ".join(f"{message.id} {message.msg}" for message in found)
    return f"with warnings: {warnings}" if warnings else "the settings fit together"


def database() -> str:
    """It answers, and has every table."""
    begun = time.monotonic()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as exc:
        reason = str(exc).partition("\n")[0]
        text = f"the database does not answer ({reason})"
        raise Trouble(text, "start it, or correct DATABASE_URL") from exc
    took_ms = (time.monotonic() - begun) * 1000
    executor = MigrationExecutor(connection)
    waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    if waiting:
        raise Trouble(f"{waiting} migrations have not been run", "run: manage.py migrate")
    return f"{connection.display_name} answers in {took_ms:.0f} ms"


def broker() -> str:
    """Tasks can be sent."""
    problem = health.broker_problem()
    if problem:
        raise Trouble(problem, "start Redis, or correct REDIS_URL (or CELERY_BROKER_URL)")
    scheme = settings.CELERY_BROKER_URL.partition(":")[0]
    return f"{scheme} answers"


def worker() -> str:
    """At least one worker answers when asked."""
    try:
        answers = current_app.control.ping(timeout=_PING_S)
    except (KombuError, OSError) as exc:
        text = f"it cannot be asked: the broker does not answer ({type(exc).__name__})"
        raise Trouble(text, "mend the broker first") from exc
    if not answers:
        raise Trouble(
            f"no worker answered within {_PING_S:g} s", "start one: celery -A voicecall worker"
        )
    return f"{len(answers)} answered"


def beat() -> str:
    """The scheduler ticks, and a worker does what it asks."""
    problem = health.heartbeat_problem()
    if problem == health.CANNOT_BE_ASKED:
        raise Trouble(problem, "mend the database first")
    if problem:
        raise Trouble(problem, "start both: celery -A voicecall beat, celery -A voicecall worker")
    return "its last tick reached a worker in time"


def storage() -> str:
    """A recording can be written, read back and removed."""
    store = storages["recordings"]
    name, content = f"doctor-{secrets.token_hex(8)}.tmp", secrets.token_bytes(64)
    try:
        written = store.save(name, ContentFile(content))
        with store.open(written) as file:
            came_back = file.read()
        store.delete(written)
    except OSError as exc:
        raise Trouble(f"it cannot be written ({exc})", _storage_fix()) from exc
    except Exception as exc:  # S3 libraries have no common base for their errors
        if not settings.RECORDINGS_S3_BUCKET:
            raise
        raise Trouble(f"it cannot be written ({exc})", _storage_fix()) from exc
    if came_back != content:
        raise Trouble("what was read back differs from what was written", "check the disk")
    return _room(store.location) if isinstance(store, FileSystemStorage) else "writable"


def _storage_fix() -> str:
    if settings.RECORDINGS_S3_BUCKET:
        return "check RECORDINGS_S3_BUCKET, RECORDINGS_S3_ENDPOINT_URL and the AWS credentials"
    return f"let this user write to {settings.VAR_DIR}, or set VAR_DIR"


def _room(location: str | os.PathLike[str]) -> str:
    free = shutil.disk_usage(location).free
    if free < _LEAST_FREE_BYTES:
        text = f"only {free / 1e6:.0f} MB are left on the disk of {location}"
        raise Trouble(text, "make room, or set VAR_DIR to a larger disk")
    return f"writable, {free / 1e9:.0f} GB free"


def database_clock() -> str:
    """The database's clock and ours agree."""
    if connection.vendor != "postgresql":
        return "the database uses ours"
    try:
        with connection.cursor() as cursor:
            before = datetime.now(UTC)
            cursor.execute("SELECT clock_timestamp()")
            row = cursor.fetchone()
            after = datetime.now(UTC)
    except DatabaseError as exc:
        raise Trouble("it cannot be asked", "mend the database first") from exc
    return judge_clock("the database", row[0], before, after, tolerance_s=0.0)


def judge_clock(
    whose: str, theirs: datetime, before: datetime, after: datetime, *, tolerance_s: float
) -> str:
    """Compare another clock, read between two readings of ours.

    Raises:
        Trouble: they differ by more than `MAX_SKEW_S`, beyond the tolerance.
    """
    ahead_s = max(0.0, (before - theirs).total_seconds(), (theirs - after).total_seconds())
    if ahead_s > MAX_SKEW_S + tolerance_s:
        raise Trouble(
            f"our clock and that of {whose} differ by {ahead_s:.1f} s",
            "let the system keep time by NTP (timedatectl set-ntp true)",
        )
    return f"within {MAX_SKEW_S:g} s of {whose}"
