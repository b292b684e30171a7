"""How the product starts when its configuration is at fault: clean lines, each with the fix."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers import ROOT, free_port

PROGRAMS: dict[str, Sequence[str]] = {
    "manage.py": ["manage.py", "migrate"],
    "web": ["-m", "daphne", "-p", "0", "voicecall.asgi:application"],
    "worker": ["-m", "celery", "-A", "voicecall", "worker"],
    "beat": ["-m", "celery", "-A", "voicecall", "beat"],
}


def start(
    arguments: Sequence[str], tmp_path: Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with these settings and no others."""
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    nothing = tmp_path / "no.env"
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**env, "VOICECALL_ENV_FILE": str(nothing), "VAR_DIR": str(tmp_path), **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_all_faults_are_named_at_once_without_a_traceback(program: str, tmp_path: Path) -> None:
    done = start(PROGRAMS[program], tmp_path, TWILIO_PHONE_NUMBER="call me")

    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert lines[0] == "The configuration has faults."
    assert "OPENAI_API_KEY is not configured: create a project key at" in done.stderr
    assert "TWILIO_PHONE_NUMBER is not valid" in done.stderr
    assert {line.split()[0] for line in lines[1:]} == {
        "DJANGO_SECRET_KEY",
        "OPENAI_API_KEY",
        "PUBLIC_BASE_URL",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "TWILIO_PHONE_NUMBER",
    }


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_URL", "mongo://host/name", "write it like postgres://"),
        ("DATABASE_URL", "mysql://host/name", "only postgres:// and sqlite://"),
        ("TIME_ZONE", "Mars/Olympus", "write it like Europe/Berlin"),
        ("VAR_DIR", "/proc/nobody/writes/here", "cannot be made"),
        ("CALLING_HOURS", "morning", "CALLING_HOURS is not valid"),
        ("CALL_MAX_DURATION_S", "a while", "CALL_MAX_DURATION_S is not valid"),
        ("TWILIO_TIMEOUT_S", "0", "TWILIO_TIMEOUT_S is not valid"),
        ("PUBLIC_BASE_URL", "calls.example.org", "PUBLIC_BASE_URL is not valid"),
        ("OPENAI_API_KEY_FILE", "/no/such/file", "OPENAI_API_KEY cannot be read"),
    ],
)
def test_a_malformed_value_is_named_with_the_fix(
    name: str, value: str, says: str, tmp_path: Path
) -> None:
    done = start(["manage.py", "check"], tmp_path, **{name: value})

    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_secret_may_be_kept_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-from-a-file\n")
    code = "from django.conf import settings; print(settings.OPENAI_API_KEY)"

    done = start(
        ["-c", code],
        tmp_path,
        VOICECALL_ENV_FILE=str(_without_key(tmp_path)),
        OPENAI_API_KEY_FILE=str(tmp_path / "key"),
        DJANGO_SETTINGS_MODULE="voicecall.settings",
    )

    assert done.stdout == "sk-from-a-file\n", done.stderr


def _without_key(folder: Path) -> Path:
    lines = (ROOT / "sandbox.env").read_text().splitlines()
    file = folder / "rest.env"
    file.write_text("\n".join(line for line in lines if not line.startswith("OPENAI_API_KEY")))
    return file


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        done = start(
            ["-m", "demo"],
            tmp_path,
            WEB_PORT=str(port),
            TWILIO_PORT=str(free_port()),
            OPENAI_PORT=str(free_port()),
        )

    assert done.returncode == 1
    fix = f"stop what uses it, or choose another: make run WEB_PORT={port + 1}"
    assert done.stderr.splitlines() == [f"Port {port} is taken (Address already in use): {fix}"]
    assert not (tmp_path / "voicecall.sqlite3").exists()
