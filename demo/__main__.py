"""`python -m demo`: sandbox, web, worker and beat, then one call; until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import FrameType

from demo import story
from demo.console import Console
from demo.environment import against_sandbox
from demo.processes import ROOT, Died, Process, end_with_parent, stop_all

HOST = "127.0.0.1"
_START_S = 60.0
_STOP_S = 4.0


class Faulty(Exception):
    """The demonstration cannot run; the text is for the person who started it."""


class Stopped(BaseException):
    """Somebody asked us to end."""


class Asked:
    """Whether somebody has asked us to end.

    An exception alone can get lost: raised while an object is being finalised, it is only printed.
    """

    def __init__(self) -> None:
        self._has = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler of signals."""
        self._has = True
        raise Stopped

    def check(self) -> None:
        """Raise `Stopped` if somebody has."""
        if self._has:
            raise Stopped


class Tables:
    """Whether the database has been prepared by this very release, so that nothing need wait."""

    def __init__(self, var_dir: Path) -> None:
        self._mark = var_dir / "demo-prepared"
        self._database = var_dir / "voicecall.sqlite3"
        migrations = sorted(path.name for path in ROOT.glob("*/migrations/*.py"))
        lock = (ROOT / "requirements" / "run.lock").read_text()
        self._release = sha256("\n".join([*migrations, lock]).encode()).hexdigest()

    def are_ready(self) -> bool:
        """Whether `note_ready` was called on this database, by this release."""
        if os.environ.get("DATABASE_URL") or not self._database.exists():
            return False
        return self._mark.exists() and self._mark.read_text() == self._release

    def note_ready(self) -> None:
        """Remember it for the next start."""
        self._mark.write_text(self._release)


class Demo:
    """The processes of the demonstration, on three ports."""

    def __init__(
        self, console: Console, tables: Tables, web: socket.socket, ports: tuple[int, int]
    ) -> None:
        self._console = console
        self._tables = tables
        self._web = web
        self._twilio_port, self._openai_port = ports
        self.base_url = f"http://{HOST}:{web.getsockname()[1]}"
        self.env = against_sandbox(
            os.environ,
            base_url=self.base_url,
            twilio_url=f"http://{HOST}:{self._twilio_port}",
            openai_url=f"http://{HOST}:{self._openai_port}",
        )
        self.processes: list[Process] = []

    def start(self) -> None:
        """Start everything; return when pages are served.

        Raises:
            Died: a process did, or was not ready in time.
        """
        ports = ["--twilio-port", str(self._twilio_port), "--openai-port", str(self._openai_port)]
        sandbox = self._run("sandbox", "-m", "sandbox", "--host", HOST, *ports)
        seed = self._run("seed", "manage.py", "seed_demo")
        if not self._tables.are_ready():
            # Alone at first: it makes the tables, and what it compiles the others need not.
            self._finish(seed)
        fd = self._web.fileno()
        daphne = ["-m", "daphne", "--fd", str(fd), "voicecall.asgi:application"]
        web = self._run("web", *daphne, pass_fds=[fd])
        celery = ["-m", "celery", "-A", "voicecall"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._run("worker", *celery, "worker", "-c", "2", "-n", "demo@%h", *quiet)
        if seed in self.processes:
            self._finish(seed)
        self._tables.note_ready()
        sandbox.wait_for_line(lambda line: line.startswith("sandbox ready"), timeout_s=_START_S)
        story.await_pages(self.base_url, web, timeout_s=_START_S)
        # The first call is kicked: nobody waits for the sweeps that beat asks for.
        self._run("beat", *celery, "beat", "--pidfile=")

    def _finish(self, seed: Process) -> None:
        if seed.wait(_START_S) != 0:
            raise Died(seed.tail(1))
        self.processes.remove(seed)

    def _run(self, name: str, *arguments: str, pass_fds: list[int] | None = None) -> Process:
        process = Process(
            name,
            [sys.executable, *arguments],
            env=self.env,
            pass_fds=pass_fds or [],
            on_line=self._console.reader(name),
        )
        self.processes.append(process)
        return process

    def check(self) -> None:
        """Raise `Died` for the first process that has ended."""
        for process in self.processes:
            process.check()

    def stop(self) -> None:
        """End everything within five seconds."""
        self._console.mute()
        # An idle worker that polls a folder may take longer to notice. What it had in hand stands
        # in the database: its sweeps find it at the next start.
        late = stop_all(self.processes[::-1], grace_s=_STOP_S)
        if set(late) - {"worker"}:
            self._console.say(f"Had to be killed: {', '.join(late)}.", style="red")


def main() -> int:
    """Run until asked to stop; 0 unless something went wrong."""
    if "MAKELEVEL" in os.environ:
        # Nobody would know of us any more, and our ports would stay taken.
        end_with_parent()
    with _stop_on_signals() as asked:
        try:
            return _run(asked)
        except Faulty as exc:
            print(exc, file=sys.stderr)
            return 1
        except Stopped:
            return 0


def _run(asked: Asked) -> int:
    web = _claim("WEB_PORT", 8000)
    ports = _check_free("TWILIO_PORT", 8010), _check_free("OPENAI_PORT", 8020)
    if ports[0] == ports[1]:
        raise Faulty(f"TWILIO_PORT and OPENAI_PORT are both {ports[0]}: give each its own.")
    var_dir = Path(os.environ.get("VAR_DIR") or ROOT / "var")
    console = Console(var_dir / "log")
    demo = Demo(console, Tables(var_dir), web, ports)
    code = 0
    try:
        console.say("Starting sandbox, web, worker and beat …", style="dim")
        demo.start()
        code = 0 if story.tell(console, demo.base_url, var_dir / "recordings", demo.check) else 1
        console.say("\nRunning until Ctrl-C.", style="bold")
        while True:
            asked.check()
            demo.check()
            time.sleep(0.2)
    except Died as exc:
        console.mute()
        console.say(str(exc), style="red")
        code = 1
    except Stopped:
        console.say("\nStopping …", style="dim")
    finally:
        with _deaf():
            demo.stop()
            web.close()
    return code


def _claim(variable: str, default: int) -> socket.socket:
    """A listening socket on the port, kept from here on, so that nobody takes it meanwhile."""
    port = _port(variable, default)
    try:
        listener = socket.create_server((HOST, port), backlog=128)
    except OSError as exc:
        raise Faulty(
            f"Port {port} is taken ({os.strerror(exc.errno or 0)}): stop what uses it, "
            f"or choose another: make run {variable}={port + 1}"
        ) from exc
    listener.set_inheritable(True)
    return listener


def _check_free(variable: str, default: int) -> int:
    with _claim(variable, default) as listener:
        port: int = listener.getsockname()[1]
        return port


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise Faulty(f"{variable}={text} is not a port: give a number from 1 to 65535.")
    return int(text)


@contextmanager
def _stop_on_signals() -> Iterator[Asked]:
    asked = Asked()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, asked.note)
    # A terminal that closes ends us, unless `nohup` forbade it.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, asked.note)
    yield asked


@contextmanager
def _deaf() -> Iterator[None]:
    """A second Ctrl-C must not interrupt the tidying up, which has its own deadline."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    yield


if __name__ == "__main__":
    sys.exit(main())
