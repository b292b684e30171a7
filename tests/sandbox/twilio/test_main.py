"""`python -m sandbox` as a process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def _started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_it_says_where_it_listens_and_ends_when_asked(tmp_path: Path) -> None:
    """One line on stdout, then service; SIGTERM ends it with code 0."""
    log = tmp_path / "log.jsonl"
    ports = ("--twilio-port", "0", "--openai-port", "0")

    with _started(*ports, "--log-json", str(log)) as process:
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        addresses = dict(part.split("=", 1) for part in ready[2:])
        entries = requests.get(f"{addresses['twilio']}/sandbox/log", timeout=10).json()
        process.send_signal(signal.SIGTERM)
        code = process.wait(10)

    assert ready[:2] == ["sandbox", "ready"]
    assert addresses.keys() == {"twilio", "openai"}
    assert (entries, code) == ([], 0)
    assert log.exists()


def test_a_taken_port_is_one_clear_line() -> None:
    """Exit code 2, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with _started("--twilio-port", port, "--openai-port", "0") as process:
            _, error = process.communicate(timeout=20)

    assert process.returncode == 2
    assert len(error.strip().splitlines()) == 1
    assert f"--twilio-port {port}" in error


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        (("--speed", "0"), "--speed"),
        (("--cps", "nan"), "--cps"),
        (("--route", "x"), "route"),
        (("--number", "555"), "--number"),
        (("--twilio-port", "65536"), "--twilio-port"),
        (("--log-json", "/nowhere/log.jsonl"), "--log-json"),
    ],
)
def test_a_wrong_option_is_named(argument: tuple[str, str], named: str) -> None:
    """Exit code 2 before anything listens."""
    with _started(*argument) as process:
        _, error = process.communicate(timeout=20)

    assert process.returncode == 2
    assert named in error
    assert "Traceback" not in error
