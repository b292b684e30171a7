"""The world of the recordings' tests: a Twilio that holds recordings, and calls that have them."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from calls.core.lifecycle import Status
from calls.models import Agent, Call, CallEvent, Recipient
from recordings.models import Recording, RecordingSearch
from tests import servers, worlds
from tests.recordings.fake_twilio import FakeTwilio


@pytest.fixture
def twilio(settings: Any) -> Iterator[FakeTwilio]:
    """Twilio's REST API and media, on a real socket."""
    with FakeTwilio() as server:
        settings.TWILIO_BASE_URL = server.url
        yield server


@pytest.fixture
def list_prices(db: None) -> None:
    """Those that the migration loads; a test before this one may have emptied the tables."""
    importlib.import_module("calls.migrations.0002_prices").load(apps, None)


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URL of a migrated database of a kind, made when it is first asked for."""
    urls: dict[str, str] = {}
    with ExitStack() as stack:

        def url_of(kind: str) -> str:
            if kind not in urls:
                folder = tmp_path_factory.mktemp("database")
                url = f"sqlite:///{Path(folder, 'shared.sqlite3')}"
                if kind == "postgresql":
                    url = stack.enter_context(servers.postgres_database())
                with worlds.orm_on(url):
                    call_command("migrate", verbosity=0)
                urls[kind] = url
            return urls[kind]

        yield url_of


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, _migrated: Callable[[str], str], django_db_blocker: Any
) -> Iterator[str]:
    """The URL of a real database, which threads and other processes share; empty at the start."""
    with django_db_blocker.unblock():
        try:
            url = _migrated(request.param)
        except servers.Missing as exc:
            servers.not_run("PostgreSQL", str(exc))
            return
        with worlds.orm_on(url):
            try:
                yield url
            finally:
                for model in (Recording, RecordingSearch, CallEvent, Call, Recipient, Agent):
                    model._base_manager.all().delete()


@contextmanager
def all_about_to_update(table: str, gate: threading.Barrier) -> Iterator[None]:
    """Hold this thread before its first UPDATE of `table` until the others are there too.

    That is the worst moment for a claim: each has seen that the row is free.
    """
    held = False

    def hold(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        nonlocal held
        if not held and sql.startswith(f'UPDATE "{table}"'):
            held = True
            gate.wait(timeout=20)
        return execute(sql, *rest)

    with connection.execute_wrapper(hold):
        yield


def make_call(**fields: Any) -> Call:
    """A call that was answered and ended a minute ago."""
    ended = timezone.now() - timedelta(seconds=60)
    values = {
        "agent": Agent.objects.create(name=f"Agent {uuid4()}", instructions="Be brief."),
        "recipient": Recipient.objects.create(name="Ann", phone=f"+1{uuid4().int % 10**10:010}"),
        "request_key": str(uuid4()),
        "to_number": "+14155550101",
        "from_number": "+14155550100",
        "status": Status.COMPLETED.value,
        "twilio_sid": "CA" + uuid4().hex,
        "answered_at": ended - timedelta(seconds=10),
        "ended_at": ended,
        "duration_s": 10,
        **fields,
    }
    return Call.objects.create(**values)


def make_recording(call: Call | None = None, **fields: Any) -> Recording:
    """A recording that Twilio has announced, and that is due."""
    values = {"recording_sid": "RE" + uuid4().hex, **fields}
    return Recording.objects.create(call=call or make_call(), **values)
