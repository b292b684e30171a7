"""Callbacks that come at the same moment, or while the database is away."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg
import pytest
from django.http import HttpResponse
from django.utils import timezone

from calls.core.lifecycle import EndReason, Status
from calls.models import Call
from calls.services import progress
from tests import servers, worlds
from tests.calls.kit import (
    ACCOUNT,
    address,
    at_once,
    make_call,
    new_sid,
    post,
    report,
    row,
    status_of,
)

# Longer than any answer may take while the database is away, shorter than its usual limits.
PATIENCE_S = 4


def test_fifty_deliveries_of_one_report_at_once_count_once(database: str) -> None:
    """[B6]"""
    call = make_call(Status.RINGING)
    before = row(call)["revision"]
    form = report(call, "in-progress")
    path = address("twilio-status", call)

    answers = at_once(50, lambda _: post(path, form))

    assert {_code(a) for a in answers} <= {204, 503}
    assert 204 in {_code(a) for a in answers}
    assert call.events.filter(kind="status").count() == 1
    assert row(call)["revision"] == before + 1


def test_first_callbacks_at_once_bind_one_sid(database: str) -> None:
    """[B9, B22] The first counts; a callback with another SID finds the door closed."""
    call = make_call(Status.DIALING)
    forms = [{**report(call, "ringing"), "CallSid": new_sid()} for _ in range(6)]
    path = address("twilio-status", call)

    answers = at_once(6, lambda n: post(path, forms[n]))

    codes = sorted(_code(answer) for answer in answers)
    assert codes == [204, 404, 404, 404, 404, 404]
    winner = next(n for n, answer in enumerate(answers) if _code(answer) == 204)
    assert row(call)["twilio_sid"] == forms[winner]["CallSid"]


def test_all_reports_of_a_call_at_once_leave_its_end(database: str) -> None:
    """[B6, B7]"""
    call = make_call(Status.INITIATED)
    forms = [
        report(call, "initiated"),
        report(call, "ringing", second=1),
        report(call, "in-progress", second=2),
        report(call, "completed", second=9, CallDuration="7"),
    ]
    path = address("twilio-status", call)

    answers = at_once(12, lambda n: post(path, forms[n % 4]))

    assert {_code(answer) for answer in answers} == {204}
    found = row(call)
    assert (found["status"], found["duration_s"]) == ("completed", 7)
    assert None not in (found["initiated_at"], found["ringing_at"], found["answered_at"])
    assert call.events.filter(kind="status").count() == 4


def _code(answer: Any) -> int:
    assert isinstance(answer, HttpResponse), answer
    return answer.status_code


# --- Without a database -------------------------------------------------------------------------
@contextmanager
def locked(url: str, call_id: object) -> Iterator[None]:
    """Another process holds what the handler needs."""
    if url.startswith("sqlite"):
        holder = sqlite3.connect(urlsplit(url).path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            holder.rollback()
            holder.close()
        return
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM calls_call WHERE id = %s FOR UPDATE", [str(call_id)])
        yield
        other.rollback()


def within(seconds: float, ask: Callable[[], HttpResponse]) -> HttpResponse:
    """The answer, which must come before the deadline."""
    found: list[HttpResponse] = []
    done = threading.Event()

    def run() -> None:
        from django.db import connections

        try:
            found.append(ask())
        finally:
            connections.close_all()
            done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(seconds), f"no answer within {seconds} s"
    return found[0]


def test_a_locked_database_is_answered_with_503_and_repetition_helps(database: str) -> None:
    """[B12] Twilio is told to come again, long before its own patience ends."""
    call = make_call(Status.RINGING)
    form, path = report(call, "in-progress"), address("twilio-status", call)

    with locked(database, call.pk):
        refused = within(PATIENCE_S, lambda: post(path, form))
    again = post(path, form)

    assert (refused.status_code, again.status_code) == (503, 204)
    assert status_of(call) is Status.IN_PROGRESS


def test_a_database_that_accepts_and_says_nothing_is_answered_with_503(sqlite: str) -> None:
    """[B12]"""
    call = make_call(Status.RINGING)
    form, path = report(call, "in-progress"), address("twilio-status", call)

    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        url = f"postgres://postgres@127.0.0.1:{silent.getsockname()[1]}/none"
        # How long to wait for a connection is the settings' to say.
        found = servers.settings_with("DATABASES", DATABASE_URL=url)["DATABASES"]["default"]
        url += f"?connect_timeout={found['OPTIONS']['connect_timeout']}"
        with worlds.orm_on(url):
            answer = within(PATIENCE_S, lambda: post(path, form))

    assert answer.status_code == 503
    assert status_of(call) is Status.RINGING


def test_a_database_that_is_down_is_answered_with_503(sqlite: str) -> None:
    """[B12]"""
    call = make_call(Status.RINGING)
    form, path = report(call, "in-progress"), address("twilio-status", call)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]

    with worlds.orm_on(f"postgres://postgres@127.0.0.1:{port}/none"):
        answer = within(PATIENCE_S, lambda: post(path, form))

    assert answer.status_code == 503


def test_an_unsigned_request_is_refused_without_asking_the_database(sqlite: str) -> None:
    """[B1] Even when there is none."""
    call = make_call(Status.RINGING)
    body = urlencode(report(call, "completed"))
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]

    with worlds.orm_on(f"postgres://postgres@127.0.0.1:{port}/none"):
        answer = post(address("twilio-status", call), {"x": body}, signature="forged")

    assert answer.status_code == 403


def test_limits_on_the_database_are_lifted_after_the_request(postgresql: str) -> None:
    from django.db import connection

    from calls.deadlines import database_deadline

    def limits() -> tuple[str, str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
            )
            found: tuple[str, str] = cursor.fetchone()
        return found

    before = limits()
    with database_deadline(1.5):
        inside = limits()

    assert inside == ("1500ms", "1500ms")
    assert limits() == before


def test_a_call_that_is_erased_while_its_report_is_handled_is_unknown(
    sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[B16] Not an error of ours."""
    call = make_call(Status.IN_PROGRESS)
    bind = progress.bind

    def erased_meanwhile(token: str, sid: str) -> Any:
        found = bind(token, sid)
        Call.objects.all().delete()
        return found

    monkeypatch.setattr(progress, "bind", erased_meanwhile)
    form = {"CallSid": call.twilio_sid or "", "AccountSid": ACCOUNT, "AnsweredBy": "human"}

    answer = post(address("twilio-amd", call), form)

    assert (answer.status_code, answer.content) == (404, b"")


def test_a_report_of_a_call_that_vanished_meanwhile_is_none(database: str) -> None:
    call = make_call(Status.RINGING)
    form = report(call, "completed")
    call.delete()

    assert post(address("twilio-status", call), form).status_code == 404
    assert not progress.end_conversation(
        "00000000-0000-0000-0000-000000000000",
        EndReason.SILENCE,
        "",
        timezone.now(),
    )
