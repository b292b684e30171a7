"""What an agent may do during a call, and the check of what the model asks for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

MAX_ARGUMENT_CHARS = 8_000


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it; `parameters` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {}, "required": []}
    )

    def to_json(self) -> dict[str, Any]:
        """The form that `session.update` wants."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }


END_CALL = ToolSpec(
    "end_call",
    "Hang up. Say goodbye first, in the same response, and call this once the conversation is"
    " over or the person wants to end it.",
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A well-formed request for a tool that this agent may use."""

    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """Why the tool does not run, in words for the model."""

    why: str


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


def _not_json(constant: str) -> NoReturn:
    """NaN and Infinity, which Python would read."""
    raise ValueError(constant)


def check_call(spec: ToolSpec | None, name: str, arguments: str) -> Accepted | Refused:
    """Check a request against the allow-list (`spec` None: not on it) and the schema."""
    if spec is None:
        return Refused(f"There is no tool named {name[:60]!r}.")
    if len(arguments) > MAX_ARGUMENT_CHARS:
        return Refused(f"The arguments are longer than {MAX_ARGUMENT_CHARS} characters.")
    try:
        values = json.loads(arguments or "{}", parse_constant=_not_json)
    except (ValueError, RecursionError):  # also of a number with thousands of digits
        return Refused("The arguments are not JSON.")
    if not isinstance(values, dict):
        return Refused("The arguments are not a JSON object.")
    properties: dict[str, Any] = spec.parameters.get("properties", {})
    for key in spec.parameters.get("required", []):
        if key not in values:
            return Refused(f"The argument {key!r} is missing.")
    for key, value in values.items():
        if key not in properties:
            return Refused(f"There is no argument {key[:60]!r}.")
        kind = properties[key].get("type")
        # Several types in a list, as JSON Schema allows, are the tool's own to tell apart.
        wanted = _TYPES.get(kind, (object,)) if isinstance(kind, str) else (object,)
        is_bool_as_number = isinstance(value, bool) and kind in ("integer", "number")
        if not isinstance(value, wanted) or is_bool_as_number:
            return Refused(f"The argument {key!r} must be a {kind}.")
    return Accepted(values)
