"""Keeps docs/faults.md true: its last column names the tests whose docstrings carry the row's id.

`python -m tests.docs.fault_table` writes the column anew; a test compares.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "faults.md"
_ROW = re.compile(r"^\| ([A-G]\d+) \| (.*) \| (.*) \| (.*) \|$")
_IDS = re.compile(r"^\[((?:[A-G]\d+)(?:, ?[A-G]\d+)*)\]")


@cache
def proofs() -> dict[str, list[str]]:
    """Row id -> the tests that claim it, as `tests/calls/test_progress.py: name`."""
    found: dict[str, list[str]] = {}
    for path in sorted(ROOT.glob("tests/**/test_*.py")):
        for name, ids in _claims(path):
            for row in ids:
                found.setdefault(row, []).append(f"{path.relative_to(ROOT)}: {name}")
    return found


def _claims(path: Path) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            match = _IDS.match(ast.get_docstring(node) or "")
            if match and node.name.startswith("test_"):
                yield node.name, re.split(r", ?", match.group(1))


def rows(page: str) -> dict[str, str]:
    """Row id -> its last column."""
    matches = (_ROW.match(line) for line in page.splitlines())
    return {match.group(1): match.group(4) for match in matches if match}


def with_proofs(page: str) -> str:
    """The page with its last column written anew."""
    proven = proofs()

    def line_of(line: str) -> str:
        match = _ROW.match(line)
        if match is None:
            return line
        row, fault, answer, _ = match.groups()
        return f"| {row} | {fault} | {answer} | {cell(proven.get(row, []))} |"

    return "\n".join(line_of(line) for line in page.splitlines()) + "\n"


def cell(tests: list[str]) -> str:
    """The tests of a row, grouped by file."""
    by_file: dict[str, list[str]] = {}
    for test in tests:
        path, _, name = test.partition(": ")
        by_file.setdefault(path, []).append(f"`{name}`")
    parts = (f"[{path}](../{path}): {', '.join(names)}" for path, names in by_file.items())
    return "<br>".join(parts)


if __name__ == "__main__":
    PAGE.write_text(with_proofs(PAGE.read_text()))
    sys.exit(0)
