"""Log lines: one line each, no control characters, no secrets."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from django.conf import settings


class Redact(logging.Filter):
    """Blanks out configured secrets wherever they turn up."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        for secret in settings.LOG_SECRETS:
            message = message.replace(secret, "[secret]")
        record.msg, record.args = message, None
        return True


def _one_line(text: str) -> str:
    """Escape what could forge a second line or drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _without_secrets(text: str) -> str:
    for secret in settings.LOG_SECRETS:
        text = text.replace(secret, "[secret]")
    return text


def _indented(trace: str) -> str:
    """A traceback whose lines, whatever they quote, cannot be taken for log lines."""
    return "\n".join("    " + _one_line(line) for line in _without_secrets(trace).split("\n"))


class TextFormatter(logging.Formatter):
    """`2026-11-23T10:00:00Z INFO calls.tasks: message`, tracebacks below it, indented."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        line = f"{at}Z {record.levelname} {record.name}: {_one_line(record.getMessage())}"
        if record.exc_info:
            line = f"{line}\n{_indented(self.formatException(record.exc_info))}"
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = _without_secrets(self.formatException(record.exc_info))
        return json.dumps(entry)
