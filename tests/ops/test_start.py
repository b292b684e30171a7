"""How the product starts when its configuration is at fault: clean lines, each with the fix."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from marshmallow import ValidationError

from tests.servers import ROOT, free_port
from voicecall import validators

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
    nothing = tmp_path / "nothing.env"
    nothing.touch()
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


@pytest.mark.parametrize("program", ["web", "worker", "beat"])
def test_settings_that_do_not_fit_together_are_refused(program: str, tmp_path: Path) -> None:
    done = start(
        PROGRAMS[program],
        tmp_path,
        VOICECALL_ENV_FILE=str(ROOT / "sandbox.env"),
        TWILIO_BASE_URL="https://api.twilio.com",
        PUBLIC_BASE_URL="https://calls.example.org",
        TWILIO_API_KEY="SK1",
    )

    assert done.returncode == 1
    assert "DJANGO_SECRET_KEY is the sandbox's, which everybody knows." in done.stderr
    assert "TWILIO_API_SECRET is missing" in done.stderr
    assert "Set TWILIO_API_SECRET too" in done.stderr
    assert "Traceback" not in done.stderr


def test_malformed_values_are_named_at_once_each_with_its_fix(tmp_path: Path) -> None:
    malformed = {
        "CALLING_HOURS": ("morning", "write it like 09:00-20:00, or closed"),
        "CALLING_HOURS_SUNDAY": ("20:00-09:00", "write it like 09:00-20:00, or closed"),
        "CALL_MAX_DURATION_S": ("a while", "set it to whole seconds from 30 to 3300"),
        "CELERY_BROKER_URL": ("redis", "write it like redis://host:6379/0 or amqp://"),
        "DATABASE_URL": ("mongo://host/name", "write it like postgres://"),
        "DJANGO_ALLOWED_HOSTS": ("https://example.org", "write host names only"),
        "DJANGO_CSRF_TRUSTED_ORIGINS": ("example.org", "write origins like https://"),
        "LOG_TRANSCRIPTS": ("perhaps", "set it to true or false"),
        "PHONE_REGION": ("UK", "UK is not a country's code"),
        "PUBLIC_BASE_URL": ("calls.example.org", "such as https://calls.example.org"),
        "REDIS_URL": ("localhost:6379", "write it like redis://host:6379/0"),
        "TIME_ZONE": ("Mars/Olympus", "write it like Europe/Berlin"),
        "TWILIO_SHARED_KEYS": ("secret", "write it like id=secret"),
        "TWILIO_TIMEOUT_S": ("0", "set it to seconds from 1 to 60"),
        "VAR_DIR": ("/proc/nobody/writes/here", "cannot be made"),
    }
    unreadable = {
        "OPENAI_API_KEY_FILE": "/no/such/file",
        "VOICECALL_ENV_FILE": "/no/such/settings",
    }

    values = {name: value for name, (value, _) in malformed.items()}
    done = start(["manage.py", "check"], tmp_path, **values, **unreadable)

    lines = {line.split()[0]: line for line in done.stderr.splitlines()[1:]}
    for name, (_, says) in malformed.items():
        assert "is not valid" in lines[name]
        assert says in lines[name]
    assert lines["OPENAI_API_KEY"].startswith("OPENAI_API_KEY cannot be read: ")
    assert "there is no file /no/such/settings" in lines["VOICECALL_ENV_FILE"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (validators.is_database_url, "mysql://host/name"),
        (validators.is_database_url, "postgres://user@host:port/name"),
        (validators.is_redis_url, "redis://:6379/0"),
        (validators.is_redis_url, "redis://host:port/0"),
        (validators.is_redis_url, "amqp://host//"),
        (validators.is_broker_url, "sqs://host"),
        (validators.is_public_address, "https://example.org/calls"),
        (validators.is_public_address, "https://user:secret@example.org"),
        (validators.is_public_address, "wss://example.org"),
        (validators.are_hours, "24:30-24:45"),
        (validators.is_pair, "id="),
        (validators.is_pair, "=secret"),
    ],
)
def test_a_malformed_value_is_refused(check: Callable[[str], object], value: str) -> None:
    with pytest.raises(ValidationError):
        check(value)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (validators.is_redis_url, "rediss://:secret@host:6380/1"),
        (validators.is_broker_url, "amqps://user:secret@host//"),
        (validators.is_broker_url, "filesystem://localhost"),
        (validators.is_public_address, "https://example.org:8443/"),
        (validators.is_public_address, "http://127.0.0.1:8000"),
        (validators.is_host, ".example.org"),
        (validators.is_pair, "id=secret=with=equals"),
    ],
)
def test_what_is_in_use_elsewhere_is_accepted(check: Callable[[str], object], value: str) -> None:
    check(value)


def test_a_bucket_without_the_library_for_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicecall.validators.find_spec", lambda name: None)

    with pytest.raises(ValidationError, match="django-storages"):
        validators.has_s3_library("recordings")


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
