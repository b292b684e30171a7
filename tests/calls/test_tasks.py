"""Celery's door: every task that is scheduled exists, and may be delivered any number of times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from calls import tasks
from calls.core.lifecycle import Status
from calls.failpoints import VARIABLE, FailpointError, failpoint
from calls.models import Heartbeat
from tests.calls.kit import FakeTwilio, make_call, row, status_of


@pytest.mark.django_db  # Celery runs the system checks, and Django's ask the database
def test_every_scheduled_task_exists(settings: Any) -> None:
    from voicecall.celery import app

    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}

    assert scheduled <= set(app.tasks)


@pytest.mark.django_db
def test_the_heartbeat_shows_that_scheduler_and_worker_work() -> None:
    before = timezone.now()

    tasks.heartbeat()
    tasks.heartbeat()

    assert Heartbeat.objects.get(name="beat").at >= before


@pytest.mark.django_db
def test_each_task_does_its_work_and_does_it_once(twilio: FakeTwilio) -> None:
    """[A6, A7]"""
    call = make_call()

    for _ in range(3):
        tasks.sweep_due_calls()
        tasks.place_call(str(call.pk))
        tasks.settle_calls()
        tasks.poll_prices()
        tasks.hang_up_call(str(call.pk))

    assert len(twilio.created) == 1
    assert status_of(call) is Status.INITIATED


@pytest.mark.django_db
@pytest.mark.parametrize(
    "task", [tasks.place_call, tasks.hang_up_call, tasks.finish_call], ids=lambda t: t.name
)
def test_a_task_for_a_call_that_is_gone_does_nothing(task: Any) -> None:
    task("00000000-0000-0000-0000-000000000000")


@pytest.mark.django_db
def test_the_end_of_an_answered_call_stores_what_it_cost() -> None:
    call = make_call(
        Status.COMPLETED, answered_at=timezone.now(), ended_at=timezone.now(), duration_s=60
    )

    tasks.finish_call(str(call.pk))

    assert row(call)["estimated_cost"] is not None


# --- Failpoints ---------------------------------------------------------------------------------
@pytest.mark.parametrize("asked", [None, "", "other=raise", "nonsense"])
def test_a_failpoint_does_nothing_unless_it_is_named(
    asked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if asked is not None:
        monkeypatch.setenv(VARIABLE, asked)

    failpoint("dial.after_claim")


def test_a_failpoint_can_raise_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, f"a=raise,b=once:{tmp_path / 'done'}:raise")

    for name in ("a", "a", "b"):
        with pytest.raises(FailpointError):
            failpoint(name)
    failpoint("b")


def test_a_failpoint_can_kill_the_process() -> None:
    code = "from calls.failpoints import failpoint; failpoint('x'); print('alive')"
    environment = {**os.environ, VARIABLE: "x=kill"}

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, timeout=30, check=False
    )

    assert (done.returncode, done.stdout) == (-9, b"")
