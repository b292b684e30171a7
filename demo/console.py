"""What `make run` prints: its own words, and those lines of its children that matter."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_DIM, _RED, _BOLD, _PLAIN = "\x1b[2m", "\x1b[31m", "\x1b[1m", "\x1b[0m"
# Lines of our formatter and of the sandbox name the level; a traceback's last line the error.
_TROUBLE = re.compile(
    r"^\S*\s*(WARNING|ERROR|CRITICAL)\b|^( {4})?(Traceback|[\w.]+(Error|Exception)\b)"
)
_STREAM = re.compile(r"\[(Twilio Stream|OpenAI Realtime)\].*")


class Console:
    """Prints whole lines, whichever thread they come from."""

    def __init__(self, log_dir: Path) -> None:
        self._lock = threading.Lock()
        self._colours = sys.stdout.isatty()
        self._log_dir = log_dir
        self._muted = False
        log_dir.mkdir(parents=True, exist_ok=True)

    def say(self, text: str = "", *, style: str = "") -> None:
        """Print a line of our own; `style` is bold, dim, red or nothing."""
        codes = {"bold": _BOLD, "dim": _DIM, "red": _RED}
        if self._colours and style:
            text = f"{codes[style]}{text}{_PLAIN}"
        with self._lock:
            print(text, flush=True)

    def mute(self) -> None:
        """From now on children's lines go to their files only: they are ending."""
        self._muted = True

    def reader(self, name: str) -> Callable[[str], None]:
        """What to do with each line of a child: all go to its file, those that matter here too."""
        path = self._log_dir / f"{name}.log"
        path.write_text("")

        def read(line: str) -> None:
            with path.open("a") as file:
                file.write(line + "\n")
            if self._muted:
                return
            stream = _STREAM.search(line)
            if stream:
                self.say(f"{name:>8} | {stream.group()}", style="dim")
            elif _TROUBLE.search(line):
                self.say(f"{name:>8} | {line}", style="red")

        return read
