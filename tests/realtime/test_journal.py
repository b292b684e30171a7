"""Facts reach disk at once and the database in order: also when it was away, also after a crash."""

from __future__ import annotations

import asyncio
import fcntl
import json
import resource
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.db import DataError, OperationalError, connections

from calls.core.facts import Fact, TurnSaid, to_json
from calls.models import Call, Turn
from calls.services import transcripts
from realtime import journal as journals
from realtime import spill
from realtime.journal import Journal
from tests.realtime.rows import a_call

pytestmark = pytest.mark.django_db(transaction=True)


class Database:
    """What stands between the journal and the database; it can be told to fail."""

    def __init__(self) -> None:
        self.is_away = False
        self.is_asked = threading.Event()
        self.has_failed = threading.Event()
        self.answers = threading.Event()
        self.answers.set()
        self.refuses: Callable[[Fact], bool] = lambda fact: False
        self._record = transcripts.record

    def record(self, facts: list[Fact]) -> None:
        self.is_asked.set()
        self.answers.wait(30)
        if self.is_away:
            self.has_failed.set()
            raise OperationalError("the server is gone")
        if any(self.refuses(fact) for fact in facts):
            raise DataError("invalid byte sequence")
        self._record(facts)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    found = Database()
    monkeypatch.setattr("realtime.journal.transcripts.record", found.record)
    monkeypatch.setattr("realtime.journal.RETRY_EVERY_S", 0.01)
    yield found
    found.answers.set()
    connections.close_all()


@pytest.fixture
async def journal(tmp_path: Path, database: Database) -> AsyncIterator[Journal]:
    book = Journal(tmp_path)
    yield book
    database.answers.set()
    await book.close()


def turn(call: Call, number: int) -> TurnSaid:
    return TurnSaid(str(call.pk), f"item_{number}", number, "agent", f"{number}", number * 100)


def line(call: Call, number: int) -> str:
    return json.dumps(to_json(turn(call, number))) + "\n"


def on_disk(folder: Path) -> list[str]:
    """The texts of the turns that wait in files."""
    text = "".join(path.read_text() for path in sorted(folder.glob(spill.PATTERN)))
    return [json.loads(row)["text"] for row in text.splitlines()]


def refused(folder: Path) -> list[str]:
    return [row for path in folder.glob("refused-*") for row in path.read_text().splitlines()]


async def _a_call() -> Call:
    return await sync_to_async(a_call)()


async def _texts(call: Call) -> list[str]:
    turns = Turn.objects.filter(call=call).values_list("text", flat=True)
    return [text async for text in turns]


async def stored(call: Call, *texts: str) -> None:
    """Wait until the call's transcript is this."""
    async with asyncio.timeout(10):
        while await _texts(call) != list(texts):  # noqa: ASYNC110  (another thread writes)
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (another thread works)
            await asyncio.sleep(0.01)


async def test_facts_arrive_in_order(journal: Journal, tmp_path: Path) -> None:
    call = await _a_call()

    for number in range(1200):
        journal.put(turn(call, number))

    assert await journal.flush(20)
    assert await _texts(call) == [str(n) for n in range(1200)]


async def test_what_is_in_the_database_does_not_stay_on_disk(
    journal: Journal, tmp_path: Path
) -> None:
    call = await _a_call()

    journal.put(turn(call, 1))

    assert await journal.flush(10)
    await until(lambda: not list(tmp_path.iterdir()))


async def test_while_the_database_is_away_facts_are_on_disk_and_follow_later(
    journal: Journal, tmp_path: Path, database: Database
) -> None:
    call = await _a_call()
    database.is_away = True
    journal.put(turn(call, 1))
    journal.put(turn(call, 2))
    assert await journal.flush(10)
    assert on_disk(tmp_path) == ["1", "2"]

    database.is_away = False
    journal.put(turn(call, 3))

    await stored(call, "1", "2", "3")
    await until(lambda: not list(tmp_path.iterdir()))


async def test_while_the_database_hangs_facts_reach_the_disk(
    journal: Journal, tmp_path: Path, database: Database
) -> None:
    """What happens before it answers costs nothing, not even in a crash."""
    call = await _a_call()
    database.answers.clear()
    journal.put(turn(call, 1))
    await until(database.is_asked.is_set)

    for number in range(2, 50):
        journal.put(turn(call, number))

    everything = [str(n) for n in range(1, 50)]
    await until(lambda: on_disk(tmp_path) == everything)
    database.answers.set()
    await stored(call, *everything)


