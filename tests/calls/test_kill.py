"""Workers that are killed, answers that are lost: nobody is dialled twice, nobody is forgotten.

Real workers, a real broker, and the sandbox as Twilio. What was dialled is counted at the sandbox,
never from our own rows.
"""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from calls.core.lifecycle import Status
from calls.models import Call, Heartbeat
from calls.services import placing
from demo.processes import Process
from tests.calls.kit import make_agent, make_recipient, status_of
from tests.servers import ended, wait_until
from tests.worlds import World

pytestmark = pytest.mark.timeout(180)
NewWorld = Callable[..., World]
# Short patience, so that what Twilio never heard of is dialled again soon.
SOON = {"TWILIO_TIMEOUT_S": "1", "UNKNOWN_GRACE_S": "2"}


def start_calls(
    world: World, count: int, *, kind: str = "busy", faults: Sequence[str] = ()
) -> list[Call]:
    """Ask for calls to people of one kind; each of `faults` befalls the dial of one of them."""
    people = [make_recipient() for _ in range(count)]
    options = {"ring_s": 0.2} if kind == "busy" else {}
    for person in people:
        world.sandbox.person(person.phone, kind, **options)
    for person, what in zip(people, faults, strict=False):
        order = {"where": "rest.create", "what": what, "times": 1, "call": person.phone}
        world.sandbox.control("POST", "faults", order)
        # So that callbacks do not always come to the rescue before the next sweep.
        late = {"where": "webhook.status", "what": "delay:7", "times": 0, "call": person.phone}
        world.sandbox.control("POST", "faults", late)
    world.sandbox.control("POST", "settings", {"cps": 100.0})
    requested = placing.request_calls(people, make_agent(), by=None, request_key="form-1")
    assert len(requested.queued) == count
    return requested.queued


def dialled(world: World) -> Counter[str]:
    """How often Twilio created a call to each number."""
    return Counter(call["to"] for call in world.sandbox.control("GET", "calls"))


def wait_for_ends(calls: list[Call], *, timeout_s: float = 120) -> None:
    ids = [call.pk for call in calls]

    def all_ended() -> bool:
        found = Call.objects.filter(pk__in=ids)
        return all(call.state.is_terminal for call in found)

    wait_until(all_ended, what=f"the end of {len(calls)} calls", timeout_s=timeout_s)


def audit(world: World, calls: list[Call]) -> None:
    """Each person was dialled once, and each row ends as Twilio's call did."""
    assert dialled(world) == Counter(call.to_number for call in calls)
    theirs = {call["to"]: call for call in world.sandbox.control("GET", "calls")}
    for call in calls:
        call.refresh_from_db()
        assert call.twilio_sid == theirs[call.to_number]["sid"]
        assert call.status == theirs[call.to_number]["status"]


FAULTS = [
    "after:500",
    "after:reset",
    "after:hang",
    "after:html",
    "status:500",
    "status:503",
    "reset",
    "hang",
    "429",
    "html",
    "early",
]


def test_whatever_is_killed_and_whatever_answer_is_lost_each_person_is_dialled_once(
    new_world: NewWorld, tmp_path: Path
) -> None:
    """[A1, A2, A3, A4, A6, A27, B9, R1, R2] At each failpoint, and at random instants."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311 - not a secret
    points = [tmp_path / name for name in ("dial.after_claim", "dial.after_post")]
    failpoints = ",".join(f"{point.name}=once:{point}:kill" for point in points)
    world = new_world(env=SOON, worker_env={"VOICECALL_FAILPOINTS": failpoints}, concurrency=4)
    calls = start_calls(world, 20, faults=FAULTS)

    for _ in range(2):
        _pause(chance.uniform(0.5, 4.0))
        world.restart_worker({"VOICECALL_FAILPOINTS": failpoints})
    wait_for_ends(calls)

    audit(world, calls)
    assert all(point.exists() for point in points)
    left = world.sandbox.control("GET", "faults")["faults"]
    assert not [fault for fault in left if fault["where"] == "rest.create"]


def test_without_any_callback_calls_are_found_and_ended_all_the_same(
    new_world: NewWorld, tmp_path: Path
) -> None:
    """[A2, A20, B11] Their workers died with the SIDs unsaved: Twilio's list has them."""
    killed = tmp_path / "killed"
    failpoints = {"VOICECALL_FAILPOINTS": f"dial.before_record=once:{killed}:kill"}
    world = new_world(env=SOON, worker_env=failpoints, concurrency=2)
    world.sandbox.fault("webhook.status", "drop", times=0)

    calls = start_calls(world, 4, kind="no-answer")
    for call in calls:
        _wait_for_sid(call)
        placing.hang_up(call, by=None)
    wait_for_ends(calls)

    audit(world, calls)
    assert killed.exists()
    assert {status_of(call) for call in calls} == {Status.CANCELED}


def test_two_schedulers_and_what_has_piled_up_without_a_worker_dial_everyone_once(
    new_world: NewWorld, tmp_path: Path
) -> None:
    """[A10, A11, A12] However many ticks wait for the workers."""
    world = new_world(env=SOON, concurrency=2)
    command = [sys.executable, "-m", "celery", "-A", "voicecall", "beat", "--pidfile="]
    second = Process("beat 2", [*command, "-s", str(tmp_path / "schedule")], env=world.env)
    with ended([second]):
        world.worker.kill()
        calls = start_calls(world, 8)
        ticks = Heartbeat.objects.filter(name="beat")
        _pause(6)  # one tick of the sweep, which no worker takes

        restarted = timezone.now()
        world.restart_worker()
        world.second_worker()
        wait_until(ticks.filter(at__gt=restarted).exists, what="a tick")
        wait_for_ends(calls)

    audit(world, calls)


def _wait_for_sid(call: Call) -> None:
    bound = Call.objects.filter(pk=call.pk, twilio_sid__isnull=False)
    wait_until(bound.exists, what=f"the SID of {call.pk}", timeout_s=60)


def _pause(seconds: float) -> None:
    """Let a random time pass: it is the instant of the kill that is tested."""
    threading.Event().wait(seconds)


@pytest.fixture(autouse=True)
def _quick_kicks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """This process has no broker of the world's: its kicks are lost, and the sweep must do."""
    from calls import kicks

    class Lost(kicks.Publisher):
        def publish(self, entries: list[kicks.Kick]) -> None:
            pass

    monkeypatch.setattr(kicks, "publisher", Lost())
