"""What both halves of the sandbox share: options, one clock, one log, one list of faults."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from sandbox.faults import Faults

LOG_ENTRIES = 50_000


@dataclass(slots=True)
class Options:
    """How this sandbox was started; `POST /sandbox/settings` changes the second half."""

    speed: float = 1.0
    """How many seconds of the imitated world pass in one real second."""
    account_sid: str = "AC00000000000000000000000000000001"
    auth_token: str = "sandbox-auth-token-0000000000001"  # noqa: S105 - works nowhere else
    api_key: str = "SK00000000000000000000000000000001"
    api_secret: str = "sandbox-api-secret-0000000000001"  # noqa: S105 - works nowhere else
    shared_key: str = ""
    """`<id>:<secret>`: sign with this key and HMAC-SHA256 instead of the auth token."""
    openai_key: str = "sk-sandbox-0000000000000000000000000000"
    routes: dict[str, str] = field(default_factory=dict)
    """Public base URL to local base URL, as a tunnel would map them."""

    numbers: list[str] = field(default_factory=lambda: ["+14155550100"])
    """Numbers that the account owns and may call from."""
    cps: float = 1.0
    """Calls that the carrier starts per second; more wait in the queue."""
    consistency_lag_s: float = 0.2
    """How far a fetched or listed call lags behind its callbacks."""
    recording_delay_s: float = 1.0
    """From the end of a recording until its media can be fetched."""
    price_delay_s: float = 3.0
    """From the end of a call until its price is known."""
    amd_human_s: float = 2.2
    amd_machine_s: float = 3.0
    post_dial_s: float = 0.1
    stream_query: str = "strip"
    """A query string in a stream's URL is dropped (`strip`) or fails with 31920 (`refuse`)."""


class Clock:
    """The time of the imitated world: runs `speed` times as fast as ours."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._start = time.monotonic()
        self._utc = datetime.now(UTC)

    def now(self) -> float:
        """Seconds since the sandbox was started, in its own time."""
        return (time.monotonic() - self._start) * self.speed

    def utc(self) -> datetime:
        return self._utc + timedelta(seconds=self.now())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    async def sleep_until(self, when: float) -> None:
        """Sleep until `now()` is `when`: a series of these does not drift."""
        await self.sleep(when - self.now())


class Log:
    """Everything that was said, in order: what tests read and a demonstration shows."""

    def __init__(self, clock: Clock, path: Path | None = None) -> None:
        self._clock = clock
        self._entries: deque[dict[str, Any]] = deque(maxlen=LOG_ENTRIES)
        self._count = 0
        self._changed = asyncio.Event()
        self._file: TextIO | None = path.open("a", encoding="utf-8") if path else None

    def add(self, where: str, what: str, data: dict[str, Any] | None = None) -> None:
        """Write one entry: `where` such as `rest`, `webhook.status`, `stream`, `openai.event`."""
        self._count += 1
        at = round(self._clock.now(), 3)
        entry = {"n": self._count, "at": at, "where": where, "what": what, "data": data or {}}
        self._entries.append(entry)
        if self._file is not None:
            self._file.write(json.dumps(entry, default=str) + "\n")
            self._file.flush()
        self._changed.set()
        self._changed = asyncio.Event()

    def after(self, n: int) -> list[dict[str, Any]]:
        """Return the entries that follow number `n`."""
        return [entry for entry in self._entries if entry["n"] > n]

    async def wait_after(self, n: int, timeout_s: float) -> list[dict[str, Any]]:
        """As `after`, but wait (in real time) for a first one."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (found := self.after(n)):
                    await self._changed.wait()
        except TimeoutError:
            return []
        return found

    def clear(self) -> None:
        """Forget the entries; their numbers go on."""
        self._entries.clear()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class State:
    """The sandbox as one thing; each half adds its own to `on_reset`."""

    def __init__(self, options: Options | None = None, log_file: Path | None = None) -> None:
        self.options = options or Options()
        self._initial = copy.deepcopy(self.options)
        self.clock = Clock(self.options.speed)
        self.log = Log(self.clock, log_file)
        self.faults = Faults()
        self.on_reset: list[Callable[[], None]] = []
        self.twilio_url = ""
        self.openai_url = ""

    @property
    def speed(self) -> float:
        return self.options.speed

    def reset(self) -> None:
        """Be as at the start, with an empty log whose numbers go on."""
        self.faults.clear()
        for name, value in asdict(self._initial).items():
            setattr(self.options, name, value)
        self.log.clear()
        for forget in self.on_reset:
            forget()
        self.log.add("control", "reset")
