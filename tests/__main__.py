"""`python -m tests`: every test, on every set of servers; says last what was not run.

Arguments go to pytest, as in `python -m tests -k hang_up`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from tests import servers

_ON_POSTGRES = ("tests/calls", "tests/recordings", "tests/realtime")
_BROWSER = "tests/browser"
_NO_TESTS_COLLECTED = 5


@dataclass
class Stage:
    """One run of pytest."""

    title: str
    arguments: Sequence[str]
    env: dict[str, str] = field(default_factory=dict)
    # Why it cannot run at all.
    missing: str = ""

    summary: str = ""
    not_run: list[str] = field(default_factory=list)
    failed: bool = False

    def run(self, more: Sequence[str]) -> None:
        """Run it, showing its output as it comes."""
        print(f"\n=== {self.title} ===", flush=True)
        if self.missing:
            self.summary, self.not_run = "not run", [self.missing]
            self.failed = os.environ.get("REQUIRE_ALL") == "1"
            return
        command = [sys.executable, "-m", "pytest", "-q", *self.arguments, *more]
        colour = "--color=yes" if sys.stdout.isatty() else "--color=no"
        with subprocess.Popen(
            [*command, colour],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pytest:
            for line in pytest.stdout or ():
                print(line, end="", flush=True)
                self._note(line.rstrip())
        self.failed = pytest.returncode not in {0, _NO_TESTS_COLLECTED}

    def _note(self, line: str) -> None:
        if servers.NOT_RUN in line and "SKIPPED" not in line:
            self.not_run.append(line)
        elif " in " in line and any(word in line for word in ("passed", "failed", "error")):
            self.summary = line.strip("= ")


def main() -> int:
    """Run the stages one after the other; 0 if all passed."""
    os.environ.pop("DATABASE_URL", None)
    stages = _stages()
    try:
        for stage in stages:
            stage.run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130
    finally:
        servers.stop_shared()
    print("\n=== All tests ===")
    for stage in stages:
        print(f"{'FAILED' if stage.failed else 'ok':<6} {stage.title}: {stage.summary}")
    for line in sorted({line for stage in stages for line in stage.not_run}):
        print(line)
    return 1 if any(stage.failed for stage in stages) else 0


def _stages() -> list[Stage]:
    # Servers that have to be started are started once, for all stages.
    database, without_database = _address(servers.postgres_url, "PostgreSQL")
    redis, _ = _address(servers.redis_server_url, "Redis")
    named = {"TEST_DATABASE_URL": database, "TEST_REDIS_URL": redis}
    os.environ.update({name: url for name, url in named.items() if url})
    whole = ("--worlds=only",)
    own_database = {"DATABASE_URL": _other_database(database)}
    return [
        Stage("On SQLite", ("--worlds=none", "-n", "2")),
        Stage(
            "On PostgreSQL",
            ("--worlds=none", "--only-database", *_ON_POSTGRES, "-n", "2"),
            own_database,
            missing=without_database,
        ),
        # These mostly wait for people to finish their sentences.
        Stage("Whole calls", (*whole, f"--ignore={_BROWSER}", "-n", "3")),
        Stage("In the browser", (*whole, _BROWSER, "-n", "2")),
    ]


def _address(find: object, need: str) -> tuple[str, str]:
    """The address of a server, or why there is none."""
    try:
        return (find() if callable(find) else ""), ""
    except servers.Missing as exc:
        return "", f"{servers.NOT_RUN}{need}: {exc}"


def _other_database(url: str) -> str:
    """The tests make a database of this name, with `test_` before it."""
    return urlunsplit(urlsplit(url)._replace(path=f"/voicecall_{os.getpid()}")) if url else ""


if __name__ == "__main__":
    sys.exit(main())
