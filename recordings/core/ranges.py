"""Which bytes of a file a client asks for.

Source: RFC 9110, section 14, "Range Requests".
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class NotSatisfiable(ValueError):
    """The file has none of the bytes that were asked for."""


_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `first` to `last`, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def parse(header: str, size: int) -> Span | None:
    """The span that a `Range` header asks for, or None where the whole file is to be sent.

    That is so without a header, and with one that asks for several spans or cannot be understood.

    Raises:
        NotSatisfiable: it begins beyond the end.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return None
    start, end = found.groups()
    if start == "":
        length = min(int(end), size)
        if length == 0:
            raise NotSatisfiable
        return Span(size - length, size - 1)
    first, last = int(start), min(int(end or size - 1), size - 1)
    if end and int(end) < first:
        return None
    if first >= size:
        raise NotSatisfiable
    return Span(first, last)
