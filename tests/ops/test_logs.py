"""Log lines: one line each, whatever they quote, and never a secret."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.conf import settings

from voicecall.logs import JsonFormatter, Redact, TextFormatter

FORMATTERS: list[logging.Formatter] = [TextFormatter(), JsonFormatter()]


def written(formatter: logging.Formatter, message: str, *args: Any, exc: Any = None) -> str:
    record = logging.LogRecord("calls.tests", logging.INFO, "", 1, message, args, exc)
    assert Redact().filter(record)
    return formatter.format(record)


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize(
    "hostile",
    [
        "x\nERROR root: all is lost",
        "x\r\nERROR",
        "\x1b[2J\x1b]0;title\x07",
        "\u2028ERROR",
        "\x85ERROR",
        "\x00",
        "\u202eright to left",
    ],
)
def test_no_value_forges_a_line_or_drives_a_terminal(
    formatter: logging.Formatter, hostile: str
) -> None:
    """[F11] Newlines, terminal codes and writing directions are written as escapes."""
    line = written(formatter, "call %s: status %s", "17", hostile)

    assert len(line.splitlines()) == 1
    assert all(c.isprintable() for c in line)


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize(
    "hostile", ["\n2026-11-23T10:00:00.000Z ERROR root: forged", "\x1b[2J\x07"]
)
def test_no_traceback_does_either(formatter: logging.Formatter, hostile: str) -> None:
    """[F11] What an exception says comes from outside as well."""
    with pytest.raises(ValueError, match="invalid literal") as caught:
        raise ValueError(f"invalid literal {hostile}")
    exc = (caught.type, caught.value, caught.tb)

    _, *trace = written(formatter, "call %s: broken", "17", exc=exc).splitlines()

    assert all(line.startswith("    ") and line.isprintable() for line in trace)
    assert len(trace) > 2 or isinstance(formatter, JsonFormatter)


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_json_and_text_keep_the_words(formatter: logging.Formatter) -> None:
    line = written(formatter, "call %s: status %s", "17", "Zürich 東京")

    message = json.loads(line)["message"] if isinstance(formatter, JsonFormatter) else line
    assert "call 17: status Zürich 東京" in message


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_secrets_are_blanked_wherever_they_turn_up(formatter: logging.Formatter) -> None:
    """[F10] In the message, in its arguments, and in a traceback."""
    secret = settings.TWILIO_AUTH_TOKEN
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int(f"bad token {secret}")
    exc = (caught.type, caught.value, caught.tb)

    line = written(formatter, f"token {secret} and %s", secret, exc=exc)

    assert secret not in line
    assert "[secret]" in line


def test_every_secret_of_the_configuration_is_known_to_the_filter() -> None:
    """[F10] A secret that the filter does not know would pass."""
    for secret in (settings.SECRET_KEY, settings.TWILIO_AUTH_TOKEN, settings.OPENAI_API_KEY):
        assert secret in settings.LOG_SECRETS
