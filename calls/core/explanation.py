"""An error code of a vendor's in plain words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a code means to staff; `stops_dialling`: every other call would fail as well."""

    what: str
    fix: str
    stops_dialling: bool = False

    def __str__(self) -> str:
        return f"{self.what} {self.fix}"
