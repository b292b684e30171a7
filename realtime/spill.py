"""Facts on disk: files that belong to whoever holds their lock.

Processes, also those in other containers, may share the folder. A process writes into files of
its own and holds an exclusive lock on each; when it dies, the lock goes with it, and another may
take the file over.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import IO, Self

from calls.core.facts import Fact, from_json, to_json

logger = logging.getLogger(__name__)

PATTERN = "journal-*.jsonl"


class Segment:
    """A file of facts, one JSON object per line; nobody else reads or writes it while it is open.

    Raises (from everything that touches the file):
        OSError: the disk is full, or gone.
    """

    def __init__(self, path: Path, file: IO[bytes], *, is_own: bool) -> None:
        self.path = path
        self.is_own = is_own  # written by this process, not left behind by another
        self._file = file
        self._end = file.seek(0, os.SEEK_END)
        self._applied = 0  # bytes that need not be read again

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new, empty file; it gets its name only when it is locked."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _new_name()
        unnamed = path.with_suffix(".new")
        file = unnamed.open("a+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        unnamed.rename(path)
        return cls(path, file, is_own=True)

    def append(self, lines: Iterable[str]) -> None:
        """Add whole lines, durably, or none of them."""
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            # Past the file's own buffer, which would try again what a full disk has refused.
            _write_all(self._file.fileno(), data)
            os.fsync(self._file.fileno())
        except OSError:
            self._forget_after(self._end)
            raise
        self._end += len(data)

    def read(self, count: int) -> list[bytes]:
        """The oldest lines that `advance` has not passed yet; none: all are done with."""
        self._file.seek(self._applied)
        return list(islice(self._file, count))

    def advance(self, lines: list[bytes]) -> None:
        """These need not be read again."""
        self._applied += sum(map(len, lines))

    def remove(self) -> None:
        """Everything in it is in the database."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def release(self) -> None:
        """Leave the file to whoever comes next."""
        self._file.close()

    def _forget_after(self, end: int) -> None:
        """Half a line must not spoil the next one. Giving space back works on a full disk, too."""
        try:
            os.ftruncate(self._file.fileno(), end)
        except OSError:
            logger.exception("journal: %s may hold a broken line", self.path)


def take_over(folder: Path) -> list[Segment]:
    """What processes that no longer live have left behind, oldest first.

    Each file gets a new name: should an owner that takes no locks still live, then what it adds
    from now on goes to a file of the old name.
    """
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.glob(PATTERN)):
        try:
            segment = _claim(path)
        except OSError:
            logger.exception("journal: %s cannot be read", path)
            continue
        if segment is not None:
            found.append(segment)
    return found


def _claim(path: Path) -> Segment | None:
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return None  # somebody else was faster
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
            file.close()  # applied and removed, between our opening and locking it
            return None
        mine = path.rename(path.with_name(_new_name()))
    except BlockingIOError:
        file.close()  # its owner lives
        return None
    except OSError:
        file.close()
        raise
    return Segment(mine, file, is_own=False)


def keep_aside(folder: Path, lines: Iterable[str]) -> None:
    """Keep for a person to look at what the database refuses; it is never replayed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"refused-{os.getpid()}-{uuid.uuid4().hex}.jsonl").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def encode(fact: Fact) -> str:
    """A fact as one line of ASCII.

    Raises:
        TypeError, ValueError: it holds something that JSON does not know.
    """
    return json.dumps(to_json(fact))


def decode(line: bytes) -> Fact:
    """Read what `encode` wrote.

    Raises:
        ValueError, KeyError, TypeError: somebody else wrote it, or was killed while writing.
    """
    return from_json(json.loads(line))


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _new_name() -> str:
    # The time is for the order only.
    return f"journal-{time.time_ns():020d}-{uuid.uuid4().hex}.jsonl"
