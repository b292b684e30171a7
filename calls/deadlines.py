"""A deadline on everything that the database is asked within a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import Error, connection

_SQLITE_DEFAULT_MS = 10_000
_SET_SQL = (
    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
    " set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)"
)


@contextmanager
def database_deadline(seconds: float) -> Iterator[None]:
    """Let no statement or lock within the block take longer than `seconds`.

    What takes longer raises `OperationalError`. Connecting has its own deadline, in the settings.
    A block that asks the database nothing opens no connection.
    """
    deadline = _Deadline(round(seconds * 1000))
    try:
        with connection.execute_wrapper(deadline):
            yield
    finally:
        deadline.lift()


class _Deadline:
    """Sets the limits before the first statement, and puts the old ones back."""

    def __init__(self, timeout_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._before: tuple[str, str] | None = None
        self._is_setting = False

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if self._before is None and not self._is_setting:
            self._is_setting = True
            try:
                self._before = _set(f"{self._timeout_ms}ms", f"{self._timeout_ms}ms")
            finally:
                self._is_setting = False
        return execute(sql, params, many, context)

    def lift(self) -> None:
        # A connection that is lost, or in a broken transaction, has nothing to put back:
        # a rollback restores the settings too.
        if self._before is None or connection.connection is None or connection.needs_rollback:
            return
        try:
            _set(*self._before)
        except Error:
            # The block's own error, if any, is the one to see; the lost connection goes with it.
            connection.close()


def _set(statement_timeout: str, lock_timeout: str) -> tuple[str, str]:
    """Set both limits and return what they were."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"PRAGMA busy_timeout = {int(lock_timeout.removesuffix('ms'))}")
            return "", f"{_SQLITE_DEFAULT_MS}ms"
        cursor.execute(_SET_SQL, [statement_timeout, lock_timeout])
        row = cursor.fetchone()
        return row[0], row[1]
