"""The helpers that other tests stand on: real servers come, answer and go."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from demo.processes import Died, Process, stop_all
from tests import servers


def test_a_test_database_is_new_and_empty_and_gone_afterwards() -> None:
    with servers.postgres_database() as url, psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone()

    assert tables == (0,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url, connect_timeout=3)


def test_postgresql_is_started_where_none_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_check_postgres", _nothing_there)
    servers.postgres_url.cache_clear()
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)

    url = servers.postgres_url()

    servers.postgres_url.cache_clear()
    with psycopg.connect(url, connect_timeout=3) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    servers.stop_shared()


def _nothing_there(url: str) -> None:
    raise servers.Missing("nothing there")


def test_a_redis_of_our_own_comes_back_empty_on_the_same_port() -> None:
    with servers.own_redis() as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("key", "value")
        server.stop()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("key") is None


def test_a_shared_redis_database_is_taken_by_one_test_at_a_time() -> None:
    with servers.redis_database() as first, servers.redis_database() as second:
        assert first != second


def test_a_child_that_dies_is_reported_with_its_last_words() -> None:
    process = _python("import sys; print('no such luck'); sys.exit(3)")

    process.wait(10)

    with pytest.raises(Died, match=r"(?s)code 3.*no such luck"):
        process.check()


def test_children_of_children_end_too() -> None:
    code = "import subprocess,sys; p=subprocess.Popen(['sleep','600']); print(p.pid); p.wait()"
    process = _python(code)
    grandchild = int(process.wait_for_line(str.isdigit, timeout_s=10))

    stop_all([process], grace_s=5)

    servers.wait_until(lambda: _is_gone(grandchild), what="the grandchild to end")


def test_a_child_that_ignores_the_request_is_killed_and_named() -> None:
    code = "import signal,time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(600)"
    process = _python(code)
    process.wait_for_line(lambda line: line == "up", timeout_s=10)

    late = stop_all([process], grace_s=0.2)

    assert late == ["child"]
    assert process.returncode == -9


def _python(code: str) -> Process:
    return Process("child", [sys.executable, "-c", code], env=dict(os.environ))


def _is_gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
