"""The whole product as real processes against the sandbox, on either set of servers."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from demo.processes import Process
from tests import servers
from tests.servers import Sandbox

SQLITE = "sqlite+filesystem"
POSTGRES = "postgres+redis"
NEEDS = {SQLITE: "nothing", POSTGRES: "PostgreSQL and Redis"}
BACKENDS = list(NEEDS)
SECRETS = ("DJANGO_SECRET_KEY", "TWILIO_AUTH_TOKEN", "OPENAI_API_KEY")
STAFF = ("staff", "staff-password-for-tests")


@dataclass
class World:
    """Web, worker, beat and sandbox, running. In its tests, the ORM works on its database."""

    backend: str
    base_url: str
    database_url: str
    sandbox: Sandbox
    env: dict[str, str]
    var_dir: Path
    web: Process
    worker: Process
    beat: Process
    _also: list[Process] = field(default_factory=list)

    @property
    def processes(self) -> list[Process]:
        return [self.sandbox.process, self.web, self.worker, self.beat, *self._also]

    def check(self) -> None:
        """Raise if one of the processes has died."""
        for process in self.processes:
            process.check()

    def report(self) -> str:
        """What the processes said last."""
        return "\n".join(
            f"--- {process.name} (code {process.returncode}) ---\n{process.tail(80)}"
            for process in self.processes
        )

    def told_secrets(self) -> list[str]:
        """What the product's processes printed and nobody may read there."""
        secrets = [self.env[name] for name in SECRETS]
        account = f"{self.env['TWILIO_ACCOUNT_SID']}:{self.env['TWILIO_AUTH_TOKEN']}"
        secrets.append(base64.b64encode(account.encode()).decode())
        return [
            f"{process.name}: {line}"
            for process in self.processes
            if process is not self.sandbox.process
            for line in process.lines
            if any(secret in line for secret in secrets)
        ]

    def manage(self, *arguments: str) -> str:
        """Run a management command in this world."""
        return servers.manage(*arguments, env=self.env)

    def login(self, username: str = STAFF[0], password: str = STAFF[1]) -> Staff:
        """A member of staff with an open session."""
        return Staff(self.base_url, username, password)

    def restart_worker(self, env: Mapping[str, str] | None = None) -> None:
        """Start a new worker in place of one that was killed; return when it takes tasks."""
        self.worker.kill()
        self.worker = servers.start_worker({**self.env, **(env or {})})
        servers.await_worker(self.worker)

    def second_worker(self, env: Mapping[str, str] | None = None) -> Process:
        """Start another worker beside the first."""
        worker = servers.start_worker({**self.env, **(env or {})}, name="worker 2")
        self._also.append(worker)
        servers.await_worker(worker)
        return worker

    def reset(self) -> None:
        """Forget calls, people and faults, here and in the sandbox; prices and staff stay."""
        from django.apps import apps
        from django.db import connection

        self.sandbox.reset()
        kept = {"Price", "Heartbeat"}
        models = [
            model
            for label in ("calls", "recordings")
            for model in apps.get_app_config(label).get_models(include_auto_created=True)
            if model.__name__ not in kept
        ]
        with connection.constraint_checks_disabled():
            # Dependants were declared after what they depend on.
            for model in reversed(models):
                if model.__name__ not in {"Agent", "Recipient", "Call"}:
                    model._base_manager.all().delete()
            for name in ("Call", "Recipient", "Agent"):
                apps.get_model("calls", name)._base_manager.all().delete()


