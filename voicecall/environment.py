"""Reads settings from the environment and `.env`, and reports every fault at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from zoneinfo import available_timezones

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from environs import EnvValidationError, FileAwareEnv
from marshmallow import ValidationError


class Faults(ImproperlyConfigured):
    """The configuration cannot be used; the text is one line per variable."""


class Environment(FileAwareEnv):
    """Typed reading, with `NAME_FILE` for secrets; `check` raises one error naming all faults."""

    def __init__(self, base_dir: Path) -> None:
        super().__init__(eager=False, strip_whitespace=True)
        self._unreadable: dict[str, str] = {}
        path = Path(os.environ.get("VOICECALL_ENV_FILE", base_dir / ".env"))
        if path.is_file():
            # What the process was given wins over the file.
            self.read_env(str(path), recurse=False, override=False)

    def _get_value(self, env_key: str, default: Any) -> Any:
        try:
            value = super()._get_value(env_key, default)
        except ValueError as exc:
            self._unreadable[env_key] = str(exc)
            return default
        # `NAME=` in a file means the same as no line at all.
        return default if value == "" else value

    def check(self, fixes: Mapping[str, str]) -> None:
        """Stop reading and report what is missing or malformed.

        Raises:
            Faults: one line per variable, naming it and its fix.
        """
        problems: dict[str, str] = dict.fromkeys(self._unreadable, "cannot be read")
        try:
            self.seal()
        except EnvValidationError as exc:
            found = exc.error_messages
            for name, faults in found.items() if isinstance(found, Mapping) else ():
                problems.setdefault(name, _describe(faults))
        if not problems:
            return
        known = {**fixes, **self._unreadable}
        lines = [
            f"{name} {what}: {known.get(name, 'see docs/configuration.md')}"
            for name, what in sorted(problems.items())
        ]
        _print_plainly()
        raise Faults("\n".join(["The configuration has faults.", *lines]))


def _print_plainly() -> None:
    """Whichever program is being started: a traceback would hide the lines that matter."""
    before = sys.excepthook

    def hook(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
        if isinstance(exc, Faults):
            print(exc, file=sys.stderr)
        else:
            before(kind, exc, trace)

    sys.excepthook = hook


# --- What environs has no word for ---------------------------------------------------------------
def is_zone(value: str) -> None:
    """Refuse what is no time zone."""
    if value not in available_timezones():
        raise ValidationError(f"{value} is not a time zone; write it like Europe/Berlin")


def is_database_url(value: str) -> None:
    """Refuse what is no address of a database."""
    try:
        parsed = dj_database_url.parse(value)
    except ValueError as exc:
        raise ValidationError("write it like postgres://user:password@host:5432/name") from exc
    if not parsed["ENGINE"].endswith(("sqlite3", "postgresql")):
        raise ValidationError("only postgres:// and sqlite:// are supported")


def is_writable_folder(value: str) -> None:
    """Refuse a folder that cannot be made, or not be written to."""
    try:
        Path(value).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ValidationError(f"{value} cannot be made: {exc.strerror}") from exc
    if not os.access(value, os.W_OK | os.X_OK):
        raise ValidationError(f"{value} is not writable for this user")


def _describe(faults: list[str]) -> str:
    text = " ".join(str(fault) for fault in faults)
    if "not set" in text:
        return "is not configured"
    return f"is not valid ({text.rstrip('.')})"
