"""The world of the tests of `calls`: a fake Twilio, and real databases that threads share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import servers, worlds
from tests.calls.kit import FakeTwilio, fake_twilio

DATABASES = ["sqlite", "postgresql"]


@pytest.fixture
def twilio(settings: Any) -> Iterator[FakeTwilio]:
    """A Twilio of this test's own, at which the gateway points."""
    with fake_twilio() as fake:
        settings.TWILIO_BASE_URL = fake.url
        yield fake


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The URLs of databases that have been migrated already, by kind."""
    found: dict[str, str] = {}
    with ExitStack() as stack:
        opened.append(stack)
        found["folder"] = str(tmp_path_factory.mktemp("databases"))
        yield found
        opened.clear()


opened: list[ExitStack] = []


def _url_of(kind: str, migrated: dict[str, str]) -> str:
    if kind not in migrated:
        if kind == "sqlite":
            url = f"sqlite:///{Path(migrated['folder'], 'shared.sqlite3')}"
        else:
            url = opened[0].enter_context(servers.postgres_database())
        with worlds.orm_on(url):
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
        migrated[kind] = url
    return migrated[kind]


@pytest.fixture(params=DATABASES)
def database(
    request: pytest.FixtureRequest, _migrated: dict[str, str], django_db_blocker: Any
) -> Iterator[str]:
    """A real database of each kind, committed to and shared by threads; empty at the start."""
    yield from _open(request.param, _migrated, django_db_blocker)


@pytest.fixture
def postgresql(_migrated: dict[str, str], django_db_blocker: Any) -> Iterator[str]:
    """The same, PostgreSQL only."""
    yield from _open("postgresql", _migrated, django_db_blocker)


@pytest.fixture
def sqlite(_migrated: dict[str, str], django_db_blocker: Any) -> Iterator[str]:
    """The same, SQLite only."""
    yield from _open("sqlite", _migrated, django_db_blocker)


def _open(kind: str, migrated: dict[str, str], django_db_blocker: Any) -> Iterator[str]:
    with django_db_blocker.unblock():
        try:
            url = _url_of(kind, migrated)
        except servers.Missing as exc:
            servers.not_run("PostgreSQL", str(exc))
            return
        with worlds.orm_on(url):
            try:
                yield url
            finally:
                _empty()


def _empty() -> None:
    from calls import models

    for model in (
        models.CallEvent,
        models.Turn,
        models.Usage,
        models.Call,
        models.Recipient,
        models.Agent,
        models.DoNotCall,
        models.DialingPause,
        models.QuarantinedEvent,
    ):
        model._base_manager.all().delete()