class Staff:
    """A member of staff at work over HTTP, as a browser without scripts would be."""

    def __init__(self, base_url: str, username: str, password: str) -> None:
        self.base_url = base_url
        self.http = requests.Session()
        self.http.trust_env = False
        self.get("/admin/login/")
        answer = self.post("/admin/login/", username=username, password=password)
        assert "/login/" not in answer.url, f"{username} could not log in"

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET a page of ours."""
        return self.http.get(self._absolute(path), timeout=20, **options)

    def post(self, path: str, **fields: Any) -> requests.Response:
        """POST a form with its CSRF token."""
        url = self._absolute(path)
        token = self.http.cookies.get("csrftoken", "")
        return self.http.post(
            url,
            data={"csrfmiddlewaretoken": token, **fields},
            headers={"Referer": url},
            timeout=20,
        )

    def _absolute(self, path: str) -> str:
        return path if path.startswith("http") else f"{self.base_url}{path}"


@contextmanager
def open_world(
    backend: str,
    *,
    speed: float = 1.0,
    env: Mapping[str, str] | None = None,
    worker_env: Mapping[str, str] | None = None,
    own_redis: servers.OwnRedis | None = None,
    concurrency: int = 4,
) -> Iterator[World]:
    """Start everything on free ports and yield it when it is ready.

    Raises:
        Missing: the backend's servers are not to be had.
    """
    with ExitStack() as stack:
        var_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voicecall-world-")))
        addresses = dict(env or {})
        if backend == POSTGRES:
            addresses["DATABASE_URL"] = stack.enter_context(servers.postgres_database())
            addresses["REDIS_URL"] = (
                own_redis.url if own_redis else stack.enter_context(servers.redis_database())
            )
        box = stack.enter_context(servers.sandbox(speed=speed))
        listener = stack.enter_context(servers.listening_socket())
        base_url = f"http://127.0.0.1:{servers.port_of(listener)}"
        environment = servers.product_environment(
            var_dir, base_url=base_url, sandbox=box, **addresses
        )
        web = servers.start_web(listener, environment)
        started = [web]
        # A worker that is idle takes seconds to end politely; nobody needs that here.
        stack.enter_context(servers.ended(started, grace_s=0.3))
        _prepare_database(environment)
        worker = servers.start_worker(
            {**environment, **(worker_env or {})}, concurrency=concurrency
        )
        beat = servers.start_beat(environment)
        started += [worker, beat]
        servers.await_web(web, base_url)
        servers.await_worker(worker)
        database = addresses.get("DATABASE_URL", f"sqlite:///{var_dir / 'voicecall.sqlite3'}")
        world = World(backend, base_url, database, box, environment, var_dir, web, worker, beat)
        # Those started later end with the rest.
        stack.callback(lambda: started.extend(world.processes[1:]))
        yield world


def _prepare_database(env: Mapping[str, str]) -> None:
    steps = (
        "import django; django.setup()",
        "from django.core.management import call_command as run",
        "run('migrate', verbosity=0); run('createsuperuser', interactive=False, verbosity=0)",
    )
    named = {
        "DJANGO_SETTINGS_MODULE": "voicecall.settings",
        "DJANGO_SUPERUSER_USERNAME": STAFF[0],
        "DJANGO_SUPERUSER_PASSWORD": STAFF[1],
        "DJANGO_SUPERUSER_EMAIL": "staff@example.test",
    }
    servers.run_python("\n".join(steps), env={**env, **named})


@contextmanager
def orm_on(database_url: str) -> Iterator[None]:
    """Have the ORM of this process work on another database while the block runs."""
    import dj_database_url
    from django.conf import settings
    from django.db import connections

    ours = connections.settings["default"]
    parsed: dict[str, Any] = dict(dj_database_url.parse(database_url, conn_max_age=0))
    if parsed["ENGINE"] == ours["ENGINE"]:
        parsed["OPTIONS"] = ours["OPTIONS"]
    elif parsed["ENGINE"].endswith("sqlite3"):
        parsed["OPTIONS"] = {"timeout": 10, "transaction_mode": "IMMEDIATE"}
    theirs = connections.configure_settings({"default": parsed})["default"]
    theirs["TIME_ZONE"] = ours.get("TIME_ZONE")
    theirs["ATOMIC_REQUESTS"] = False
    _drop_connection()
    connections.settings["default"] = theirs
    try:
        yield
    finally:
        _drop_connection()
        connections.settings["default"] = ours
        assert settings.configured


def _drop_connection() -> None:
    """Close and forget this thread's connection, if it has one: the next is made anew."""
    from django.db import connections

    connections.close_all()
    if connections.all(initialized_only=True):
        del connections["default"]
