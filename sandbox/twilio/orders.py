"""Read a call's create request as Twilio reads it, and refuse what Twilio refuses.

Source: Twilio, Call resource, "Create a Call resource"; twilio.md section A.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from sandbox.twilio.calls import Callback, CallOrder, CallUpdate, Detection, RecordingOrder
from sandbox.twilio.errors import ApiError

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
STATUS_EVENTS = ("initiated", "ringing", "answered", "completed")
RECORDING_EVENTS = ("in-progress", "completed", "absent", "failed")
MAX_TWIML = 4000


class Form:
    """The fields of a request; a name may come several times."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = fields

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._fields if key == name]

    def get(self, name: str, default: str = "") -> str:
        """The last value given, or the default."""
        return (self.all(name) or [default])[-1]

    def flag(self, name: str) -> bool:
        return self.get(name).lower() == "true"

    def one_of(self, name: str, known: tuple[str, ...], default: str) -> str:
        """One of several words, in any case; raises ApiError(20001)."""
        value = self.get(name, default) or default
        for word in known:
            if word.lower() == value.lower():
                return word
        raise ApiError(20001, f"Invalid parameter {name}: '{value}' is not one of {known}")

    def number(self, name: str, low: float, high: float, default: float) -> float:
        """A whole number within bounds; raises ApiError(20001)."""
        text = self.get(name)
        if not text:
            return default
        if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
            raise ApiError(20001, f"Invalid parameter {name}: '{text}' is not in {low:g}..{high:g}")
        return float(text)

    def url(self, name: str) -> str:
        """An absolute http(s) URL or nothing; raises ApiError(21205)."""
        value = self.get(name)
        if value:
            check_url(name, value)
        return value

    def method(self, name: str) -> str:
        return self.one_of(name, ("POST", "GET"), "POST")

    def callback(self, name: str, method: str = "") -> Callback | None:
        """The address in this field, with the method in `method` (`<name>Method`)."""
        url = self.url(name)
        return Callback(url, self.method(method or f"{name}Method")) if url else None


def check_url(name: str, value: str) -> None:
    """Raise ApiError(21205) unless Twilio would accept this address."""
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as exc:
        raise ApiError(21205, f"{name} is not a valid URL: {value}") from exc
    if parts.scheme not in ("http", "https") or not host or "_" in host or " " in value:
        raise ApiError(21205, f"{name} is not a valid URL: {value}")


def read_order(form: Form, *, numbers: list[str]) -> CallOrder:
    """Read a create request; raises ApiError."""
    to, from_ = form.get("To").strip(), form.get("From").strip()
    _check_numbers(to, from_, numbers)
    url, document = form.callback("Url", "Method"), form.get("Twiml")
    if not url and not document:
        if form.get("ApplicationSid"):
            raise ApiError(21218, "Invalid ApplicationSid: this account has no applications")
        raise ApiError(21205, "Url parameter is required")
    if len(document) > MAX_TWIML:
        raise ApiError(32018)
    warnings = [32019] if url and document else []
    status_callback = form.callback("StatusCallback")
    events, wrong = _status_events(form)
    if wrong:
        warnings.append(21626)
    recording = read_recording(form, "OutboundAPI")
    detection = _detection(form)
    if detection is not None and detection.is_async and detection.callback is None:
        warnings.append(21262)
    return CallOrder(
        to=to,
        from_=from_,
        url=url,
        twiml=document,
        fallback=form.callback("FallbackUrl", "FallbackMethod"),
        status_callback=status_callback and replace(status_callback, events=events),
        timeout_s=form.number("Timeout", 1, 600, 60),
        time_limit_s=form.number("TimeLimit", 1, 86400, 14400),
        recording=recording if form.flag("Record") else None,
        detection=detection,
        warnings=tuple(warnings),
    )


def read_update(form: Form) -> CallUpdate:
    """Read what is to become of a live call; raises ApiError."""
    url, document = form.callback("Url", "Method"), form.get("Twiml")
    if url and document:
        raise ApiError(20001, "Url and Twiml are mutually exclusive")
    if len(document) > MAX_TWIML:
        raise ApiError(32018)
    has_status, has_limit = form.get("Status"), form.get("TimeLimit")
    return CallUpdate(
        status=form.one_of("Status", ("completed", "canceled"), "") if has_status else "",
        url=url,
        twiml=document,
        time_limit_s=form.number("TimeLimit", 1, 86400, 0) if has_limit else None,
        fallback=form.callback("FallbackUrl", "FallbackMethod"),
        status_callback=form.callback("StatusCallback"),
    )


def _check_numbers(to: str, from_: str, numbers: list[str]) -> None:
    if not to:
        raise ApiError(21201)
    if not from_:
        raise ApiError(21213)
    if not E164.fullmatch(to) or to == from_:
        raise ApiError(21211, f"The 'To' number {to} is not a valid phone number.")
    if not E164.fullmatch(from_):
        raise ApiError(21212, f"The 'From' number {from_} is not a valid phone number.")
    if from_ not in numbers:
        raise ApiError(
            21210,
            f"The source phone number provided, {from_}, is not yet verified for your account.",
        )


def _status_events(form: Form) -> tuple[tuple[str, ...], list[str]]:
    """The key is repeated, once per event; several words in one value are not understood."""
    given = form.all("StatusCallbackEvent")
    good = tuple(event for event in given if event in STATUS_EVENTS)
    wrong = [event for event in given if event not in STATUS_EVENTS]
    return good or ("completed",), wrong


def read_recording(form: Form, source: str) -> RecordingOrder:
    """What to record and whom to tell; raises ApiError."""
    callback = form.callback("RecordingStatusCallback")
    # Documented as one value with spaces; the SDKs repeat the key. Both are understood.
    words = " ".join(form.all("RecordingStatusCallbackEvent")).split()
    events = tuple(word for word in words if word in RECORDING_EVENTS) or ("completed",)
    by_rest = source == "StartCallRecordingAPI"
    trim = "do-not-trim" if by_rest else "trim-silence"
    return RecordingOrder(
        channels=form.one_of("RecordingChannels", ("mono", "dual"), "dual" if by_rest else "mono"),
        track=form.one_of("RecordingTrack", ("inbound", "outbound", "both"), "both"),
        trim=form.one_of("Trim", ("trim-silence", "do-not-trim"), trim),
        callback=callback and replace(callback, events=events),
        source=source,
    )


def _detection(form: Form) -> Detection | None:
    if not form.get("MachineDetection") or form.get("SendDigits"):
        return None
    form.number("MachineDetectionSpeechThreshold", 1000, 6000, 2400)
    return Detection(
        mode=form.one_of("MachineDetection", ("Enable", "DetectMessageEnd"), "Enable"),
        is_async=form.flag("AsyncAmd"),
        timeout_s=form.number("MachineDetectionTimeout", 3, 59, 30),
        silence_s=form.number("MachineDetectionSilenceTimeout", 2000, 10000, 5000) / 1000,
        speech_end_s=form.number("MachineDetectionSpeechEndThreshold", 500, 5000, 1200) / 1000,
        callback=form.callback("AsyncAmdStatusCallback"),
    )
