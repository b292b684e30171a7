"""Checks JSON against a described shape, and complains in the words of the Realtime API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.openai import errors
from sandbox.openai.errors import Json

Check = Callable[[Any, str], None]
"""Takes a value and its path ("session.audio.input"); raises RealtimeError."""


@dataclass(frozen=True)
class Object:
    """A JSON object with known members."""

    members: Mapping[str, Check]
    required: tuple[str, ...] = ()
    nullable: bool = False

    def __call__(self, value: Any, path: str) -> None:
        if value is None and self.nullable:
            return
        if not isinstance(value, dict):
            raise errors.wrong_type(path, "an object", value)
        for name in self.required:
            if name not in value:
                raise errors.missing(f"{path}.{name}" if path else name)
        for name, member in value.items():
            inner = f"{path}.{name}" if path else name
            if name not in self.members:
                raise errors.unknown(inner)
            self.members[name](member, inner)


@dataclass(frozen=True)
class Variant:
    """An object whose `type` (or another member) says which shape it has."""

    shapes: Mapping[str, Check]
    key: str = "type"
    nullable: bool = False

    def __call__(self, value: Any, path: str) -> None:
        if value is None and self.nullable:
            return
        if not isinstance(value, dict):
            raise errors.wrong_type(path, "an object", value)
        if self.key not in value:
            raise errors.missing(f"{path}.{self.key}")
        kind = value[self.key]
        if not isinstance(kind, str) or kind not in self.shapes:
            raise errors.not_supported(f"{path}.{self.key}", kind, tuple(self.shapes))
        self.shapes[kind](value, path)


@dataclass(frozen=True)
class Text:
    """A string, perhaps one of a few, or of a pattern."""

    among: tuple[str, ...] = ()
    pattern: str | None = None
    longest: int | None = None
    nullable: bool = False

    def __call__(self, value: Any, path: str) -> None:
        if value is None and self.nullable:
            return
        if not isinstance(value, str):
            raise errors.wrong_type(path, "a string", value)
        if self.among and value not in self.among:
            raise errors.not_supported(path, value, self.among)
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise errors.invalid_value(
                path,
                f"Invalid '{path}': string does not match pattern. Expected a string that "
                f"matches the pattern '^{self.pattern}$'.",
            )
        if self.longest is not None and len(value) > self.longest:
            raise errors.RealtimeError(
                "string_above_max_length",
                f"Invalid '{path}': string too long. Expected a string with maximum length "
                f"{self.longest}, but got a string with length {len(value)} instead.",
                param=path,
            )


@dataclass(frozen=True)
class Number:
    """A number within bounds."""

    low: float
    high: float
    whole: bool = True
    nullable: bool = False

    def __call__(self, value: Any, path: str) -> None:
        if value is None and self.nullable:
            return
        wanted = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise errors.wrong_type(path, "an integer" if self.whole else "a decimal", value)
        if not self.low <= value <= self.high:
            raise errors.out_of_range(path, value, self.low, self.high, whole=self.whole)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    nullable: bool = False

    def __call__(self, value: Any, path: str) -> None:
        if not isinstance(value, bool) and not (value is None and self.nullable):
            raise errors.wrong_type(path, "a boolean", value)


@dataclass(frozen=True)
class Items:
    """An array of like things."""

    each: Check
    most: int | None = None
    nullable: bool = False

    def __call__(self, value: Any, path: str) -> None:
        if value is None and self.nullable:
            return
        if not isinstance(value, list):
            raise errors.wrong_type(path, "an array", value)
        if self.most is not None and len(value) > self.most:
            raise errors.invalid_value(
                path,
                f"Invalid '{path}': array too long. Expected an array with maximum length "
                f"{self.most}, but got an array with length {len(value)} instead.",
            )
        for n, item in enumerate(value):
            self.each(item, f"{path}[{n}]")


@dataclass(frozen=True)
class Either:
    """A string of its own (`auto`), or something else."""

    words: tuple[str, ...]
    other: Check | None = None
    nullable: bool = field(default=False)

    def __call__(self, value: Any, path: str) -> None:
        if (value is None and self.nullable) or (isinstance(value, str) and value in self.words):
            return
        if isinstance(value, str) or self.other is None:
            raise errors.not_supported(path, value, self.words)
        self.other(value, path)


def anything(value: Any, path: str) -> None:
    """Accepts every JSON value."""


def free_object(value: Any, path: str) -> None:
    """Accepts every JSON object."""
    if not isinstance(value, dict):
        raise errors.wrong_type(path, "an object", value)


def merged(old: Json, new: Json) -> Json:
    """`new` laid over `old`, member by member; null and arrays replace."""
    result = dict(old)
    for name, value in new.items():
        before = result.get(name)
        both = isinstance(before, dict) and isinstance(value, dict)
        result[name] = merged(before, value) if both else value  # type: ignore[arg-type]
    return result
