"""What is measured: ours in four ways, and the peers."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import script
from bench.machine import PYTHON, versions
from bench.tickets import Ticket
from demo.environment import against_sandbox
from demo.processes import ROOT

SEED_S = 120.0
INSTALL_S = 600.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A server under test.

    `paces`: it hands audio to the phone in real time instead of at once, so that its latency
    downwards is that of a reply's first audio alone.
    """

    key: str
    title: str
    audio: str
    server: str
    paces: bool = False

    @property
    def audio_title(self) -> str:
        """How it speaks with the model, in a reader's words."""
        return "PCM16 24 kHz" if self.audio == script.PCM else "pass-through"

    @property
    def is_ours(self) -> bool:
        return self.key.startswith("ours")


PLAIN = Subject("plain", "plain pass-through bridge", script.PCMU, "uvicorn")
PIPECAT = Subject("pipecat", "pipecat", script.PCM, "uvicorn", paces=True)
OURS = [
    Subject(f"ours-{server}-{short}", f"voicecall, {server}", audio, server)
    for server in ("daphne", "uvicorn")
    for short, audio in (("pcm", script.PCM), ("pcmu", script.PCMU))
]
SUBJECTS = {subject.key: subject for subject in (PLAIN, PIPECAT, *OURS)}
_APPS = {"plain": "bench.peers.plain:app", "pipecat": "bench.peers.pipecat_bridge:app"}
_PACKAGES = {
    "plain": ("fastapi", "uvicorn", "websockets"),
    "pipecat": ("pipecat-ai", "fastapi", "uvicorn", "websockets", "soxr"),
    "ours": ("django", "channels", "daphne", "twisted", "uvicorn", "websockets", "numpy", "orjson"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subject lives during one run."""

    var_dir: Path
    base_url: str
    realtime_url: str

    @property
    def port(self) -> str:
        return self.base_url.rpartition(":")[2]


class Workshop:
    """Makes what the subjects need, once: pipecat's environment, our database."""

    def __init__(self, var_dir: Path, say: Callable[[str], None]) -> None:
        self._var_dir = var_dir
        self._say = say
        self._template: Path | None = None

    # -- commands and environments ---------------------------------------------------------------
    def python_of(self, subject: Subject) -> str:
        """The interpreter in whose environment the subject runs."""
        return str(self._pipecat()) if subject is PIPECAT else PYTHON

    def command(self, subject: Subject, place: Place) -> list[str]:
        """How the subject is started on its port.

        Not on an inherited socket: with one, uvicorn leaves Nagle's algorithm on.
        """
        python = self.python_of(subject)
        app = _APPS.get(subject.key, "voicecall.asgi:application")
        if subject.server == "daphne":
            return [python, "-m", "daphne", "--bind", "127.0.0.1", "--port", place.port, app]
        options = ["--loop", "asyncio", "--lifespan", "off", "--log-level", "warning"]
        return [python, "-m", "uvicorn", "--port", place.port, *options, app]

    def environment(self, subject: Subject, place: Place) -> dict[str, str]:
        """The subject's environment: the model's address, and for ours the sandbox's settings."""
        if not subject.is_ours:
            return {**os.environ, "BENCH_REALTIME_URL": place.realtime_url}
        kept = {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"}
        inherited = {name: value for name, value in os.environ.items() if name not in kept}
        ours = against_sandbox(
            inherited,
            base_url=place.base_url,
            twilio_url="http://127.0.0.1:9",
            openai_url="http://127.0.0.1:9",
        )
        return {
            **ours,
            "OPENAI_REALTIME_URL": place.realtime_url,
            "VAR_DIR": str(place.var_dir),
            # As in operation; the sandbox's file has them on, for the demonstration.
            "LOG_TRANSCRIPTS": "false",
        }

    def versions(self, subject: Subject) -> str:
        """The packages that the subject's figures depend on."""
        return versions(self.python_of(subject), *_PACKAGES[subject.key.split("-")[0]])

    # -- calls -----------------------------------------------------------------------------------
    def tickets(self, subject: Subject, place: Place, count: int) -> list[Ticket]:
        """Calls that the subject will let in."""
        if not subject.is_ours:
            return [_stranger(i, place) for i in range(count)]
        environment = self.environment(subject, place)
        self._lay_database(place, environment)
        made = _run(
            [PYTHON, "-m", "bench.seed", str(count), subject.audio], environment, timeout_s=SEED_S
        )
        found: list[dict[str, Any]] = json.loads(made.splitlines()[-1])
        return [Ticket(**ticket) for ticket in found]

    def _lay_database(self, place: Place, environment: dict[str, str]) -> None:
        database = place.var_dir / "voicecall.sqlite3"
        if self._template is None:
            _run([PYTHON, "manage.py", "migrate", "-v", "0"], environment, timeout_s=SEED_S)
            self._template = self._var_dir / "template.sqlite3"
            shutil.copy(database, self._template)
        else:
            shutil.copy(self._template, database)

    # -- pipecat ---------------------------------------------------------------------------------
    def _pipecat(self) -> Path:
        """The interpreter of pipecat's environment, made if it is not there."""
        home = self._var_dir / "pipecat"
        lock = (ROOT / "requirements" / "pipecat.lock").read_text()
        mark = home / ".lock"
        if not mark.exists() or mark.read_text() != lock:
            self._say("Making an environment for pipecat …")
            install = ["sh", "requirements/install.sh", str(home), "pipecat"]
            _run(install, {**os.environ, "PYTHON": PYTHON}, timeout_s=INSTALL_S)
            mark.write_text(lock)
        return home / "bin" / "python"


def to_json(tickets: list[Ticket]) -> list[dict[str, Any]]:
    """For the phone network's orders."""
    return [asdict(ticket) for ticket in tickets]


def _stranger(number: int, place: Place) -> Ticket:
    name = f"call-{number:04d}"
    url = f"ws{place.base_url.removeprefix('http')}/media-stream/{name}"
    return Ticket(name, url, f"CA{secrets.token_hex(16)}", f"AC{'0' * 31}1", "bench")


def _run(command: list[str], env: dict[str, str], *, timeout_s: float) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout
