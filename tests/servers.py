"""Real servers for tests: the sandbox, the product's own processes, PostgreSQL and Redis.

Everything listens on a free port of the loopback address, is waited for on a condition, and is
ended by the context manager that started it, also when a test fails.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis
import requests
from psycopg import sql

from demo.environment import against_sandbox
from demo.processes import Died, Process, stop_all

ROOT = Path(__file__).resolve().parent.parent
NOT_RUN = "NOT RUN: needs "
READY_S = 40.0


class Missing(Exception):
    """Something that a test needs is not to be had on this machine."""


def not_run(need: str, why: str) -> None:
    """Skip the running test and name what it needs in the last lines of the report."""
    pytest.skip(f"{NOT_RUN}{need}: {why}")


def wait_until(condition: Callable[[], Any], *, what: str, timeout_s: float = READY_S) -> Any:
    """Return the first truthy value of `condition`, asked again and again until the deadline.

    Raises:
        AssertionError: names what was waited for.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for: {what}")
        time.sleep(0.02)  # the pace of asking, not a wait for something to happen


def listening_socket() -> socket.socket:
    """A socket that listens on a free port; a server inherits it, so nobody can take the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    listener.set_inheritable(True)
    return listener


def port_of(listener: socket.socket) -> int:
    """The port of a listening socket."""
    port: int = listener.getsockname()[1]
    return port


def free_port() -> int:
    """A port nobody uses at this moment, for servers that cannot inherit a socket."""
    with listening_socket() as listener:
        return port_of(listener)


# --- PostgreSQL ---------------------------------------------------------------------------------


@cache
def postgres_url() -> str:
    """The address of a PostgreSQL server on which we may create databases.

    `TEST_DATABASE_URL`, else the standard local port, else a server that we start ourselves.

    Raises:
        Missing: none of these.
    """
    named = os.environ.get("TEST_DATABASE_URL")
    if named:
        _check_postgres(named)
        return named
    local = "postgres://postgres@127.0.0.1:5432/postgres"
    try:
        _check_postgres(local)
    except Missing:
        return _started(_start_postgres)
    return local


def _check_postgres(url: str) -> None:
    try:
        with psycopg.connect(url, connect_timeout=3, autocommit=True) as connection:
            row = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.Error as exc:
        raise Missing(f"{urlsplit(url).hostname} does not answer ({_first_line(exc)})") from exc
    if not row or not row[0]:
        raise Missing("the role may not create databases")


def _start_postgres(stack: ExitStack) -> str:
    initdb = _find("initdb", "/usr/lib/postgresql/*/bin")
    postgres = _find("postgres", "/usr/lib/postgresql/*/bin")
    if initdb is None or postgres is None:
        raise Missing("no server on port 5432 and no initdb installed (apt install postgresql)")
    home = stack.enter_context(tempfile.TemporaryDirectory(prefix="voicecall-pg-"))
    # PostgreSQL refuses to run as root.
    user = _unprivileged_user() if os.geteuid() == 0 else None
    if user:
        shutil.chown(home, user)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    made = subprocess.run(
        [initdb, "-D", f"{home}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"],
        env=environment,
        user=user,
        extra_groups=[] if user else None,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if made.returncode != 0:
        raise Missing(f"initdb failed: {made.stderr.strip()}")
    port = free_port()
    options = ["-F", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={home}"]
    server = Process(
        "postgres",
        [postgres, "-D", f"{home}/data", "-p", str(port), *options],
        env=environment,
        user=user,
        cwd=Path(home),
    )
    stack.callback(stop_all, [server], grace_s=10)
    server.wait_for_line(lambda line: "ready to accept connections" in line, timeout_s=READY_S)
    return f"postgres://postgres@127.0.0.1:{port}/postgres"


def _unprivileged_user() -> str:
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise Missing("there is no user but root to run PostgreSQL as")


@contextmanager
def postgres_database() -> Iterator[str]:
    """A new, empty database, dropped at the end; yields its URL.

    Raises:
        Missing: no PostgreSQL is to be had.
    """
    server = postgres_url()
    name = f"voicecall_{os.getpid()}_{secrets.token_hex(3)}"
    with psycopg.connect(server, connect_timeout=3, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server, connect_timeout=3, autocommit=True) as admin:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            admin.execute(drop.format(sql.Identifier(name)))


# --- Redis --------------------------------------------------------------------------------------


@cache
def redis_server_url() -> str:
    """The address of a Redis server, without a database number.

    `TEST_REDIS_URL`, else the standard local port, else a server that we start ourselves.

    Raises:
        Missing: none of these.
    """
    named = os.environ.get("TEST_REDIS_URL")
    for url in [named] if named else ["redis://127.0.0.1:6379"]:
        try:
            with redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
                client.ping()
        except redis.RedisError as exc:
            if named:
                raise Missing(f"TEST_REDIS_URL does not answer ({_first_line(exc)})") from exc
        else:
            return urlunsplit(urlsplit(url)._replace(path=""))
    return _started(lambda stack: stack.enter_context(own_redis()).url)


@dataclass
class OwnRedis:
    """A Redis that belongs to one test: it may be stopped, started again and flushed."""

    port: int
    home: Path
    process: Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, empty, on the same port as before; return when it answers."""
        binary = _find("redis-server")
        if binary is None:
            raise Missing("no redis-server installed (apt install redis-server)")
        self.process = Process(
            "redis",
            [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", "."],
            env={"PATH": os.environ["PATH"]},
            cwd=self.home,
        )
        ready = "Ready to accept connections"
        self.process.wait_for_line(lambda line: ready in line, timeout_s=READY_S)

    def stop(self) -> None:
        """Kill it: connections break, everything it held is gone."""
        if self.process is not None:
            self.process.kill()
            self.process = None


@contextmanager
def own_redis() -> Iterator[OwnRedis]:
    """A Redis server of our own, for tests that stop or flush it.

    Raises:
        Missing: `redis-server` is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="voicecall-redis-") as home:
        server = OwnRedis(free_port(), Path(home))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis_database() -> Iterator[str]:
    """An empty database of a Redis server that nobody else uses meanwhile; flushed at the end.

    Raises:
        Missing: no Redis, or no free database on it.
    """
    server = redis_server_url()
    for number in range(15, 0, -1):
        url = f"{server}/{number}"
        with redis.Redis.from_url(url, socket_timeout=5) as client:
            # The key says whose it is; a run that was killed gives it back in an hour.
            mine = client.dbsize() == 0 and client.set("voicecall-tests", "1", nx=True, ex=3600)
            if not mine:
                continue
            try:
                yield url
            finally:
                client.flushdb()
            return
    raise Missing(f"databases 1 to 15 of {server} all hold something")


# --- The sandbox --------------------------------------------------------------------------------


class Sandbox:
    """A running `python -m sandbox` and its control API."""

    def __init__(self, process: Process, twilio_url: str, openai_url: str) -> None:
        self.process = process
        self.twilio_url = twilio_url
        self.openai_url = openai_url
        self._http = requests.Session()
        self._http.trust_env = False

    def control(self, method: str, path: str, body: object = None) -> Any:
        """Ask the control API, as in `control("PUT", "people/+14155550101", {"kind": "busy"})`.

        Raises:
            AssertionError: it refused; holds its answer.
        """
        answer = self._http.request(
            method, f"{self.twilio_url}/sandbox/{path}", json=body, timeout=10
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def person(self, phone: str, kind: str, **options: object) -> None:
        """Say who answers at a number."""
        self.control("PUT", f"people/{phone}", {"kind": kind, **options})

    def fault(self, where: str, what: str, *, times: int = 1) -> None:
        """Have something go wrong the next `times` times."""
        self.control("POST", "faults", {"where": where, "what": what, "times": times})

    def script(self, *responses: Mapping[str, object], match: str = "") -> None:
        """Say what the model answers next; afterwards it converses by itself.

        `match`: only in sessions whose instructions hold this text.
        """
        body = {"responses": list(responses), **({"match": match} if match else {})}
        self.control("POST", "openai/script", body)

    def log(self, *, after: int = 0) -> list[dict[str, Any]]:
        """Everything said so far, oldest first."""
        entries = self.control("GET", f"log?after={after}")
        found: list[dict[str, Any]] = entries["entries"] if isinstance(entries, dict) else entries
        return found

    def ledger(self, call_sid: str) -> dict[str, Any]:
        """What the phone of a call really played and sent."""
        found: dict[str, Any] = self.control("GET", f"calls/{call_sid}/ledger")
        return found

    def reset(self) -> None:
        """Forget people, faults, scripts, calls and the log."""
        self.control("POST", "reset")


@contextmanager
def sandbox(*, speed: float = 1.0, options: tuple[str, ...] = ()) -> Iterator[Sandbox]:
    """Start the sandbox on free ports."""
    command = [sys.executable, "-m", "sandbox", "--twilio-port", "0", "--openai-port", "0"]
    process = Process("sandbox", [*command, "--speed", str(speed), *options], env=dict(os.environ))
    with ended([process]):
        ready = process.wait_for_line(
            lambda line: line.startswith("sandbox ready"), timeout_s=READY_S
        )
        found = dict(part.split("=", 1) for part in ready.split()[2:])
        yield Sandbox(process, found["twilio"], found["openai"])


# --- The product's processes --------------------------------------------------------------------


def product_environment(
    var_dir: Path, *, base_url: str, sandbox: Sandbox, **more: str
) -> dict[str, str]:
    """The environment of a process of the product that talks to `sandbox`."""
    elsewhere = {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"}
    inherited = {name: value for name, value in os.environ.items() if name not in elsewhere}
    environment = against_sandbox(
        inherited,
        base_url=base_url,
        twilio_url=sandbox.twilio_url,
        openai_url=sandbox.openai_url,
    )
    return {**environment, "VAR_DIR": str(var_dir), **more}


def manage(*arguments: str, env: Mapping[str, str], timeout_s: float = 60) -> str:
    """Run a management command to its end and return what it printed.

    Raises:
        AssertionError: it failed; holds its output.
    """
    return _run([sys.executable, "manage.py", *arguments], env=env, timeout_s=timeout_s)


def run_python(code: str, *, env: Mapping[str, str], timeout_s: float = 60) -> str:
    """Run Python code in the project's root and return what it printed.

    Raises:
        AssertionError: it failed; holds its output.
    """
    return _run([sys.executable, "-c", code], env=env, timeout_s=timeout_s)


def settings_with(*names: str, **environment: str) -> dict[str, Any]:
    """The product's settings as they are in this environment, whatever they are in this process."""
    code = (
        "import json; from voicecall import settings;"
        f"print(json.dumps({{name: getattr(settings, name) for name in {names!r}}}))"
    )
    found: dict[str, Any] = json.loads(run_python(code, env={**os.environ, **environment}))
    return found


def _run(command: list[str], *, env: Mapping[str, str], timeout_s: float) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
    return done.stdout


def start_web(listener: socket.socket, env: Mapping[str, str], *, name: str = "web") -> Process:
    """Start Daphne on a listening socket; it may not be ready yet (see `await_web`)."""
    fd = listener.fileno()
    return Process(
        name,
        [sys.executable, "-m", "daphne", "--fd", str(fd), "voicecall.asgi:application"],
        env=env,
        pass_fds=[fd],
    )


def await_web(process: Process, base_url: str, *, path: str = "/healthz") -> None:
    """Return when the web process answers `path` with 200.

    Raises:
        Died: it ended, or the deadline passed.
    """

    def answers() -> bool:
        process.check()
        try:
            return requests.get(base_url + path, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    try:
        wait_until(answers, what=f"{base_url}{path}")
    except AssertionError as exc:
        raise Died(f"{exc}\n{process.tail()}") from exc


def start_worker(
    env: Mapping[str, str],
    *,
    name: str = "worker",
    concurrency: int = 2,
    options: tuple[str, ...] = (),
) -> Process:
    """Start a Celery worker; it may not be ready yet (see `await_worker`)."""
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    unique = f"{name}-{secrets.token_hex(3)}@%h"
    command = [sys.executable, "-m", "celery", "-A", "voicecall", "worker", "-n", unique, *quiet]
    return Process(name, [*command, "-c", str(concurrency), *options], env=env)


def await_worker(process: Process) -> None:
    """Return when the worker takes tasks."""
    process.wait_for_line(lambda line: line.endswith(" ready."), timeout_s=READY_S)


def start_beat(env: Mapping[str, str], *, name: str = "beat") -> Process:
    """Start Celery beat."""
    command = [sys.executable, "-m", "celery", "-A", "voicecall", "beat", "--pidfile="]
    return Process(name, command, env=env)


@contextmanager
def ended(processes: list[Process], *, grace_s: float = 5.0) -> Iterator[None]:
    """End the processes when the block ends; when it fails, print what they said."""
    try:
        yield
    except BaseException:
        for process in processes:
            print(f"--- {process.name} (code {process.returncode}) ---\n{process.tail(80)}")
        raise
    finally:
        stop_all(processes[::-1], grace_s=grace_s)


# --- Finding and sharing ------------------------------------------------------------------------

_shared = ExitStack()


def _started(start: Callable[[ExitStack], str]) -> str:
    """Start a server that lives until the test run ends."""
    return start(_shared)


def stop_shared() -> None:
    """End the servers that this test run started."""
    _shared.close()


def _find(program: str, *folders: str) -> str | None:
    found = shutil.which(program)
    if found:
        return found
    for folder in folders:
        places = sorted(Path("/").glob(f"{folder.lstrip('/')}/{program}"))
        if places:
            return str(places[-1])
    return None


def _first_line(exc: Exception) -> str:
    return str(exc).strip().split("\n")[0]
