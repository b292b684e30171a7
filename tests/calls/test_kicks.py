"""A broker that refuses, is silent, or comes back: nobody waits for it, nothing is lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from celery import Celery, Task
from kombu import Connection

from calls.core.lifecycle import Status
from calls.kicks import QUEUE_SIZE, Publisher
from calls.models import Call
from calls.services import placing
from tests import servers
from tests.calls.kit import at_once, make_agent, make_recipient
from tests.servers import wait_until

# Staff wait a second at most; this is what the test waits before it says that they waited longer.
ONE_SECOND = 1.0


@contextmanager
def black_hole() -> Iterator[str]:
    """A broker that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@contextmanager
def nobody() -> Iterator[str]:
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"redis://127.0.0.1:{port}/0"


@cache
def _limits() -> dict[str, Any]:
    """What the settings say of a broker that is a Redis, in Celery's words."""
    names = ("BROKER_TRANSPORT_OPTIONS", "BROKER_CONNECTION_TIMEOUT", "TASK_PUBLISH_RETRY")
    url = "redis://127.0.0.1/0"
    found = servers.settings_with(*(f"CELERY_{name}" for name in names), REDIS_URL=url)
    return {name.removeprefix("CELERY_").lower(): value for name, value in found.items()}


def task_on(url: str) -> Task[Any, Any]:
    """A task of an application that has this broker and the product's limits."""
    app = Celery("kicks-test", broker=url, set_as_current=False)
    app.conf.update(_limits())

    @app.task(name="calls.tasks.place_call")
    def place_call(call_id: str) -> None:
        raise AssertionError("nobody works here")

    return place_call


def within(seconds: float, work: Any) -> None:
    """Run `work`, which must end before the deadline."""
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(seconds), f"still waiting after {seconds} s"


@pytest.mark.parametrize("broker", [black_hole, nobody])
def test_nobody_waits_for_a_broker_that_is_away(broker: Any) -> None:
    """[A8, A9] Not for one kick, nor for a hundred, nor the second time."""
    publisher = Publisher()

    with broker() as url:
        task = task_on(url)
        for _ in range(3):
            within(ONE_SECOND, lambda: publisher.publish([(task, (str(n),)) for n in range(100)]))


@pytest.mark.parametrize("broker", [black_hole, nobody])
def test_staff_get_their_answer_and_the_calls_stand_in_the_database(
    broker: Any, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[A8, A9] The sweep dials them when the broker is back."""
    from calls import kicks, tasks

    people, agent = [make_recipient() for _ in range(20)], make_agent()
    monkeypatch.setattr(kicks, "publisher", Publisher())

    with broker() as url:
        monkeypatch.setattr(tasks, "place_call", task_on(url))
        within(
            ONE_SECOND * 2,
            lambda: at_once(
                1, lambda _: placing.request_calls(people, agent, by=None, request_key="form-1")
            ),
        )

    assert Call.objects.filter(status=Status.QUEUED).count() == 20


def test_a_broker_that_answers_has_taken_the_kick_when_the_request_ends(redis_url: str) -> None:
    publisher = Publisher()

    publisher.publish([(task_on(redis_url), ("42",))])

    with Connection(redis_url) as connection, connection.SimpleQueue("celery") as queue:
        message = queue.get(timeout=5)
        message.ack()
    assert message.headers["argsrepr"] == "('42',)"


@pytest.mark.parametrize("broker", [black_hole, nobody])
def test_after_a_failure_the_broker_is_tried_again(broker: Any, redis_url: str) -> None:
    """[A8, A9] A kick for a broker that is back arrives, though nobody waits for it."""
    publisher = Publisher()
    with broker() as url:
        publisher.publish([(task_on(url), ("1",))])
        wait_until(lambda: not publisher.trusts_broker, what="the failure to be noticed")

    publisher.publish([(task_on(redis_url), ("2",))])

    with Connection(redis_url) as connection, connection.SimpleQueue("celery") as queue:
        message = queue.get(timeout=10)
        message.ack()
    assert message.headers["argsrepr"] == "('2',)"


def test_what_waits_for_the_broker_is_bounded() -> None:
    """[A9] More than that is left to the sweep."""
    publisher = Publisher()

    with black_hole() as url:
        task = task_on(url)
        within(
            ONE_SECOND,
            lambda: publisher.publish([(task, (str(n),)) for n in range(QUEUE_SIZE * 3)]),
        )

    assert publisher._queue.qsize() <= QUEUE_SIZE