async def test_an_outage_that_is_known_delays_no_fact_on_its_way_to_disk(
    journal: Journal, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However seldom the database is tried again."""
    monkeypatch.setattr("realtime.journal.RETRY_EVERY_S", 60)
    call = await _a_call()
    database.is_away = True

    for number in range(1, 5):
        journal.put(turn(call, number))
        assert await journal.flush(10)

    assert on_disk(tmp_path) == ["1", "2", "3", "4"]


async def test_a_fact_that_the_database_refuses_stops_no_other(
    journal: Journal, tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log, without a word that was said, and kept for a person to look at."""
    bad, good = await _a_call(), await _a_call()
    database.refuses = lambda fact: fact.call_id == str(bad.pk)

    for fact in (turn(good, 1), turn(bad, 2), turn(good, 3)):
        journal.put(fact)

    assert await journal.flush(10)
    assert await _texts(good) == ["1", "3"]
    assert refused(tmp_path) == [line(bad, 2).strip()]
    assert f"call {bad.pk}: a TurnSaid is refused (DataError)" in caplog.text


async def test_what_was_refused_is_never_tried_again(
    tmp_path: Path, journal: Journal, database: Database
) -> None:
    call = await _a_call()
    database.refuses = lambda fact: True
    journal.put(turn(call, 1))
    assert await journal.flush(10)
    database.refuses = lambda fact: False

    following = Journal(tmp_path)
    following.put(turn(call, 2))

    assert await following.flush(10)
    await following.close()
    assert await _texts(call) == ["2"]


async def test_a_fact_that_json_does_not_know_stops_no_other(
    journal: Journal, tmp_path: Path
) -> None:
    call = await _a_call()
    odd = TurnSaid(str(call.pk), "item_1", 1, "agent", b"odd", 0)  # type: ignore[arg-type]

    journal.put(odd)
    journal.put(turn(call, 2))

    assert await journal.flush(10)
    assert await _texts(call) == ["2"]
    assert len(refused(tmp_path)) == 1


async def test_what_a_killed_process_left_is_brought_in_without_any_call(
    tmp_path: Path, database: Database
) -> None:
    call = await _a_call()
    left = tmp_path / "journal-999999999.jsonl"
    broken = '{"fact": "TurnSaid", "call_i'
    left.write_text(line(call, 1) + line(call, 2) + broken)

    journal = Journal(tmp_path)

    await stored(call, "1", "2")
    await until(lambda: not list(tmp_path.glob(spill.PATTERN)))
    assert refused(tmp_path) == [broken]
    await journal.close()


async def test_the_file_of_a_living_process_is_left_alone(
    tmp_path: Path, database: Database
) -> None:
    """Also of one in another container, whose process ids mean nothing here."""
    call = await _a_call()
    path = tmp_path / "journal-1.jsonl"
    path.write_text(line(call, 1))
    with path.open("a") as living:
        fcntl.flock(living, fcntl.LOCK_EX)

        journal = Journal(tmp_path)
        journal.put(turn(call, 2))
        assert await journal.flush(10)

        assert await _texts(call) == ["2"]
    assert path.read_text() == line(call, 1)
    await journal.close()


async def test_what_is_added_to_a_file_while_it_is_brought_in_is_kept(
    tmp_path: Path, database: Database
) -> None:
    """By an owner that takes no locks: it goes to a file of its own."""
    call = await _a_call()
    path = tmp_path / "journal-999999998.jsonl"
    path.write_text(line(call, 1))
    database.answers.clear()
    journal = Journal(tmp_path)
    await until(database.is_asked.is_set)

    with path.open("a") as file:
        file.write(line(call, 2))
    database.answers.set()

    await stored(call, "1")
    assert path.read_text() == line(call, 2)
    await journal.close()


async def test_when_the_disk_takes_nothing_the_database_gets_the_facts(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await _a_call()
    monkeypatch.setattr(spill.Segment, "append", _disk_full)

    for number in range(3):
        journal.put(turn(call, number))

    assert await journal.flush(10)
    assert await _texts(call) == ["0", "1", "2"]


async def test_when_nothing_takes_facts_the_newest_are_kept(
    journal: Journal, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on its way at that moment is not counted as written, and not lost."""
    monkeypatch.setattr("realtime.journal.MAX_FACTS", 100)
    monkeypatch.setattr("realtime.journal.BATCH", 50)
    append = spill.Segment.append
    monkeypatch.setattr(spill.Segment, "append", _disk_full)
    call = await _a_call()
    database.answers.clear()
    for number in range(100):
        journal.put(turn(call, number))
    await until(database.is_asked.is_set)  # 0 to 49 are on their way

    for number in range(100, 160):
        journal.put(turn(call, number))
    database.is_away = True
    database.answers.set()
    await until(database.has_failed.is_set)
    monkeypatch.setattr(spill.Segment, "append", append)
    database.is_away = False

    assert await journal.flush(10)
    await stored(call, *(str(n) for n in range(160) if not 50 <= n < 60))


def test_a_full_disk_spoils_nothing_that_was_written_before_or_is_written_later(
    tmp_path: Path,
) -> None:
    """Twice: what was refused is not written later, unasked, and nothing durable is cut off."""
    segment = spill.Segment.create(tmp_path)
    taken = []
    for number in range(6):
        room = 40 if number in (2, 4) else 10_000
        with disk_of(segment.path.stat().st_size + room):
            try:
                segment.append([f"{number}" * 99])
            except OSError:
                continue
        taken.append(f"{number}" * 99)

    assert [row[0] for row in taken] == ["0", "1", "3", "5"]
    assert segment.path.read_text().splitlines() == taken
    assert segment.read(10) == [f"{row}\n".encode() for row in taken]
    segment.release()


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size`: a write takes what fits, and then fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_what_waits_at_the_end_is_on_disk_for_the_next_process(
    tmp_path: Path, database: Database
) -> None:
    call = await _a_call()
    database.is_away = True
    first = Journal(tmp_path)
    first.put(turn(call, 1))

    await first.close()
    database.is_away = False
    second = Journal(tmp_path)

    await stored(call, "1")
    await second.close()


async def test_the_first_request_of_any_kind_brings_in_what_was_left(
    settings: Any, tmp_path: Path, database: Database
) -> None:
    """A process that only answers health checks does it too."""
    from voicecall.asgi import application

    settings.VAR_DIR = tmp_path
    call = await _a_call()
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "journal-999999999.jsonl").write_text(line(call, 1))
    scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": []}
    request = ApplicationCommunicator(
        application, {**scope, "query_string": b"", "http_version": "1.1"}
    )

    await request.send_input({"type": "http.request", "body": b""})
    answer = await request.receive_output(10)

    assert answer["type"] == "http.response.start"
    await stored(call, "1")
    await journals.close_journal()


def _disk_full(segment: spill.Segment, lines: list[str]) -> None:
    raise OSError(28, "No space left on device")
