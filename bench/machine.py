"""The machine that a figure was measured on, and who may use which of its cores."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil


class TooSmall(Exception):
    """The server under test and the load clients need a core each."""


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for the server under test, all others for the load clients."""

    server: str
    clients: str


def share_out() -> Cores:
    """Give the server under test the last core.

    Raises:
        TooSmall: there is only one.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise TooSmall("the bench needs two cores")
    return Cores(str(cores[-1]), ",".join(str(core) for core in cores[:-1]))


def describe() -> str:
    """Processor, cores, memory, system, interpreter: in one line."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    processor = found[1] if found else platform.processor()
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()},"
        f" CPython {platform.python_version()}"
    )


def load() -> float:
    """How many processes wanted to run over the last minute: above 0 before a run, it is shared."""
    return os.getloadavg()[0]


_VERSIONS = "import importlib.metadata as m, sys\nfor n in sys.argv[1:]: print(n, m.version(n))"


def versions(python: str, *packages: str) -> str:
    """The versions of packages in an interpreter's environment: `a 1.0, b 2.1`."""
    command = [python, "-c", _VERSIONS, *packages]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return ", ".join(done.stdout.split("\n")[:-1])


@dataclass(frozen=True, slots=True)
class Use:
    """What a process has used so far: seconds of processor time, bytes of memory now."""

    cpu_s: float
    rss: int
    waited_s: float  # ready to run, and not let


def use_of(pid: int) -> Use:
    """What a process and those that it started use; how long its main thread was kept waiting."""
    process = psutil.Process(pid)
    cpu_s, rss = 0.0, 0
    # Source: Linux, Documentation/scheduler/sched-stats.rst, "/proc/<pid>/schedstat".
    waited_ns = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        cpu_s += times.user + times.system
        rss += each.memory_info().rss
    return Use(cpu_s, rss, waited_ns / 1e9)


PYTHON = sys.executable
