"""Carries facts from the audio path into the database, in order, without the path waiting.

Facts enter a bounded queue in memory. One thread appends them to a file, several times a second,
and another brings the file into the database and removes it. So neither a database that hangs nor
a killed process costs more than the last moment; what is left on disk is brought in by the next
process. A disk that takes nothing is passed by.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from calls.core.facts import Fact, TurnSaid
from calls.services import transcripts
from realtime import spill
from realtime.spill import Segment

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 0.2
RETRY_EVERY_S = 0.5
MAX_FACTS = 50_000
BATCH = 500
# The database cannot be asked; whatever else it answers is about the fact.
OUTAGE = (OperationalError, InterfaceError)

P = ParamSpec("P")
T = TypeVar("T")


class Journal:
    """One per process and event loop; it begins with what an earlier process left on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._facts: deque[Fact] = deque()  # not yet on disk
        # Both belong to the disk's thread.
        self._current: Segment | None = None  # is being written
        self._waiting: deque[Segment] = deque()  # to be brought into the database, oldest first
        self._count_in = self._count_stored = self._count_applied = 0
        self._is_away = self._is_disk_away = False
        self._has_facts, self._has_files = asyncio.Event(), asyncio.Event()
        self._progress = asyncio.Condition()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="journal-disk")
        # Its own thread: a slow query elsewhere does not hold up the journal, nor the reverse.
        self._database = ThreadPoolExecutor(1, thread_name_prefix="journal-database")
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(_for_ever(w)) for w in (self._store, self._apply)]

    def put(self, fact: Fact) -> None:
        """Take a fact; never blocks, never raises."""
        if len(self._facts) >= MAX_FACTS:
            # Reached only when neither database nor disk takes anything: keep the newest.
            self._facts.popleft()
            self._count_stored += 1
            self._count_applied += 1
        self._facts.append(fact)
        self._count_in += 1
        self._has_facts.set()

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything put so far is in the database, or on disk while that is away."""
        target = self._count_in

        def is_safe() -> bool:
            stored = self._is_away and self._count_stored >= target
            return stored or self._count_applied >= target

        try:
            async with asyncio.timeout(timeout_s), self._progress:
                await self._progress.wait_for(is_safe)
        except TimeoutError:
            return False
        return True

    async def ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the database something in the journal's thread, on the connection it keeps.

        Raises:
            django.db.Error: the database did not answer.
        """

        def in_thread() -> T:
            try:
                return question(*args, **kwargs)
            except OUTAGE:
                connection.close()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._database, in_thread)

    async def close(self) -> None:
        """Stop. What is not in the database yet stays on disk, for the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        loop = asyncio.get_running_loop()
        if self._facts:
            await loop.run_in_executor(self._disk, self._write_last)
        # In the thread: the proxy finds its own connection.
        await loop.run_in_executor(self._database, _disconnect)
        self._disk.shutdown()
        self._database.shutdown()
        for segment in (*self._waiting, self._current):
            if segment is not None:
                segment.release()

    # -- from memory to disk ---------------------------------------------------------------------
    async def _store(self) -> None:
        while True:
            await self._has_facts.wait()
            self._has_facts.clear()
            while self._facts:
                if not await self._store_batch():
                    await asyncio.sleep(RETRY_EVERY_S)
            await asyncio.sleep(WRITE_EVERY_S)

    async def _store_batch(self) -> bool:
        batch = [self._facts.popleft() for _ in range(min(BATCH, len(self._facts)))]
        is_safe = False
        try:
            is_safe = await self._make_safe(batch)
        finally:
            if not is_safe:
                self._facts.extendleft(reversed(batch))
                self._has_facts.set()
        return is_safe

    async def _make_safe(self, batch: list[Fact]) -> bool:
        loop = asyncio.get_running_loop()
        try:
            written = await loop.run_in_executor(self._disk, self._write, batch)
        except OSError as exc:
            if not self._is_disk_away:
                logger.error("journal: the disk takes nothing: %s", exc)  # noqa: TRY400
            self._is_disk_away = True
            if self._count_applied < self._count_stored:
                return False  # older facts are still on their way: keep the order
            applied = await loop.run_in_executor(self._database, self._record, batch)
            self._is_away = not applied
            if not applied:
                return False
            self._count_applied += len(batch)
        else:
            self._is_disk_away = False
            self._count_applied += len(batch) - written
            self._has_files.set()
        self._count_stored += len(batch)
        _log_speech(batch)
        await self._tell_progress()
        return True

    def _write(self, batch: list[Fact]) -> int:
        """In the disk's thread: append to the current file; how many it took."""
        lines, refused = [], []
        for fact in batch:
            try:
                lines.append(spill.encode(fact))
            except (TypeError, ValueError) as exc:
                refused.append(_refuse(fact, exc))
        if lines:
            if self._current is None:
                self._current = Segment.create(self._folder)
            self._current.append(lines)
        self._keep_aside(refused)
        return len(lines)

    def _write_last(self) -> None:
        try:
            self._write(list(self._facts))
        except OSError:
            logger.exception("journal: %d facts are lost", len(self._facts))

    # -- from disk to the database ---------------------------------------------------------------
    async def _apply(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._disk, self._take_over)
        while True:
            while (segment := await loop.run_in_executor(self._disk, self._next)) is not None:
                await self._apply_segment(segment)
            await self._has_files.wait()
            self._has_files.clear()

    def _take_over(self) -> None:
        self._waiting.extendleft(reversed(spill.take_over(self._folder)))

    def _next(self) -> Segment | None:
        """In the disk's thread: the oldest file; from now on nothing is added to it."""
        if not self._waiting and self._current is not None:
            self._waiting.append(self._current)
            self._current = None
        return self._waiting[0] if self._waiting else None

    async def _apply_segment(self, segment: Segment) -> None:
        loop = asyncio.get_running_loop()
        while (n := await loop.run_in_executor(self._database, self._apply_batch, segment)) != 0:
            self._is_away = n is None
            if segment.is_own:
                self._count_applied += n or 0
            await self._tell_progress()
            if n is None:
                await asyncio.sleep(RETRY_EVERY_S)
        await loop.run_in_executor(self._disk, self._done_with, segment)

    def _done_with(self, segment: Segment) -> None:
        self._waiting.remove(segment)
        try:
            segment.remove()
        except OSError:
            logger.exception("journal: %s stays; that does no harm", segment.path)
        if not segment.is_own:
            logger.info("journal: brought %s into the database", segment.path)

    def _apply_batch(self, segment: Segment) -> int | None:
        """In the database's thread: how many lines are done with; None: the database is away."""
        lines = segment.read(BATCH)
        facts, refused = [], []
        for line in lines:
            try:
                facts.append(spill.decode(line))
            except (ValueError, KeyError, TypeError):
                # A process was killed while writing it, or one of a newer release wrote it.
                logger.warning("journal: an unreadable line of %s is kept aside", segment.path)
                refused.append(line.decode("utf-8", "replace").rstrip("\n"))
        if not self._record(facts):
            return None
        self._keep_aside(refused)
        segment.advance(lines)
        return len(lines)

    def _record(self, facts: list[Fact]) -> bool:
        """In the database's thread: False if it is away. One bad fact does not stop the others."""
        if not facts:
            return True
        try:
            _record_or_reconnect(facts)
        except OUTAGE as exc:
            if not self._is_away:
                logger.warning("journal: the database is away (%s)", type(exc).__name__)
            return False
        except Exception as exc:  # noqa: BLE001  (its text may quote what was said)
            logger.warning("journal: a batch was refused (%s)", type(exc).__name__)
            return self._record_singly(facts)
        return True

    def _record_singly(self, facts: list[Fact]) -> bool:
        refused = []
        for fact in facts:
            try:
                transcripts.record([fact])
            except OUTAGE:
                connection.close()
                return False  # all of them again, later: that changes nothing
            except Exception as exc:  # noqa: BLE001  (as above)
                refused.append(_refuse(fact, exc))
        self._keep_aside(refused)
        return True

    def _keep_aside(self, lines: list[str]) -> None:
        if not lines:
            return
        try:
            spill.keep_aside(self._folder, lines)
        except OSError:
            logger.exception("journal: %d refused facts could not be kept", len(lines))

    async def _tell_progress(self) -> None:
        async with self._progress:
            self._progress.notify_all()


