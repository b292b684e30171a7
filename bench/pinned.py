"""Runs a program on one core: `python -m bench.pinned CORE program arguments…`."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> None:
    """Become the program; everything that it starts stays on the core too."""
    cores, *command = arguments
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
