"""What all sessions share: scripts, faults, settings, voices, and the record of what happened."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sandbox import clips
from sandbox.openai import replies
from sandbox.openai.behaviour import Behaviour
from sandbox.openai.effects import Effect
from sandbox.openai.errors import Json
from sandbox.openai.ledger import Ledger
from sandbox.openai.replies import BadScript, Reply, Say
from sandbox.openai.voice import ClipLike, Voice, recogniser

DEFAULT_KEY = "sk-sandbox-0000000000000000000000000000"
_KEPT_SESSIONS = 500

# Where something can go wrong, and how; the README explains each.
FAULTS: dict[str, tuple[str, ...]] = {
    "openai.connect": (
        "status:", "html", "reset", "hang", "delay:", "error:", "after:reset", "after:close:",
        "after:silent",
    ),
    "openai.client_secrets": ("status:", "html", "reset", "hang", "delay:"),
    "openai.models": ("status:", "html", "reset", "hang", "delay:"),
    "openai.response": ("failed:", "incomplete:", "stall", "reset", "close:", "delay:"),
    "openai.transcription": ("failed",),
}  # fmt: skip

Log = Callable[[str, str, Json], None]
"""Takes where ("openai.session"), what ("opened") and the details."""


class LiveSession(Protocol):
    """An open socket, as the control API moves it."""

    @property
    def ledger(self) -> Ledger: ...
    def carry_out(self, effects: list[Effect]) -> None: ...
    def act(self, action: str, details: Json) -> None: ...


@dataclass
class Fault:
    """One thing that shall go wrong, so many times; it never counts down to 0 from 0."""

    where: str
    what: str
    times: int


@dataclass
class Secret:
    """A client secret: until when it opens sessions, and with which settings."""

    expires_at: float
    session: Json


def _no_log(where: str, what: str, data: Json) -> None:
    """Nobody listens."""


@dataclass
class State:
    """The world of the simulated model. Shared by the server and the control API."""

    api_key: str = DEFAULT_KEY
    speed: float = 1.0
    """How many times faster than the wall clock the sandbox's time passes."""
    clips: Mapping[str, ClipLike] = field(default_factory=clips.load)
    log: Log = _no_log
    behaviour: Behaviour = field(default_factory=Behaviour)
    faults: list[Fault] = field(default_factory=list)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    live: dict[str, LiveSession] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.voice = Voice(self.clips)
        self.recogniser = recogniser(self.clips)
        self._script: deque[Reply] = deque()
        self._scripts: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._matching: defaultdict[str, deque[Reply]] = defaultdict(deque)

    def now(self) -> float:
        """The sandbox's clock, in seconds."""
        return time.monotonic() * self.speed

    def unix_now(self) -> float:
        """The time of day, in Unix seconds."""
        return time.time()

    # --- scripts ----------------------------------------------------------------------------------

    def script(self, data: object) -> int:
        """Add scripted responses; returns how many now wait. Raises BadScript."""
        if not isinstance(data, dict):
            raise BadScript("the script must be an object such as {'responses': [{'say': 'Hi.'}]}")
        known = ("responses", "session", "match", "settings", "replace")
        if strange := data.keys() - set(known):
            raise BadScript(f"{min(strange)} is unknown; known are {', '.join(known)}")
        entries = data.get("responses", [])
        if not isinstance(entries, list):
            raise BadScript("responses must be a list of objects such as {'say': 'Hello.'}")
        behaviour = self.behaviour
        if "settings" in data:
            behaviour = behaviour.changed(data["settings"])
        read = [
            replies.reply_of(e, behaviour.pace, f"responses[{n}]") for n, e in enumerate(entries)
        ]
        for n, reply in enumerate(read):
            self._check_clips(reply, f"responses[{n}]")
        self.behaviour = behaviour
        queue = self._queue_for(data.get("session"), data.get("match"))
        if data.get("replace"):
            queue.clear()
        queue.extend(read)
        return len(queue)

    def next_reply(self, session_id: str, instructions: str) -> Reply | None:
        """The next scripted response for a session: by its id, else by a text that its
        instructions hold, else the one for all; None: the conversationalist.
        """
        own = self._scripts.get(session_id)
        if own:
            return own.popleft()
        for text, waiting in self._matching.items():
            if waiting and text in instructions:
                return waiting.popleft()
        return self._script.popleft() if self._script else None

    def forget_script(self) -> None:
        """Drop every scripted response that waits."""
        self._script.clear()
        self._scripts.clear()
        self._matching.clear()

    def _queue_for(self, session: object, match: object) -> deque[Reply]:
        if session and match:
            raise BadScript("name a session or a text to match, not both")
        if session:
            return self._scripts[str(session)]
        return self._matching[str(match)] if match else self._script

    def _check_clips(self, reply: Reply, where: str) -> None:
        for part in reply.parts:
            if isinstance(part, Say) and part.clip is not None and part.clip not in self.clips:
                known = ", ".join(sorted(c.id for c in self.clips.values() if c.speaker == "agent"))
                raise BadScript(f"{where}: there is no clip '{part.clip}'; there are {known}")

    # --- faults -----------------------------------------------------------------------------------

    def add_fault(self, where: str, what: str, times: int = 1) -> None:
        """Let something go wrong so many times, or (0) for ever. Raises BadScript."""
        check_fault(where, what)
        times = int(replies.number(times, "times", 0, 1_000_000))
        self.faults.append(Fault(where, what, times))

    def take_fault(self, where: str) -> str | None:
        """The fault that is due at this place, and one less of it."""
        fault = next((f for f in self.faults if f.where == where), None)
        if fault is None:
            return None
        fault.times -= 1
        if not fault.times:
            self.faults.remove(fault)
        self.log(where, "fault", {"what": fault.what})
        return fault.what

    def clear_faults(self) -> None:
        """Nothing goes wrong any more."""
        self.faults.clear()

    def reset(self) -> None:
        """Forget scripts, faults, settings, secrets and finished sessions."""
        self.clear_faults()
        self.forget_script()
        self.secrets.clear()
        self.behaviour = Behaviour()
        self.ledgers = {k: v for k, v in self.ledgers.items() if k in self.live}

    # --- sessions ---------------------------------------------------------------------------------

    def keep(self, ledger: Ledger) -> None:
        """Remember a session; the oldest finished ones make room."""
        self.ledgers[ledger.id] = ledger
        for old in list(self.ledgers):
            if len(self.ledgers) <= _KEPT_SESSIONS:
                break
            if old not in self.live:
                del self.ledgers[old]

    def new_secret(self, seconds: int, session: Json) -> tuple[str, int]:
        """Make a client secret; returns it and its expiry (Unix seconds)."""
        now = int(time.time())
        self.secrets = {k: s for k, s in self.secrets.items() if s.expires_at > now}
        value, expires_at = f"ek_{secrets.token_hex(16)}", now + seconds
        self.secrets[value] = Secret(expires_at, session)
        return value, expires_at

    def secret(self, value: str) -> Secret | None:
        """The client secret of that value, while it lasts."""
        found = self.secrets.get(value)
        return found if found is not None and found.expires_at > time.time() else None


def check_fault(where: str, what: str) -> None:
    """Whether this can go wrong there. Raises BadScript, which names what can."""
    if where not in FAULTS:
        raise BadScript(f"where '{where}' is unknown; known are {', '.join(FAULTS)}")
    known = FAULTS[where]
    fits = (what == k or what.startswith(k if k.endswith(":") else f"{k}:") for k in known)
    if not any(fits):
        raise BadScript(f"what '{what}' is unknown at {where}; known are {', '.join(known)}")
    kind, _, rest = what.partition(":")
    if what.endswith(":"):
        raise BadScript(f"what '{what}' needs something after the colon")
    try:
        if kind == "delay":
            replies.number(float(rest), f"the delay in '{what}'", 0, 600)
        elif where == "openai.response":
            replies.ending_of(what)
        elif kind == "status":
            replies.number(int(rest), f"the status in '{what}'", 200, 599)
        elif rest.startswith("close:"):
            replies.close_code(int(rest.removeprefix("close:")), f"the code in '{what}'")
    except BadScript:
        raise
    except ValueError:
        raise BadScript(f"what '{what}' needs a number after the colon") from None