async def _for_ever(work: Callable[[], Awaitable[None]]) -> None:
    """A bug in one round must not silence the journal for good."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("journal: a fault; going on")
            await asyncio.sleep(RETRY_EVERY_S)


def _record_or_reconnect(facts: list[Fact]) -> None:
    """The connection is kept between batches; one that went stale meanwhile is no outage."""
    is_fresh = connection.connection is None
    try:
        transcripts.record(facts)
    except OUTAGE:
        connection.close()
        if is_fresh:
            raise
        try:
            transcripts.record(facts)
        except OUTAGE:
            connection.close()
            raise


def _disconnect() -> None:
    connection.close()


def _refuse(fact: Fact, exc: Exception) -> str:
    """Tell an operator, without quoting what was said; the line to keep."""
    logger.error(
        "call %s: a %s is refused (%s)",
        fact.call_id,
        type(fact).__name__,
        type(exc).__name__,
    )
    try:
        return spill.encode(fact)
    except (TypeError, ValueError):
        return repr(fact)


def _log_speech(batch: list[Fact]) -> None:
    """Quote speech in the log, where an operator has asked for that."""
    if not settings.LOG_TRANSCRIPTS:
        return
    for fact in batch:
        if not isinstance(fact, TurnSaid) or not fact.text or not fact.is_final:
            continue
        if fact.speaker == "recipient":
            logger.info("[OpenAI Realtime] User said: %s", fact.text)
        else:
            logger.info("[OpenAI Realtime] AI responding: %s", fact.text)


_journals: WeakKeyDictionary[asyncio.AbstractEventLoop, Journal] = WeakKeyDictionary()


def journal() -> Journal:
    """The running event loop's journal."""
    loop = asyncio.get_running_loop()
    found = _journals.get(loop)
    if found is None:
        found = _journals[loop] = Journal(Path(settings.VAR_DIR) / "journal")
    return found


async def close_journal() -> None:
    """Stop the running event loop's journal, if it has one."""
    found = _journals.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.close()
