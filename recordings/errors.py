"""What may go wrong on the way of a recording to us, named for what is to be done about it."""

from __future__ import annotations


class Later(Exception):
    """It cannot be had now, but may be had later; the message says why, to staff."""

    code = ""

    def __init__(self, problem: str, *, code: str = "", needs_a_person: bool = False) -> None:
        super().__init__(problem)
        self.code = code
        # Trying again does not help unless somebody mends the cause.
        self.needs_a_person = needs_a_person


class Doubtful(Later):
    """What came is not what was asked for: a passing fault at first, the truth if it repeats."""


class Unusable(Exception):
    """What came is whole, and cannot be used; the message says why, to staff."""

    def __init__(self, problem: str, *, code: str = "") -> None:
        super().__init__(problem)
        self.code = code


class NoLongerOurs(Exception):
    """Another worker has taken the recording over: stop, and leave it alone."""
