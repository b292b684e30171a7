"""What the Realtime API says when something is wrong, and with which code it hangs up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


class RealtimeError(Exception):
    """A request that the API refuses; the socket stays open unless the shell closes it."""

    def __init__(
        self,
        code: str | None,
        message: str,
        *,
        param: str | None = None,
        type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.type = type

    def to_json(self, client_event_id: str | None = None) -> Json:
        """The `error` member of an `error` event."""
        return {
            "type": self.type,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": client_event_id,
        }


class FatalError(RealtimeError):
    """A refusal after which the server closes the socket."""

    @property
    def close(self) -> Closing:
        """The close frame that follows the error event."""
        return Closing(CLOSE_CODES.get(self.code or "", 4000), f"{self.type}.{self.code}")


@dataclass(frozen=True, slots=True)
class Closing:
    """A WebSocket close: code and reason as the client sees them."""

    code: int
    reason: str

    @property
    def payload(self) -> bytes:
        """The reason as a close frame holds it: 123 bytes at most, and no part of a character."""
        return self.reason.encode()[:123].decode(errors="ignore").encode()


# Source: live captures of 2026; all others use 4000.
CLOSE_CODES = {"invalid_api_key": 3000, "model_not_found": 4004}


def invalid_api_key(key: str) -> FatalError:
    """The bearer token is not one of ours."""
    shown = f"{key[:8]}{'*' * 8}{key[-4:]}" if len(key) > 16 else "*" * len(key)
    return FatalError(
        "invalid_api_key",
        f"Incorrect API key provided: {shown}. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
    )


def missing_model() -> FatalError:
    """The address names no model."""
    return FatalError("missing_model", "You must provide a model parameter.", param="model")


def invalid_model(model: str) -> FatalError:
    """The model exists, but not on this endpoint."""
    return FatalError(
        "invalid_model", f'Model "{model}" is not supported in realtime mode.', param="model"
    )


def model_not_found(model: str) -> FatalError:
    """Nobody knows this model."""
    return FatalError(
        "model_not_found",
        f"The model `{model}` does not exist or you do not have access to it.",
        param="model",
    )


def beta_api_shape_disabled() -> FatalError:
    """The client speaks the interface of 2024."""
    return FatalError(
        "beta_api_shape_disabled",
        "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.",
    )


def session_expired(minutes: float) -> RealtimeError:
    """The longest session is over."""
    return RealtimeError(
        "session_expired", f"Your session hit the maximum duration of {minutes:g} minutes."
    )


def invalid_json() -> RealtimeError:
    """A text frame that is not JSON."""
    return RealtimeError(
        "invalid_json",
        "We could not parse the JSON body of your event. (HINT: this likely means you aren't using "
        "your JSON library correctly.)",
    )


def invalid_event(message: str) -> RealtimeError:
    """A frame that cannot be an event at all."""
    return RealtimeError("invalid_event", message)


def missing(param: str) -> RealtimeError:
    """A required member is absent."""
    return RealtimeError(
        "missing_required_parameter", f"Missing required parameter: '{param}'.", param=param
    )


def unknown(param: str) -> RealtimeError:
    """A member that the API does not know."""
    return RealtimeError("unknown_parameter", f"Unknown parameter: '{param}'.", param=param)


def wrong_type(param: str, expected: str, got: object) -> RealtimeError:
    """A member of another JSON type."""
    return RealtimeError(
        "invalid_type",
        f"Invalid type for '{param}': expected {expected}, but got {_kind(got)} instead.",
        param=param,
    )


def not_supported(param: str, value: object, supported: tuple[str, ...]) -> RealtimeError:
    """A value outside a closed list."""
    shown = [f"'{s}'" for s in supported]
    comma = "," if len(shown) > 2 else ""
    listed = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])}{comma} and {shown[-1]}"
    word = "value is" if len(shown) == 1 else "values are"
    return invalid_value(param, f"Invalid value: '{value}'. Supported {word}: {listed}.")


def invalid_value(param: str | None, message: str) -> RealtimeError:
    """A value of the right type that cannot be."""
    return RealtimeError("invalid_value", message, param=param)


def out_of_range(
    param: str, value: float, low: float, high: float, *, whole: bool
) -> RealtimeError:
    """A number outside its bounds; `whole`: the member takes integers only."""
    above = value > high
    kind = "integer" if whole else "decimal"
    side, sign, bound = ("above maximum", "<=", high) if above else ("below minimum", ">=", low)
    return RealtimeError(
        f"{kind}_{'above_max' if above else 'below_min'}_value",
        f"Invalid '{param}': {kind} {side} value. Expected a value {sign} {bound:g}, "
        f"but got {value:g} instead.",
        param=param,
    )


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a decimal"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"
