"""System checks: settings that are well-formed one by one and do not fit together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import run_checks
from pytest_django.fixtures import Settings

from calls.checks import TAG

Found = Callable[..., list[str]]

POSTGRES, SQLITE = "django.db.backends.postgresql", "django.db.backends.sqlite3"
REAL = {
    "TWILIO_BASE_URL": "https://api.twilio.com",
    "PUBLIC_BASE_URL": "https://calls.example.org",
    "SECRET_KEY": "x" * 40,
    "CALLING_HOURS": "09:00-20:00",
    "CALLING_HOURS_SUNDAY": "12:00-20:00",
    "LOG_TRANSCRIPTS": False,
    "UNKNOWN_GRACE_S": 60,
    "DEBUG": False,
    "TWILIO_API_KEY": None,
    "TWILIO_API_SECRET": None,
    "DATABASE": POSTGRES,
    "REDIS_URL": "redis://redis:6379/0",
    "CELERY_BROKER_URL": "redis://redis:6379/0",
}


@pytest.fixture
def found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Found:
    """What the checks find in a sound configuration after some changes."""

    def find(**changed: Any) -> list[str]:
        values = {**REAL, **changed}
        monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", values.pop("DATABASE"))
        for name, value in values.items():
            setattr(settings, name, value)
        return [str(message.id) for message in run_checks(tags=[TAG])]

    return find


def test_a_sound_configuration_raises_nothing(found: Found) -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"PUBLIC_BASE_URL": "http://calls.example.org"}, ["voicecall.E001"]),
        ({"PUBLIC_BASE_URL": "https://127.0.0.1"}, ["voicecall.E002"]),
        ({"PUBLIC_BASE_URL": "https://localhost:8000"}, ["voicecall.E002"]),
        ({"SECRET_KEY": "sandbox-only-not-a-secret-0123456789abcdef"}, ["voicecall.E003"]),
        ({"TWILIO_API_KEY": "SK1"}, ["voicecall.E004"]),
        ({"TWILIO_API_SECRET": "s"}, ["voicecall.E004"]),
        ({"DEBUG": True}, ["voicecall.E005"]),
        (
            {"REDIS_URL": None, "CELERY_BROKER_URL": "filesystem://localhost"},
            ["voicecall.W001"],
        ),
        ({"DATABASE": SQLITE}, ["voicecall.W002"]),
        ({"CALLING_HOURS": "00:00-24:00"}, ["voicecall.W003"]),
        ({"CALLING_HOURS": "closed"}, []),
        ({"LOG_TRANSCRIPTS": True}, ["voicecall.W004"]),
        ({"UNKNOWN_GRACE_S": 29}, ["voicecall.W005"]),
        ({"UNKNOWN_GRACE_S": 30}, []),
    ],
)
def test_each_fault_has_its_id(found: Found, changed: dict[str, Any], expected: list[str]) -> None:
    assert found(**changed) == expected


def test_the_sandbox_may_do_what_real_calls_may_not(found: Found) -> None:
    quiet = found(
        TWILIO_BASE_URL="http://127.0.0.1:8010",
        PUBLIC_BASE_URL="http://127.0.0.1:8000",
        SECRET_KEY="sandbox-only-not-a-secret-0123456789abcdef",
        CALLING_HOURS="00:00-24:00",
        LOG_TRANSCRIPTS=True,
        DEBUG=True,
        DATABASE=SQLITE,
        REDIS_URL=None,
        CELERY_BROKER_URL="filesystem://localhost",
    )

    assert quiet == []


def test_every_message_says_how_to_mend_it(found: Found) -> None:
    found(PUBLIC_BASE_URL="http://localhost", DEBUG=True, LOG_TRANSCRIPTS=True)

    messages = run_checks(tags=[TAG])
    assert len(messages) == 4
    assert all(message.hint for message in messages)
