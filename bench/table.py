"""The report: ratios first, then every figure, then what was measured on; pure Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import rows
from bench.rows import Row, Spread
from bench.subjects import PIPECAT, PLAIN, SUBJECTS

# The loads at which the targets compare.
AGAINST_PLAIN, AGAINST_PIPECAT, FEW, MANY = 50, 10, 10, 100
NONE = "–"
KEPT_WAITING = (
    "Kept waiting: the share of the time in which the server was ready to run and others held its"
    " core. Phone, model: how much of a core the load clients used, and how late they were,"
    " p50 / p99 / worst in milliseconds."
)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report tells."""

    rows: Sequence[Row]
    command: str
    machine: str
    versions: Mapping[str, str]  # by subject
    hold_s: float
    load_before: float
    is_capacity_sought: bool = True


def number(value: float | None, digits: int = 1) -> str:
    """A figure, or a dash where nothing was measured."""
    return NONE if value is None else f"{value:z.{digits}f}"


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all but the first two columns are figures."""
    rule = ["---"] * 2 + ["--:"] * (len(header) - 2)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def render(report: Report) -> str:
    """The whole report."""
    parts = [
        "# What the bridge costs, beside its peers",
        f"`{report.command}`, {report.hold_s:g} s per run after everybody was connected.",
        f"Machine: {report.machine}. Load before the run: {report.load_before:.1f}.",
        "## Ratios",
        _ratios(report),
        "## Figures",
        _figures(report.rows),
        "Latencies are p50 / p99 / worst in milliseconds, the filter's delay included.",
        *_remarks(report.rows),
        "## Whether that is what was measured",
        _clients(report.rows),
        KEPT_WAITING,
        "## Versions",
        "\n".join(f"- {_title(key)}: {text}" for key, text in report.versions.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# --- Ratios -------------------------------------------------------------------------------------
def _ratios(report: Report) -> str:
    header = [
        "bridge",
        "audio",
        f"CPU at {AGAINST_PLAIN} calls / {PLAIN.title}",
        f"CPU at {AGAINST_PIPECAT} calls / {PIPECAT.title}",
        f"CPU per call, {MANY} calls / {FEW}",
        "capacity, calls",
    ]
    return table(header, [_ratio_line(key, report) for key in _keys(report.rows)])


def _ratio_line(key: str, report: Report) -> list[str]:
    def cpu(key: str, calls: int) -> float | None:
        return next((r.cpu_s for r in report.rows if (r.key, r.calls) == (key, calls)), None)

    own = [row for row in report.rows if row.key == key]
    return [
        _title(key),
        _audio(key),
        ratio(cpu(key, AGAINST_PLAIN), cpu(PLAIN.key, AGAINST_PLAIN)),
        ratio(cpu(key, AGAINST_PIPECAT), cpu(PIPECAT.key, AGAINST_PIPECAT)),
        ratio(cpu(key, MANY), cpu(key, FEW)),
        capacity(own, is_sought=report.is_capacity_sought),
    ]


def ratio(value: float | None, base: float | None) -> str:
    """`value` as a multiple of `base`."""
    return NONE if value is None or not base else f"{value / base:.2f}×"


def capacity(own: list[Row], *, is_sought: bool) -> str:
    """The most calls that were good; with a plus where more were not tried."""
    most = rows.capacity(own)
    has_failed = any(not row.is_good for row in own)
    return f"{most}" if has_failed and is_sought else f"≥ {most}"


# --- Figures ------------------------------------------------------------------------------------
_COLUMNS: list[tuple[str, Callable[[Row], str]]] = [
    ("bridge", lambda r: _title(r.key)),
    ("audio", lambda r: _audio(r.key)),
    ("calls", lambda r: str(r.calls)),
    ("CPU-s per call-minute", lambda r: number(r.cpu_s, 2)),
    ("core used", lambda r: f"{r.busy:.0%}"),
    ("added up", lambda r: _spread(r.up)),
    ("added down", lambda r: _spread(r.down)),
    ("filter up, down", lambda r: f"{number(r.up_filter_ms)}, {number(r.down_filter_ms)}"),
    ("barge-in", lambda r: _spread(r.barge_in)),
    ("start → first audio", lambda r: _spread(r.first_audio)),
    ("RSS per call, MB", lambda r: number(r.rss_mb, 2)),
    ("lost, ms", lambda r: number(r.lost_ms + r.lost_at_start_ms, 0)),
    ("gaps, ms", lambda r: number(r.gaps_ms, 0)),
    ("faults", lambda r: str(len(r.faults) + r.unstopped)),
]


def _figures(found: Sequence[Row]) -> str:
    lines = [[cell(row) for _, cell in _COLUMNS] for row in found]
    return table([name for name, _ in _COLUMNS], lines)


def _spread(spread: Spread) -> str:
    return " / ".join(number(value) for value in (spread.p50, spread.p99, spread.worst))


def _remarks(found: Sequence[Row]) -> list[str]:
    remarks = []
    paced = [subject.title for subject in SUBJECTS.values() if subject.paces]
    if any(row.key == PIPECAT.key for row in found):
        remarks.append(
            f"{', '.join(paced)} hands audio on in real time: its latency down is that of each"
            " reply's first audio."
        )
    faults = [
        f"{_title(row.key)}, {row.calls} calls: {row.faults[0]}" for row in found if row.faults
    ]
    return remarks + faults


def _clients(found: Sequence[Row]) -> str:
    header = ["bridge", "audio", "calls", "kept waiting", "phone", "late", "model", "late"]
    lines = [
        [
            _title(row.key),
            _audio(row.key),
            str(row.calls),
            f"{row.waited:.0%}",
            f"{row.phone.busy:.0%}",
            _spread(row.phone.late),
            f"{row.model.busy:.0%}",
            _spread(row.model.late),
        ]
        for row in found
    ]
    return table(header, lines)


# --- Names --------------------------------------------------------------------------------------
def _keys(found: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.key for row in found))


def _title(key: str) -> str:
    return SUBJECTS[key].title


def _audio(key: str) -> str:
    return SUBJECTS[key].audio_title
