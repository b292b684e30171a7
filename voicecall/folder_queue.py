"""The embedded broker: a folder of messages, for one machine without Redis.

Kombu's own filesystem transport writes messages and queue tables in place, so that a reader can
see half of one, and a worker that reads half a message dies of it. Here everything appears under
its name complete, or not at all.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem

logger = logging.getLogger(__name__)


def install() -> None:
    """Have `filesystem://` addresses use this transport."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"


class Channel(filesystem.Channel):
    """One reader or writer of the folder."""

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        # Sorted by name, the oldest comes first.
        name = f"{time.time_ns()}_{secrets.token_hex(8)}.{queue}.msg"
        _write_whole(Path(self.data_folder_out, name), payload)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        ending = f".{queue}.msg"
        for name in sorted(os.listdir(self.data_folder_in)):  # noqa: PTH208 - 20 times a second
            if name.partition(".")[1:] == (".", ending[1:]):
                message = _take(Path(self.data_folder_in, name), Path(self.processed_folder))
                if message is not None:
                    return message
        raise Empty

    def _file_of(self, exchange: str) -> Path:
        # Refuses names that would lead out of the folder.
        path: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]
        return path

    def get_table(self, exchange: str) -> list[Any]:
        """The queues bound to an exchange."""
        try:
            rows = json.loads(self._file_of(exchange).read_bytes())
        except FileNotFoundError:
            return []
        return [filesystem.exchange_queue_t(*row) for row in rows]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        row = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with self._table(exchange) as rows:
            if row not in rows:
                rows.insert(0, row)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        exchange, routing_key, pattern = args[:3]
        self._purge(queue)
        row = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with self._table(exchange) as rows:
            if row in rows:
                rows.remove(row)

    @contextmanager
    def _table(self, exchange: str) -> Iterator[list[Any]]:
        """The queues of an exchange, to be changed by one process at a time."""
        path = self._file_of(exchange)
        with Path(f"{path}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            rows = self.get_table(exchange)
            before = list(rows)
            yield rows
            if rows != before:
                _write_whole(path, rows)


class Transport(filesystem.Transport):
    """What Kombu makes of a `filesystem://` address."""

    Channel = Channel


def _write_whole(path: Path, content: Any) -> None:
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    unfinished.write_text(json.dumps(content))
    unfinished.replace(path)


def _take(path: Path, into: Path) -> Any:
    """Take a message out of the folder; None if another reader was faster, or it is unreadable."""
    taken = into / path.name
    try:
        path.rename(taken)
        text = taken.read_bytes()
        taken.unlink()
        return json.loads(text)
    except FileNotFoundError:
        return None
    except ValueError:
        # What it asked for stands in the database too: a sweep will find it there.
        logger.error("the message %s is unreadable and was dropped", path.name)  # noqa: TRY400
        return None
