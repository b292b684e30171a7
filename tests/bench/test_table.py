"""The report says the ratios first, and of every figure where it comes from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench import rows
from bench.measure import Figures
from bench.rows import ClientUse, Row, Spread
from bench.table import Report, capacity, number, ratio, render


def _row(key: str = "ours-daphne-pcm", calls: int = 10, **fields: Any) -> Row:
    figures = Figures(up=[0.002] * 99 + [0.004], down=[0.001] * 10, barge_in=[0.003])
    client = ClientUse(0.25, Spread.of([0.0001]))
    made = rows.row(
        key,
        calls,
        figures,
        paces=False,
        busy=0.5,
        rss_mb=0.2,
        waited=0.0,
        phone=client,
        model=client,
    )
    return replace(made, **fields)


def test_a_row_tells_processor_time_per_call_and_minute() -> None:
    row = _row(calls=10)

    assert row.cpu_s == pytest.approx(0.5 * 60 / 10)
    assert row.up == Spread(p50=2.0, p99=2.0, worst=4.0)
    assert row.is_good


def test_a_server_that_paces_is_judged_by_the_first_audio_of_its_replies() -> None:
    figures = Figures(down=[1.0], reply_begins=[0.005])
    client = ClientUse(0.0, Spread())

    row = rows.row(
        "pipecat",
        1,
        figures,
        paces=True,
        busy=0.1,
        rss_mb=1,
        waited=0,
        phone=client,
        model=client,
    )

    assert row.down.p99 == 5.0


@pytest.mark.parametrize(
    "fields",
    [
        {"lost_ms": 20.0},
        {"lost_at_start_ms": 20.0},
        {"faults": ["call-0001: the server ended the stream"]},
        {"up": Spread(1.0, 20.0, 20.0)},
        {"down": Spread(1.0, 21.0, 21.0)},
        {"up": Spread()},
    ],
)
def test_late_lost_or_broken_calls_are_not_good(fields: dict[str, Any]) -> None:
    assert not _row(**fields).is_good


def test_capacity_ends_at_the_first_load_that_is_not_good() -> None:
    late = Spread(1.0, 30.0, 30.0)
    found = [_row(calls=10), _row(calls=50, up=late), _row(calls=100), _row(calls=25)]

    assert rows.capacity(found) == 25
    assert capacity(found, is_sought=True) == "25"
    assert capacity(found[:1], is_sought=True) == "≥ 10"


def test_ratios_stand_before_the_figures_and_use_the_loads_of_the_targets() -> None:
    found = [
        _row("plain", 50, cpu_s=1.0),
        _row("pipecat", 10, cpu_s=2.0),
        _row("ours-daphne-pcm", 10, cpu_s=0.5),
        _row("ours-daphne-pcm", 50, cpu_s=0.4),
        _row("ours-daphne-pcm", 100, cpu_s=0.3, lost_ms=20.0),
    ]

    text = render(Report(found, "make bench", "a machine", {"plain": "uvicorn 1"}, 5.0, 0.0))

    ratios, figures = text.split("## Figures")
    line = next(line for line in ratios.splitlines() if "voicecall, daphne" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["voicecall, daphne", "PCM16 24 kHz", "0.40×", "0.25×", "0.60×", "50"]
    assert figures.count("voicecall, daphne | PCM16 24 kHz") == 6  # and under the load clients
    for word in ("make bench", "a machine", "uvicorn 1"):
        assert word in text


def test_every_line_of_a_table_has_as_many_cells_as_its_header() -> None:
    text = render(Report([_row()], "make bench", "a machine", {}, 5.0, 0.0))

    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_the_first_fault_of_a_run_is_quoted() -> None:
    row = _row(faults=["call-0003: the server ended the stream"])

    text = render(Report([row], "make bench", "a machine", {}, 5.0, 0.0))

    assert "call-0003: the server ended the stream" in text


def test_what_was_not_measured_is_a_dash() -> None:
    assert number(None) == "–"
    assert number(-0.01) == "0.0"
    assert ratio(1.0, None) == "–"
