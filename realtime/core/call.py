"""The call that a session serves."""

from __future__ import annotations

from dataclasses import dataclass

from calls.core.brief import Brief


@dataclass(frozen=True, slots=True)
class SessionCall:
    """The call that a session serves. `origin_ms`: from the answer to the stream's start."""

    call_id: str
    stream_sid: str
    brief: Brief
    generation: int = 1
    origin_ms: int = 0
    history: tuple[tuple[str, str], ...] = ()  # (speaker, what was heard), oldest first
