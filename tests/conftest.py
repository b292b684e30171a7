"""The world in which tests run: sandbox configuration, private files, no network but loopback."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import servers, worlds
from tests.worlds import World

_OWN = "own "

# --- Fixtures -----------------------------------------------------------------------------------


@pytest.fixture
def sandbox() -> Iterator[servers.Sandbox]:
    """A sandbox of this test's own, without any process of the product."""
    with servers.sandbox() as running:
        yield running


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database."""
    with _or_not_run("PostgreSQL") as stack:
        yield stack.enter_context(servers.postgres_database())


@pytest.fixture
def redis_url() -> Iterator[str]:
    """The URL of an empty Redis database."""
    with _or_not_run("Redis") as stack:
        yield stack.enter_context(servers.redis_database())


@pytest.fixture
def own_redis() -> Iterator[servers.OwnRedis]:
    """A Redis server that the test may stop and flush."""
    with _or_not_run("Redis") as stack:
        yield stack.enter_context(servers.own_redis())


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that Playwright can drive."""
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name) if name else None
        if found:
            return found
    servers.not_run("a browser", "no chromium installed (apt install chromium)")
    raise AssertionError("unreachable")


@pytest.fixture(scope="session")
def _open_worlds() -> Iterator[dict[str, World]]:
    opened: dict[str, World] = {}
    with ExitStack() as stack:
        opened_stack[:] = [stack]
        yield opened
        opened_stack.clear()


opened_stack: list[ExitStack] = []


@pytest.fixture(params=worlds.BACKENDS)
def world(
    request: pytest.FixtureRequest,
    _open_worlds: dict[str, World],
    django_db_blocker: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """The whole product running for real, once per backend; shared by tests, clean for each.

    The ORM of this process works on the world's database.
    """
    backend: str = request.param
    if backend not in _open_worlds:
        with _or_not_run(worlds.NEEDS[backend]) as stack:
            opened = stack.enter_context(worlds.open_world(backend))
            opened_stack[0].push(stack.pop_all())
        _open_worlds[backend] = opened
    running = _open_worlds[backend]
    running.check()
    _allow_orm_beside_a_browser(monkeypatch)
    with django_db_blocker.unblock(), worlds.orm_on(running.database_url):
        running.reset()
        try:
            yield running
        except BaseException:
            print(running.report())
            raise


@pytest.fixture
def whole_product() -> None:
    """For a test that runs the whole product by itself: it belongs with those of a `world`."""


@pytest.fixture(params=worlds.BACKENDS, ids=lambda name: f"{_OWN}{name}")
def new_world(
    request: pytest.FixtureRequest, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    """Opens a world of this test's own, whose processes it may kill: `new_world(worker_env=…)`."""
    backend: str = request.param
    _allow_orm_beside_a_browser(monkeypatch)
    with _or_not_run(worlds.NEEDS[backend]) as stack:

        def open_one(**options: Any) -> World:
            opened = stack.enter_context(worlds.open_world(backend, **options))
            stack.enter_context(django_db_blocker.unblock())
            stack.enter_context(worlds.orm_on(opened.database_url))
            return opened

        yield open_one


def _allow_orm_beside_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright keeps an event loop in this thread; Django takes it for one that we run on."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


class _or_not_run(ExitStack):  # noqa: N801
    """An exit stack in which a missing server skips the test and is named in the last lines."""

    def __init__(self, need: str = "nothing") -> None:
        super().__init__()
        self._need = need

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        handled = super().__exit__(kind, exc, trace)
        if isinstance(exc, servers.Missing):
            servers.not_run(self._need, str(exc))
        return bool(handled)


# --- Which tests belong together ------------------------------------------------------------------

_WORLDS = {"world", "new_world", "whole_product"}
_DATABASE = {"db", "transactional_db"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--worlds",
        choices=["all", "only", "none"],
        default="all",
        help="tests that run the whole product: with the others, alone, or not at all",
    )
    parser.addoption(
        "--only-database",
        action="store_true",
        help="run only tests that use the database: the others do not care which one it is",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    worlds_wanted = config.getoption("--worlds")
    only_database = config.getoption("--only-database")

    def is_wanted(item: pytest.Item) -> bool:
        fixtures = set(getattr(item, "fixturenames", ()))
        if worlds_wanted != "all" and bool(fixtures & _WORLDS) != (worlds_wanted == "only"):
            return False
        uses_database = item.get_closest_marker("django_db") or fixtures & _DATABASE
        return not only_database or bool(uses_database)

    kept = [item for item in items if is_wanted(item)]
    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = kept


class _ByWorld(LoadScopeScheduling):  # type: ignore[misc]  # xdist's has no types
    """All tests that share a world run in one process; the others wherever there is room.

    The mark `xdist_group` would say the same, and has no effect with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        for backend in worlds.BACKENDS:
            if backend in nodeid and f"{_OWN}{backend}" not in nodeid:
                return backend
        return nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return _ByWorld(config, log) if config.getoption("--worlds") == "only" else None


# --- What was not run is said last, and counts where everything must run --------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Generator[None]:
    yield  # all other summaries: ours stands below them
    for line, count in sorted(_not_run(terminalreporter).items()):
        tests = "test" if count == 1 else "tests"
        terminalreporter.write_line(f"{line} ({count} {tests})", yellow=True, bold=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("REQUIRE_ALL") == "1" and reporter is not None and _not_run(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _not_run(reporter: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for skipped in reporter.stats.get("skipped", []):
        reason = skipped.longrepr[2] if isinstance(skipped.longrepr, tuple) else ""
        _, mark, what = reason.partition(servers.NOT_RUN)
        if mark:
            found[mark + what] = found.get(mark + what, 0) + 1
    return found


def pytest_unconfigure() -> None:
    servers.stop_shared()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["VOICECALL_TESTS_DIR"], ignore_errors=True)


# --- No test speaks to the outside ----------------------------------------------------------------


class OutsideError(RuntimeError):
    """A test tried to reach something beyond this machine."""


def _only_loopback(connect: Callable[..., Any]) -> Callable[..., Any]:
    named = [os.environ.get(name) for name in ("TEST_REDIS_URL", "TEST_DATABASE_URL")]
    allowed = {"localhost", *(urlsplit(url).hostname for url in named if url)}

    def checked(self: socket.socket, address: Any) -> Any:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            host = address[0]
            if host not in allowed and not _is_loopback(host):
                raise OutsideError(f"a test tried to connect to {host}")
        return connect(self, address)

    return checked


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if sys.platform != "win32":
    socket.socket.connect = _only_loopback(socket.socket.connect)  # type: ignore[method-assign]
    socket.socket.connect_ex = _only_loopback(socket.socket.connect_ex)  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """End what threads of asynchronous tests left connected, so that the database can go."""
    yield
    from django.db import connection

    with django_db_blocker.unblock():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
