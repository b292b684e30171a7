"""The load client against real servers: two calls, a few seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.machine import Cores
from bench.runner import Bench
from bench.subjects import PLAIN, SUBJECTS, Subject, Workshop


def _bench(var_dir: Path) -> Bench:
    every = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    # Held for long enough that a whole reply falls into the window.
    workshop = Workshop(var_dir, lambda text: None)
    return Bench(workshop, Cores(every, every), hold_s=6.0, warm_up_s=0.5, settle_s=0.5)


@pytest.mark.parametrize(
    ("subject", "filter_ms"),
    [(PLAIN, 0.0), (SUBJECTS["ours-daphne-pcm"], 1.35)],
    ids=["plain", "ours"],
)
def test_two_calls_are_held_and_nothing_of_them_is_lost(
    subject: Subject, filter_ms: float, tmp_path: Path, whole_product: None
) -> None:
    row = _bench(tmp_path).run(subject, 2)

    assert row.faults == []
    assert (row.lost_ms, row.lost_at_start_ms) == (0, 0)
    assert row.up_filter_ms == pytest.approx(filter_ms, abs=0.2)
    assert row.down_filter_ms == pytest.approx(filter_ms, abs=0.2)
    for spread in (row.up, row.down, row.first_audio):
        assert spread.p50 is not None
        assert spread.p50 > 0
    assert row.cpu_s > 0
    assert row.phone.busy > 0
    assert row.phone.late.p99 is not None
