"""Where audio lies: a file is visible under its name only when it is whole.

Audio arrives in a file of another name. In a file system that file lies beside the others, so that
renaming publishes it at once or not at all; elsewhere (such as S3) the storage takes the whole file
over, which is as indivisible there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage

from calls.failpoints import failpoint
from recordings.errors import Later
from recordings.models import recordings_storage

STORAGE_ERRORS: tuple[type[Exception], ...] = (OSError,)
if settings.RECORDINGS_S3_BUCKET:  # its library is an extra, and slow to import
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    STORAGE_ERRORS = (OSError, Boto3Error, BotoCoreError, ClientError)

_INCOMING = ".incoming"
_SUFFIX = ".part"
# The database and the logs may share the disk: audio never takes the last of it.
_FREE_FLOOR_BYTES = 64 * 1024 * 1024


@contextmanager
def incoming(name: str, *, room_for: int) -> Iterator[BinaryIO]:
    """A file for audio on its way, gone when the block ends unless it was published.

    `name` must be new for each try: what a killed one left can then be told from what is at work.

    Raises:
        Later: there is not enough room for `room_for` bytes, or the disk fails.
    """
    path = _incoming_dir() / f"{name}{_SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if shutil.disk_usage(path.parent).free < room_for + _FREE_FLOOR_BYTES:
            raise Later("The disk for recordings is full. Make room.", needs_a_person=True)
        path.touch(mode=0o600, exist_ok=False)
        with path.open("r+b") as file:
            yield file
    except STORAGE_ERRORS as exc:
        raise Later(
            f"The recording could not be stored ({type(exc).__name__}). Check the storage.",
            needs_a_person=True,
        ) from exc
    finally:
        path.unlink(missing_ok=True)


def publish(file: BinaryIO, name: str) -> str:
    """Make an incoming file visible as `name`, at once or not at all; return its name there.

    What lies there already, left by a try that was killed before it could tell, is replaced.
    """
    file.flush()
    os.fsync(file.fileno())
    storage = recordings_storage()
    target = _local_path(storage, name)
    failpoint("recordings.before_rename")
    if target is None:
        if storage.exists(name):
            storage.delete(name)
        file.seek(0)
        return storage.save(name, File(file))
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    Path(file.name).replace(target)
    # The new name itself must survive a power cut too.
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return name


def remove_leftovers(is_at_work: Callable[[str], bool]) -> int:
    """Delete incoming files that nobody works on any more; return how many.

    `is_at_work` is asked with the name that `incoming` was given.
    """
    removed = 0
    for path in _incoming_dir().glob(f"*{_SUFFIX}"):
        if not is_at_work(path.name.removesuffix(_SUFFIX)):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _incoming_dir() -> Path:
    local = _local_path(recordings_storage(), _INCOMING)
    return local or Path(settings.VAR_DIR, "incoming")


def _local_path(storage: Storage, name: str) -> Path | None:
    # Not by trying `path`: others have one too, that leads nowhere.
    return Path(storage.path(name)) if isinstance(storage, FileSystemStorage) else None


def incoming_name(sid: str, attempt: int) -> str:
    """The name of the incoming file of one try."""
    return f"{sid}.{attempt}"


def try_of(name: str) -> tuple[str, int] | None:
    """The recording's SID and the try that an incoming file's name stands for."""
    sid, dot, attempt = name.partition(".")
    return (sid, int(attempt)) if dot and attempt.isdecimal() else None
