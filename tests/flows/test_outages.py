"""What a live call survives: it depends on its own process, the carrier and the model only."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from calls.core.lifecycle import EndReason, Status
from calls.models import Call
from tests import servers
from tests.flows.calling import call_person, transcript, wait_for_end, wait_for_talk
from tests.worlds import POSTGRES, World

pytestmark = pytest.mark.timeout(180)

TALK = [
    ("agent", "Hi, I am Ada, an AI assistant. Is Friday fine?"),
    ("recipient", "Yes, Friday is fine."),
    ("agent", "Great, see you on Friday. Anything else?"),
    ("recipient", "No thank you, goodbye!"),
    ("agent", "Thank you, goodbye!"),
]


def only_on(world: World, backend: str) -> None:
    if world.backend != backend:
        pytest.skip(f"a matter of {backend} only")


def test_slow_queries_in_the_same_process_do_not_touch_the_audio(world: World) -> None:
    """[C13] Every worker thread of the process waits for the database; the frames do not."""
    only_on(world, POSTGRES)
    call = call_person(world, "talks")
    wait_for_talk(call)
    staff = world.login()
    pages = [threading.Thread(target=staff.get, args=["/admin/calls/agent/"]) for _ in range(40)]

    with transaction.atomic(), connection.cursor() as cursor:
        # Staff's pages and Channels' own threads queue up behind this lock.
        cursor.execute("LOCK TABLE calls_agent IN ACCESS EXCLUSIVE MODE")
        for page in pages:
            page.start()
        servers.wait_until(
            lambda: _waiting_queries() >= 5, what="pages waiting for the lock", timeout_s=10
        )
        sent_before = _frames_to_model(world)
        servers.wait_until(
            lambda: _frames_to_model(world) >= sent_before + 3000,
            what="three seconds of audio on its way to the model",
            timeout_s=10,
        )
        assert _waiting_queries() >= 5
    for page in pages:
        page.join()
    wait_for_end(call)

    assert call.end_reason == EndReason.AGENT_ENDED
    assert transcript(call) == TALK
    _check_unbroken(world, call)


def test_a_dead_redis_is_not_noticed_by_a_call(
    own_redis: servers.OwnRedis, new_world: Callable[..., World]
) -> None:
    """[C14] Audio, transcript and page go on; the channel layer carries hints only."""
    world = new_world(own_redis=own_redis)
    only_on(world, POSTGRES)
    call = call_person(world, "talks")
    wait_for_talk(call)

    own_redis.stop()
    staff = world.login()
    servers.wait_until(
        lambda: len(staff.get(f"/calls/{call.pk}/feed").json()["turns"]) >= 3,
        what="the page's feed to go on",
    )
    wait_for_end(call)

    assert call.end_reason == EndReason.AGENT_ENDED
    assert transcript(call) == TALK
    _check_unbroken(world, call)


def test_a_call_asked_for_while_the_broker_is_away_is_placed_when_it_is_back(
    own_redis: servers.OwnRedis, new_world: Callable[..., World]
) -> None:
    """[A8, A10] Staff have their answer and see it wait; the broker comes back empty."""
    world = new_world(own_redis=own_redis)
    only_on(world, POSTGRES)
    own_redis.stop()

    call = call_person(world, "busy")
    shown = world.login().get(f"/calls/{call.pk}/feed").json()
    own_redis.start()
    wait_for_end(call, timeout_s=90)

    assert (shown["status"], call.status) == (Status.QUEUED, Status.BUSY)
    dialled = [theirs["to"] for theirs in world.sandbox.control("GET", "calls")]
    assert dialled == [call.to_number]


def _waiting_queries() -> int:
    with connection.cursor() as cursor:
        # Within a transaction the server shows one picture, unless it is told to look again.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        row = cursor.fetchone()
        return int(row[0]) if row else 0


def _frames_to_model(world: World) -> int:
    """Milliseconds of the person's audio that the model has received."""
    return int(world.sandbox.control("GET", "openai/sessions/last")["appended_ms"])


def _check_unbroken(world: World, call: Call) -> None:
    """Each sentence of the agent was played in one piece."""
    segments = world.sandbox.ledger(call.twilio_sid or "")["agent_segments"]
    spoken = call.turns.filter(speaker="agent").count()
    assert len([s for s in segments if s["source"] == "stream"]) == spoken
