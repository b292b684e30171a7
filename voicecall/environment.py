"""Reads settings from the environment and `.env`, and reports every fault at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from environs import EnvValidationError, FileAwareEnv

from voicecall.validators import each, is_pair


class Faults(ImproperlyConfigured):
    """The configuration cannot be used; the text is one line per variable."""


class Environment(FileAwareEnv):
    """Typed reading, with `NAME_FILE` for secrets; `check` raises one error naming all faults."""

    def __init__(self, base_dir: Path) -> None:
        super().__init__(eager=False, strip_whitespace=True)
        self._unreadable: dict[str, str] = {}
        self._read_file(base_dir)

    def _read_file(self, base_dir: Path) -> None:
        named = os.environ.get("VOICECALL_ENV_FILE")
        path = Path(named or base_dir / ".env")
        what = "VOICECALL_ENV_FILE" if named else ".env"
        try:
            # What the process was given wins over the file.
            was_there = self.read_env(str(path), recurse=False, override=False)
        except (OSError, ValueError) as exc:
            self._unreadable[what] = str(exc)
        else:
            if named and not was_there:
                fix = "name one that is there, or leave the variable out"
                self._unreadable[what] = f"there is no file {path}; {fix}"

    def _get_value(self, env_key: str, default: Any) -> Any:
        try:
            value = super()._get_value(env_key, default)
        except ValueError as exc:
            self._unreadable[env_key] = str(exc)
            return default
        # `NAME=` in a file means the same as no line at all.
        return default if value == "" else value

    def pairs(self, name: str, default: dict[str, str]) -> dict[str, str]:
        """Read `name=value,name=value`."""
        parts: list[str] | None = self.list(name, [], validate=each(is_pair))
        pairs = (part.partition("=") for part in parts or [])
        return {key.strip(): value.strip() for key, _, value in pairs} or default

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
        refuse(lines)


def refuse(lines: Sequence[str]) -> NoReturn:
    """End the program that is being started.

    Raises:
        Faults: always.
    """
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


def _describe(faults: list[str]) -> str:
    text = " ".join(str(fault) for fault in faults)
    if "not set" in text:
        return "is not configured"
    return f"is not valid ({text.rstrip('.')})"
