"""`python -m bench`: every subject under every load, one table; see bench/README.md."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from bench import machine, rows
from bench.rows import Row
from bench.runner import Bench
from bench.subjects import SUBJECTS, Subject, Workshop
from bench.table import Report, render
from demo.processes import ROOT, Died

LOADS = [1, 10, 25, 50, 100, 200]
QUICK_LOADS = [10, 50]
QUICK = ["plain", "pipecat", "ours-daphne-pcm", "ours-daphne-pcmu"]
HOLD_S, QUICK_HOLD_S = 12.0, 5.0
# Between the last load that was good and the first that was not, so many more are tried.
SEARCHES = 2


def main() -> int:
    """Run, print, keep the results; 0 if ours lost no audio."""
    options = _options()
    keys = options.subjects or (QUICK if options.quick else list(SUBJECTS))
    loads = options.calls or (QUICK_LOADS if options.quick else LOADS)
    hold_s = options.hold or (QUICK_HOLD_S if options.quick else HOLD_S)
    var_dir = Path(options.var)
    var_dir.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(var_dir, _tell)
    load_before = machine.load()
    try:
        bench = Bench(workshop, machine.share_out(), hold_s)
        subjects = [SUBJECTS[key] for key in keys]
        versions = {subject.key: workshop.versions(subject) for subject in subjects}
        is_sought = not options.quick
        found = [
            row for each in subjects for row in _climb(bench, each, loads, is_sought=is_sought)
        ]
    except machine.TooSmall as exc:
        print(exc, file=sys.stderr)
        return 1
    report = Report(
        found,
        _command(options),
        machine.describe(),
        versions,
        hold_s,
        load_before,
        is_capacity_sought=is_sought,
    )
    text = render(report)
    print(text)
    if options.out:
        Path(options.out).write_text(text)
    unsound = [row for row in found if SUBJECTS[row.key].is_ours and row.lost_ms]
    return 1 if unsound else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer loads, shorter: two minutes")
    parser.add_argument("--calls", type=_numbers, help="loads, as in 1,10,25")
    parser.add_argument("--subjects", type=_names, help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--hold", type=float, help="seconds that each run is measured for")
    parser.add_argument("--var", default=str(ROOT / "var" / "bench"), help="where to work")
    parser.add_argument("--out", help="write the report there too")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return sorted(int(part) for part in text.split(","))


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in SUBJECTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such subject: {', '.join(unknown)}")
    return names


def _climb(bench: Bench, subject: Subject, loads: list[int], *, is_sought: bool) -> list[Row]:
    """One load after the other until more would tell nothing, then the limit more closely."""
    found: list[Row] = []
    for calls in loads:
        try:
            found.append(_run(bench, subject, calls))
        except Died as exc:
            _tell(f"{subject.key} did not survive {calls} calls: {exc}")
            return found
        if found[-1].is_hopeless:
            break
    for _ in range(SEARCHES if is_sought else 0):
        good = rows.capacity(found)
        bad = min((row.calls for row in found if row.calls > good), default=0)
        between = (good + bad) // 2 // 5 * 5
        if not good or not good < between < bad:
            break
        found.append(_run(bench, subject, between))
    return sorted(found, key=lambda row: row.calls)


def _run(bench: Bench, subject: Subject, calls: int) -> Row:
    row = bench.run(subject, calls)
    _tell(
        f"{subject.key:18} {calls:4} calls: {row.cpu_s:5.2f} CPU-s per call-minute, core"
        f" {row.busy:4.0%}, up p99 {row.up.p99 or 0:6.1f} ms, down p99 {row.down.p99 or 0:6.1f} ms,"
        f" lost {row.lost_ms + row.lost_at_start_ms:.0f} ms, kept waiting {row.waited:.0%}"
    )
    return row


def _command(options: argparse.Namespace) -> str:
    if len(sys.argv) == 1 or set(sys.argv[1:]) <= {"--out", options.out}:
        return "make bench"
    return shlex.join(["python", "-m", "bench", *sys.argv[1:]])


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
