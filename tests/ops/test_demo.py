"""`make run`: one call told from beginning to end, a clean end, and the same data the next time."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import requests

from demo.processes import Process
from tests.servers import free_port, wait_until

READY = "Running until Ctrl-C."
pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("whole_product")]


BARE = [sys.executable, "-m", "demo"]
# With this very environment, which is not to be made anew.
BY_MAKE = ["make", "run", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.installed-run"]


class Run:
    """A running demonstration."""

    def __init__(self, var_dir: Path, command: Sequence[str]) -> None:
        self.port = free_port()
        env = {
            **{k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}},
            "VAR_DIR": str(var_dir),
            "WEB_PORT": str(self.port),
            "TWILIO_PORT": str(free_port()),
            "OPENAI_PORT": str(free_port()),
            # What a developer may have exported must not reach the sandbox.
            "OPENAI_API_KEY": "sk-a-developers-own-key",
            "TWILIO_API_KEY": "SKa-developers-own-key",
        }
        self.process = Process("demo", command, env=env)
        self.family: list[psutil.Process] = []

    @property
    def text(self) -> str:
        return "\n".join(self.process.lines)

    def wait_until_told(self) -> None:
        self._wait_for(READY)

    def wait_until_talking(self) -> None:
        self._wait_for("Talking")

    def _wait_for(self, words: str) -> None:
        self.process.wait_for_line(lambda line: words in line, timeout_s=120)
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def child(self, words: str) -> psutil.Process:
        return next(p for p in self.family if words in " ".join(p.cmdline()))

    def strays(self) -> list[psutil.Process]:
        return [p for p in self.family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts demonstrations on the same data, one after the other; leaves none of them behind."""
    runs: list[Run] = []

    def start_one(command: Sequence[str] = BARE) -> Run:
        runs.append(Run(tmp_path, command))
        return runs[-1]

    yield start_one
    for run in runs:
        run.process.kill()
        for stray in run.strays():
            stray.kill()


@pytest.fixture
def run(start: Callable[..., Run]) -> Run:
    return start()


def test_a_call_is_told_and_ctrl_c_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    run.wait_until_told()

    told = run.text
    assert re.search(r"agent +Hi, I am Ada", told), told
    assert re.search(r"person +Yes, Friday is fine", told), told
    assert re.search(r"agent .*\(\d\.\d\d s after the person\)", told), told
    assert "The agent said goodbye and hung up" in told
    assert "[Twilio Stream] Stream started for call: CA" in told
    recording = re.search(r"Recording +(\S+\.wav)", told)
    assert recording, told
    assert Path(recording.group(1)).read_bytes()[:4] == b"RIFF"
    assert Path(recording.group(1)).is_relative_to(tmp_path)
    assert re.search(r"Cost +\$0\.\d+ estimated", told)
    assert f"http://127.0.0.1:{run.port}/admin/   login demo, password demo" in told
    assert "Traceback" not in told

    run.process.ask_to_stop(signal.SIGINT)

    assert run.process.wait(15) == 0
    assert run.strays() == []
    assert "Had to be killed" not in run.text


def test_it_starts_again_on_the_same_data_even_after_a_kill(start: Callable[..., Run]) -> None:
    first = start(BY_MAKE)
    first.wait_until_talking()
    psutil.Process(first.process.pid).kill()
    # The kernel ends the children; the worker's own children see that it has gone.
    what = f"all to end with make, which was killed: {first.family}"
    wait_until(lambda: not first.strays(), what=what)

    second = start()
    second.wait_until_told()
    assert "The agent said goodbye and hung up" in second.text
    page = requests.get(f"http://127.0.0.1:{second.port}/healthz", timeout=5)
    assert page.text.strip() == "ok"
    second.process.ask_to_stop(signal.SIGTERM)

    assert second.process.wait(15) == 0
    assert second.strays() == []


def test_ctrl_c_in_the_middle_of_a_call_leaves_nothing_behind(run: Run) -> None:
    run.wait_until_talking()

    run.process.ask_to_stop(signal.SIGINT)

    assert run.process.wait(15) == 0
    assert run.strays() == []
    assert "Traceback" not in run.text


def test_a_child_that_dies_ends_the_demonstration_by_name(run: Run) -> None:
    run.wait_until_talking()

    run.child("-A voicecall worker").kill()

    assert run.process.wait(20) == 1
    assert "worker ended with code -9." in run.text
    assert run.strays() == []
