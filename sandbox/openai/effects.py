"""What a session asks its shell to do."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.openai.errors import Closing, Json


@dataclass(frozen=True, slots=True)
class Send:
    """One event to the client."""

    event: Json


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the socket with a close frame."""

    closing: Closing


@dataclass(frozen=True, slots=True)
class Reset:
    """Drop the TCP connection without a word."""


Effect = Send | HangUp | Reset
