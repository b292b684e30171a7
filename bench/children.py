"""The processes of a run: load clients that take orders, and servers that answer."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import requests

from bench.machine import PYTHON
from demo.processes import Died, Process, stop_all

READY_S = 90.0


class Client:
    """A load client: it is told what to do, and answers with a word when that is done."""

    def __init__(self, module: str, cores: str, arguments: Sequence[str]) -> None:
        reading, self._orders = os.pipe()
        pinned = [PYTHON, "-m", "bench.pinned", cores, PYTHON, "-m", module, str(reading)]
        self.process = Process(
            module, [*pinned, *arguments], env=dict(os.environ), pass_fds=[reading]
        )
        os.close(reading)

    def tell(self, order: str, answer: str, *, timeout_s: float) -> str:
        """Give an order and return the line that begins with `answer`.

        Raises:
            Died: the client ended, or did not answer in time.
        """
        self.process.lines.clear()
        os.write(self._orders, f"{order}\n".encode())
        return self.hear(answer, timeout_s=timeout_s)

    def hear(self, answer: str, *, timeout_s: float) -> str:
        """Return the line that begins with `answer`."""
        return self.process.wait_for_line(lambda line: line.startswith(answer), timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._orders)
        stop_all([self.process], grace_s=3.0)


def start_server(
    name: str,
    command: Sequence[str],
    cores: str,
    *,
    env: Mapping[str, str],
) -> Process:
    """Start a server under test on its core."""
    pinned = [PYTHON, "-m", "bench.pinned", cores]
    return Process(name, [*pinned, *command], env=env)


def await_server(process: Process, base_url: str) -> None:
    """Return when the server answers at all.

    Raises:
        Died: it ended, or stayed silent.
    """
    deadline = time.monotonic() + READY_S
    while True:
        process.check()
        try:
            requests.get(f"{base_url}/healthz", timeout=READY_S)
        except requests.ConnectionError as exc:
            if time.monotonic() > deadline:
                raise Died(f"{process.name} does not answer: {exc}\n{process.tail()}") from exc
            time.sleep(0.05)
        else:
            return
