"""Read a TwiML document into verbs.

Source: Twilio, TwiML for Programmable Voice; twilio.md section C.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass

MAX_BYTES = 64 * 1024
MAX_PARAMETER = 500


class TwimlError(Exception):
    """The document cannot be carried out; `code` is the debugger's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    loop: int = 1
    """0: until the call ends."""


@dataclass(frozen=True, slots=True)
class Play:
    url: str
    digits: str = ""
    loop: int = 1
    """0: until the call ends."""


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str = "rejected"


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Stream:
    """`<Connect><Stream>`: talk to a WebSocket server until it hangs up."""

    url: str
    name: str = ""
    track: str = "inbound_track"
    parameters: tuple[tuple[str, str], ...] = ()
    status_callback: str = ""
    status_method: str = "POST"
    action: str = ""
    action_method: str = "POST"


@dataclass(frozen=True, slots=True)
class StartRecording:
    channels: str = "dual"
    track: str = "both"
    trim: str = "do-not-trim"
    callback: str = ""
    callback_method: str = "POST"
    events: tuple[str, ...] = ("completed",)


@dataclass(frozen=True, slots=True)
class Dial:
    number: str
    caller_id: str = ""
    timeout_s: float = 30.0
    time_limit_s: float = 14400.0
    action: str = ""
    action_method: str = "POST"


Verb = Say | Play | Pause | Hangup | Reject | Redirect | Stream | StartRecording | Dial


@dataclass(frozen=True, slots=True)
class Document:
    verbs: tuple[Verb, ...]
    warnings: tuple[str, ...] = ()
    """What the schema does not know (12200); it was skipped."""


def parse(body: bytes) -> Document:
    """Read a document; raises TwimlError with 11750, 12100 or 12200."""
    if len(body) > MAX_BYTES:
        raise TwimlError(11750, f"TwiML is {len(body)} bytes long; the limit is {MAX_BYTES}")
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise TwimlError(12100, "document type declarations are not allowed")
    try:
        root = ET.fromstring(body)  # noqa: S314 - entities were refused above
    except ET.ParseError as exc:
        raise TwimlError(12100, f"not XML: {exc}") from exc
    if root.tag != "Response":
        raise TwimlError(12200, f"the root is <{root.tag}>, not <Response>")
    verbs: list[Verb] = []
    warnings: list[str] = []
    for element in root:
        _read(element, verbs, warnings)
    return Document(tuple(verbs), tuple(warnings))


def _read(element: ET.Element, verbs: list[Verb], warnings: list[str]) -> None:
    reader = _READERS.get(element.tag)
    if reader is None:
        warnings.append(f"<{element.tag}> is not a verb that is known here")
        return
    verb = reader(element)
    if verb is None:
        warnings.append(f"<{element.tag}> holds nothing that is known here")
    else:
        verbs.append(verb)


def _text(element: ET.Element) -> str:
    return "".join(element.itertext()).strip()


def _number(element: ET.Element, name: str, default: float) -> float:
    value = element.get(name)
    if value is None:
        return default
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TwimlError(12200, f"<{element.tag} {name}> is not a number: {value!r}")
    return number


def _method(element: ET.Element, name: str) -> str:
    method = element.get(name, "POST").upper()
    if method not in ("GET", "POST"):
        raise TwimlError(12200, f"<{element.tag} {name}> is neither GET nor POST: {method!r}")
    return method


def _say(element: ET.Element) -> Verb:
    return Say(_text(element), int(_number(element, "loop", 1)))


def _play(element: ET.Element) -> Verb:
    return Play(_text(element), element.get("digits", ""), int(_number(element, "loop", 1)))


def _redirect(element: ET.Element) -> Verb:
    return Redirect(_text(element), _method(element, "method"))


def _connect(element: ET.Element) -> Verb | None:
    stream = element.find("Stream")
    if stream is None:
        return None
    parameters = [(p.get("name", ""), p.get("value", "")) for p in stream.findall("Parameter")]
    for name, value in parameters:
        if len(name) + len(value) >= MAX_PARAMETER:
            raise TwimlError(12200, f"<Parameter name={name!r}> is longer than {MAX_PARAMETER}")
    return Stream(
        url=stream.get("url", ""),
        name=stream.get("name", ""),
        track=stream.get("track", "inbound_track"),
        parameters=tuple(parameters),
        status_callback=stream.get("statusCallback", ""),
        status_method=_method(stream, "statusCallbackMethod"),
        action=element.get("action", ""),
        action_method=_method(element, "method"),
    )


def _start(element: ET.Element) -> Verb | None:
    recording = element.find("Recording")
    if recording is None:
        return None
    return StartRecording(
        channels=recording.get("channels", "dual"),
        track=recording.get("track", "both"),
        trim=recording.get("trim", "do-not-trim"),
        callback=recording.get("recordingStatusCallback", ""),
        callback_method=_method(recording, "recordingStatusCallbackMethod"),
        events=tuple(recording.get("recordingStatusCallbackEvent", "completed").split()),
    )


def _dial(element: ET.Element) -> Verb:
    number = element.find("Number")
    return Dial(
        number=_text(element) if number is None else _text(number),
        caller_id=element.get("callerId", ""),
        timeout_s=_number(element, "timeout", 30),
        time_limit_s=_number(element, "timeLimit", 14400),
        action=element.get("action", ""),
        action_method=_method(element, "method"),
    )


_READERS: dict[str, Callable[[ET.Element], Verb | None]] = {
    "Say": _say,
    "Play": _play,
    "Pause": lambda element: Pause(_number(element, "length", 1)),
    "Hangup": lambda _: Hangup(),
    "Reject": lambda element: Reject(element.get("reason", "rejected")),
    "Redirect": _redirect,
    "Connect": _connect,
    "Start": _start,
    "Dial": _dial,
}
