"""The embedded broker: nothing half-written is ever read, nothing is read twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from voicecall import folder_queue

folder_queue.install()


def channel(connection: Connection) -> folder_queue.Channel:
    found = connection.default_channel
    assert isinstance(found, folder_queue.Channel)
    return found


@pytest.fixture
def connect(tmp_path: Path) -> Callable[[], Connection]:
    for name in ("messages", "processed", "control"):
        (tmp_path / name).mkdir()
    options = {
        "data_folder_in": str(tmp_path / "messages"),
        "data_folder_out": str(tmp_path / "messages"),
        "processed_folder": str(tmp_path / "processed"),
        "control_folder": str(tmp_path / "control"),
    }
    return lambda: Connection("filesystem://localhost", transport_options=options)


def test_messages_come_out_once_and_in_order(connect: Callable[[], Connection]) -> None:
    with connect() as writer, connect() as reader:
        for number in range(20):
            channel(writer)._put("tasks", {"number": number})

        got = [channel(reader)._get("tasks")["number"] for _ in range(20)]

        assert got == list(range(20))
        with pytest.raises(Empty):
            channel(reader)._get("tasks")


def test_readers_in_parallel_share_the_messages_while_they_are_being_written(
    connect: Callable[[], Connection],
) -> None:
    count = 600
    written = threading.Event()
    got: list[list[int]] = [[], [], []]

    def read(mine: list[int]) -> None:
        with connect() as reader:
            while True:
                was_all = written.is_set()
                try:
                    mine.append(channel(reader)._get("tasks")["number"])
                except Empty:
                    if was_all:
                        return

    readers = [threading.Thread(target=read, args=(mine,)) for mine in got]
    for thread in readers:
        thread.start()
    with connect() as writer:
        for number in range(count):
            channel(writer)._put("tasks", {"number": number, "padding": "x" * 20_000})
    written.set()
    for thread in readers:
        thread.join(60)

    assert sorted(chain(*got)) == list(range(count))


def test_a_message_that_is_being_written_is_not_seen(
    connect: Callable[[], Connection], tmp_path: Path
) -> None:
    (tmp_path / "messages" / "1_ab.tasks.msg.12.new").write_text('{"numb')

    with connect() as reader, pytest.raises(Empty):
        channel(reader)._get("tasks")


def test_an_unreadable_message_is_dropped_and_the_next_one_read(
    connect: Callable[[], Connection], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "messages" / "0_ab.tasks.msg").write_text("")
    with connect() as reader:
        channel(reader)._put("tasks", {"number": 1})

        got = channel(reader)._get("tasks")

    assert got == {"number": 1}
    assert "0_ab.tasks.msg is unreadable" in caplog.text


def test_workers_that_bind_at_the_same_time_all_hear_a_broadcast(
    connect: Callable[[], Connection],
) -> None:
    exchange = Exchange("everybody", type="fanout", durable=False)
    queues = [Queue(f"worker-{n}", exchange, durable=False) for n in range(8)]

    def bind(queue: Queue) -> None:
        with connect() as connection:
            queue(connection.default_channel).declare()

    threads = [threading.Thread(target=bind, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with connect() as connection:
        channel(connection)._put_fanout("everybody", {"hello": 1}, "")
        heard: list[Any] = [channel(connection)._get(queue.name) for queue in queues]

    assert heard == [{"hello": 1}] * 8
