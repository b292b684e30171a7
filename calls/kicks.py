"""Sends background tasks on their way, without ever making anybody wait for the broker.

A kick is a hint for speed. What it announces stands in the database, and a sweep finds it there:
a kick that is lost, late or repeated changes nothing.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from typing import Any, Final
from uuid import UUID

from celery import Task
from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

# A kick that no worker took in this time is thrown away: the sweep has kicked anew by then.
EXPIRES_S: Final = 60
QUEUE_SIZE: Final = 1000
# How long a request waits for the broker to take what it kicked.
PATIENCE_S: Final = 0.25
# After a failure nobody waits for the broker again for this long.
DISTRUST_S: Final = 5.0

Kick = tuple["Task[Any, Any]", tuple[str, ...]]


def kick_on_commit(task: Task[Any, Any], *ids: UUID | str | int) -> None:
    """Start `task(id)` for each of `ids` once the transaction is through; never raises."""
    if not ids:
        return

    # A named function: Django 5.2 cannot report the failure of a functools.partial.
    def publish() -> None:
        publisher.publish([(task, (str(i),)) for i in ids])

    transaction.on_commit(publish, robust=True)


class Publisher:
    """Talks to the broker on a thread of its own, so that a silent broker hangs nobody."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Kick | threading.Event] = queue.Queue(QUEUE_SIZE)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._distrust_until = float("-inf")

    def publish(self, kicks: list[Kick]) -> None:
        """Hand the kicks over, and wait a moment for the broker to take them."""
        self._ensure_thread()
        done = threading.Event()
        try:
            for kick in kicks:
                self._queue.put_nowait(kick)
            self._queue.put_nowait(done)
        except queue.Full:
            logger.warning("the broker takes nothing; the sweep will find what was asked for")
            return
        if self.trusts_broker:
            done.wait(PATIENCE_S)

    @property
    def trusts_broker(self) -> bool:
        """Whether it is worth a moment's wait, because the broker has not failed lately."""
        return time.monotonic() >= self._distrust_until

    def _ensure_thread(self) -> None:
        with self._lock:
            # Threads do not survive a fork: a worker's child begins with its own.
            if self._pid != os.getpid():
                self._pid, self._thread = os.getpid(), None
                self._queue = queue.Queue(QUEUE_SIZE)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="kicks", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            entry = self._queue.get()
            if isinstance(entry, threading.Event):
                entry.set()
                continue
            task, args = entry
            try:
                task.apply_async(args, retry=False, expires=EXPIRES_S, ignore_result=True)
            except (OperationalError, OSError) as exc:
                self._give_up(exc)

    def _give_up(self, exc: Exception) -> None:
        """Drop what is waiting: each would cost the same timeout, and the sweep finds it all."""
        self._distrust_until = time.monotonic() + DISTRUST_S
        dropped = 1
        while True:
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                break
            if isinstance(entry, threading.Event):
                entry.set()
            else:
                dropped += 1
        logger.warning("broker is away, %d kicks left to the sweep: %s", dropped, exc)


publisher = Publisher()
