"""Child programs: their output is kept and waited for, and they end together with their parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_KEPT_LINES = 2000
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Died(Exception):
    """A child ended, or stayed silent past a deadline, while something was expected of it."""


class Process:
    """One child program in a process group of its own, so that Ctrl-C reaches only its parent.

    `on_line` is called from a reader thread with each line of output, standard error included.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        on_line: Callable[[str], None] | None = None,
        user: str | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._on_line = on_line
        self._news = threading.Condition()
        self._at_end = False
        self._popen = subprocess.Popen(
            command,
            cwd=cwd,
            env={**env, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=pass_fds,
            user=user,
            extra_groups=[] if user else None,
            preexec_fn=end_with_parent if _libc else None,
        )
        self._reader = threading.Thread(target=self._read, name=f"read {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, or None while it runs."""
        return self._popen.poll()

    def _read(self) -> None:
        with self._popen.stdout or contextlib.nullcontext(()) as output:
            for raw in output:
                line = raw.rstrip("\n")
                with self._news:
                    self.lines.append(line)
                    self._news.notify_all()
                if self._on_line is not None:
                    self._on_line(line)
        with self._news:
            self._at_end = True
            self._news.notify_all()

    def wait_for_line(self, matches: Callable[[str], bool], *, timeout_s: float) -> str:
        """Return the first line of output, past or to come, that matches.

        Raises:
            Died: the program ended or the deadline passed before such a line.
        """

        def found() -> str | None:
            return next((line for line in self.lines if matches(line)), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None or self._at_end, timeout_s)
            line = found()
        if line is None:
            state = "ended" if self._at_end else f"said nothing expected within {timeout_s:g} s"
            raise Died(f"{self.name} {state}.\n{self.tail()}")
        return line

    def check(self) -> None:
        """Raise `Died` if the program has ended."""
        code = self.returncode
        if code is not None:
            self._reader.join(1.0)
            raise Died(f"{self.name} ended with code {code}.\n{self.tail()}")

    def tail(self, count: int = 40) -> str:
        """The last lines of output."""
        return "\n".join(list(self.lines)[-count:])

    def ask_to_stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal to the program itself, not to its children."""
        if self.returncode is None:
            self._popen.send_signal(sign)

    def wait(self, timeout_s: float) -> int:
        """Return the exit code.

        Raises:
            Died: it still runs after `timeout_s`.
        """
        try:
            return self._popen.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired as exc:
            raise Died(f"{self.name} did not end within {timeout_s:g} s.") from exc

    def kill(self) -> None:
        """End the program and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self._reader.join(2.0)


def stop_all(processes: Sequence[Process], *, grace_s: float) -> list[str]:
    """Ask all to stop, wait `grace_s` altogether, kill the rest; return the names of these."""
    deadline = time.monotonic() + grace_s
    for process in processes:
        process.ask_to_stop()
    late = []
    for process in processes:
        try:
            process.wait(deadline - time.monotonic())
        except Died:
            late.append(process.name)
        # Also after a clean end: what it started itself must not outlive it.
        process.kill()
    return late


def end_with_parent() -> None:
    """A parent that is killed outright cannot end its children: have the kernel do it."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
