"""docs/configuration.md and the settings name the same variables, with the same defaults."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voicecall.fixes import FIXES

ROOT = Path(__file__).resolve().parent.parent.parent
_ROW = re.compile(r"^\| `([A-Z_0-9]+)` \| (.*?) \|", re.MULTILINE)


def _reads() -> Iterator[ast.Call]:
    tree = ast.parse((ROOT / "voicecall" / "settings.py").read_text())
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "env" and node.func.attr != "check":
            yield node


def read_by_settings() -> dict[str, str]:
    """Variable -> its default as the page should write it."""
    return {ast.literal_eval(call.args[0]): _written(call.args[1:]) for call in _reads()}


def can_be_refused() -> set[str]:
    """The variables that may be missing or malformed: any text does for all others."""
    return {
        ast.literal_eval(call.args[0])
        for call in _reads()
        if len(call.args) == 1
        or ast.unparse(call.func) != "env.str"
        or any(keyword.arg == "validate" for keyword in call.keywords)
    }


def _written(rest: list[ast.expr]) -> str:
    if not rest:
        return "required"
    try:
        value: Any = ast.literal_eval(rest[0])
    except ValueError:
        return "`var`"  # VAR_DIR: a folder beside manage.py
    if value in (None, [], {}):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def documented() -> dict[str, str]:
    return dict(_ROW.findall((ROOT / "docs" / "configuration.md").read_text()))


def test_every_setting_is_documented_with_its_default() -> None:
    assert documented() == read_by_settings()


def test_every_setting_that_can_be_refused_has_its_fix() -> None:
    assert set(FIXES) == can_be_refused()


def test_the_example_file_names_settings_that_exist_and_all_that_are_required() -> None:
    text = (ROOT / ".env.example").read_text()
    settings = read_by_settings()
    # For the compose file's own database, not for us.
    named = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE)) - {"POSTGRES_PASSWORD"}
    to_fill_in = set(re.findall(r"^([A-Z_]+)=$", text, re.MULTILINE)) - {"POSTGRES_PASSWORD"}

    assert named <= set(settings)
    assert to_fill_in == {name for name, default in settings.items() if default == "required"}


def test_the_sandbox_sets_nothing_unknown() -> None:
    text = (ROOT / "sandbox.env").read_text()

    assert set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE)) <= set(read_by_settings())


def test_settings_are_read_in_one_place() -> None:
    """Failpoints are for tests; `voicecall/environment.py` is how settings are read."""
    allowed = {"voicecall/settings.py", "voicecall/environment.py", "calls/failpoints.py"}
    readers = {
        str(path.relative_to(ROOT))
        for package in ("voicecall", "calls", "realtime", "recordings")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"os\.(environ\b(?!\.setdefault)|getenv)", path.read_text())
    }

    assert readers <= allowed, readers - allowed
