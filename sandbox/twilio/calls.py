"""A call as Twilio keeps it, and the machine that walks through its TwiML. No I/O.

Source: Twilio, Call resource; twilio.md sections A.1 to A.4 and C.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from urllib.parse import urljoin

from sandbox.twilio import twiml

RANK = {"queued": 0, "initiated": 1, "ringing": 2, "in-progress": 3}
TERMINAL = ("completed", "busy", "failed", "no-answer", "canceled")
RESOURCE_STATUSES = ("queued", "ringing", "in-progress", *TERMINAL)
PRICE_PER_MINUTE = Decimal("0.0140")
API_VERSION = "2010-04-01"
MAX_DOCUMENTS = 200

_SUBRESOURCES = {
    "notifications": "Notifications",
    "recordings": "Recordings",
    "streams": "Streams",
    "events": "Events",
    "transcriptions": "Transcriptions",
    "siprec": "Siprec",
    "payments": "Payments",
    "user_defined_messages": "UserDefinedMessages",
    "user_defined_message_subscriptions": "UserDefinedMessageSubscriptions",
}


def new_sid(prefix: str) -> str:
    """An identifier as Twilio makes them: two letters and 32 hex digits."""
    return prefix + secrets.token_hex(16)


def number_sid(number: str) -> str:
    return "PN" + hashlib.sha256(number.encode()).hexdigest()[:32]


def rfc2822(when: datetime | None) -> str | None:
    return None if when is None else format_datetime(when)


def formatted(number: str) -> str:
    if number.startswith("+1") and len(number) == 12:
        return f"({number[2:5]}) {number[5:8]}-{number[8:]}"
    return number


@dataclass(frozen=True, slots=True)
class Callback:
    """Where a webhook goes."""

    url: str
    method: str = "POST"
    events: tuple[str, ...] = ("completed",)


@dataclass(frozen=True, slots=True)
class RecordingOrder:
    """What `Record=true` (or a later request) asks for."""

    channels: str = "mono"
    track: str = "both"
    trim: str = "trim-silence"
    callback: Callback | None = None
    source: str = "OutboundAPI"


@dataclass(frozen=True, slots=True)
class Detection:
    """Answering machine detection as ordered."""

    mode: str
    is_async: bool = False
    timeout_s: float = 30.0
    silence_s: float = 5.0
    """Nobody says anything: `unknown`."""
    speech_end_s: float = 1.2
    """So much silence ends a machine's greeting."""
    callback: Callback | None = None


@dataclass(frozen=True, slots=True)
class CallOrder:
    """A create request that was found good."""

    to: str
    from_: str
    url: Callback | None = None
    twiml: str = ""
    fallback: Callback | None = None
    status_callback: Callback | None = None
    timeout_s: float = 60.0
    time_limit_s: float = 14400.0
    recording: RecordingOrder | None = None
    detection: Detection | None = None
    warnings: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CallUpdate:
    """An update of a call that was found good; what is None or empty stays as it is."""

    status: str = ""
    url: Callback | None = None
    twiml: str = ""
    time_limit_s: float | None = None
    fallback: Callback | None = None
    status_callback: Callback | None = None


@dataclass(slots=True)
class Call:
    """One call; `advance` is the only way to change its status."""

    order: CallOrder
    account_sid: str
    created_at: datetime
    sid: str = field(default_factory=lambda: new_sid("CA"))
    status: str = "queued"
    queue_time_ms: int = 0
    start_time: datetime | None = None
    answered_at: datetime | None = None
    end_time: datetime | None = None
    updated_at: datetime | None = None
    answered_by: str | None = None
    price: Decimal | None = None
    sip_code: int | None = None
    error_code: int | None = None
    sequence: int = 0
    recordings: list[str] = field(default_factory=list)
    is_deleted: bool = False
    _history: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.touch(self.created_at)

    @property
    def to(self) -> str:
        return self.order.to

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    @property
    def duration_s(self) -> int:
        """Seconds from the answer to the end; 0 for a call that nobody answered."""
        if self.answered_at is None or self.end_time is None:
            return 0
        return max(1, round((self.end_time - self.answered_at).total_seconds()))

    @property
    def minutes(self) -> int:
        return max(1, math.ceil(self.duration_s / 60))

    def advance(self, status: str, now: datetime) -> bool:
        """Move up to `status`; False (and no change) if the call is past it already."""
        if self.is_over or RANK.get(status, 4) <= RANK[self.status]:
            return False
        self.status = status
        if status == "initiated":
            self.start_time = now
        elif status == "in-progress":
            self.answered_at = now
        elif status in TERMINAL:
            self.end_time = now
        self.touch(now)
        return True

    def set_price(self, now: datetime) -> None:
        """Fill in the price, as happens some time after the end."""
        billed = self.minutes if self.answered_at else 0
        self.price = -(PRICE_PER_MINUTE * billed) if billed else Decimal(0)
        self.touch(now)

    def touch(self, now: datetime) -> None:
        """Remember how the call looks now, for readers that lag behind."""
        self.updated_at = now
        self._history.append((now, self._json()))

    def to_json(self, at: datetime) -> dict[str, Any]:
        """The resource as it looked at `at` (at its creation, if that is later)."""
        seen = [shape for when, shape in self._history if when <= at]
        return seen[-1] if seen else self._history[0][1]

    def params(self) -> list[tuple[str, str]]:
        """The fields that every webhook of a call carries."""
        return [
            ("CallSid", self.sid),
            ("AccountSid", self.account_sid),
            ("From", self.order.from_),
            ("To", self.order.to),
            ("Caller", self.order.from_),
            ("Called", self.order.to),
            ("Direction", "outbound-api"),
            ("ApiVersion", API_VERSION),
            ("CallStatus", self.status),
            *[
                (f"{party}{part}", "US" if part == "Country" and number.startswith("+1") else "")
                for party, number in (
                    ("From", self.order.from_),
                    ("To", self.order.to),
                    ("Caller", self.order.from_),
                    ("Called", self.order.to),
                )
                for part in ("City", "State", "Zip", "Country")
            ],
        ]

    def _json(self) -> dict[str, Any]:
        uri = f"/{API_VERSION}/Accounts/{self.account_sid}/Calls/{self.sid}"
        # "initiated" is a word of the callbacks; the resource says "queued" until it rings.
        status = "queued" if self.status == "initiated" else self.status
        return {
            "sid": self.sid,
            "account_sid": self.account_sid,
            "api_version": API_VERSION,
            "status": status,
            "direction": "outbound-api",
            "to": self.order.to,
            "to_formatted": formatted(self.order.to),
            "from": self.order.from_,
            "from_formatted": formatted(self.order.from_),
            "phone_number_sid": number_sid(self.order.from_),
            "parent_call_sid": None,
            "group_sid": None,
            "trunk_sid": None,
            "caller_name": None,
            "forwarded_from": None,
            "annotation": None,
            "answered_by": self.answered_by,
            # A call that waits for its turn has no dates yet, its creation's not either.
            "date_created": rfc2822(self.created_at if self.start_time else None),
            "date_updated": rfc2822(self.updated_at if self.start_time else None),
            "start_time": rfc2822(self.start_time),
            "end_time": rfc2822(self.end_time),
            "duration": str(self.duration_s) if self.status == "completed" else None,
            "price": None if self.price is None else f"{self.price:.5f}",
            "price_unit": "USD",
            "queue_time": str(self.queue_time_ms),
            "uri": f"{uri}.json",
            "subresource_uris": {
                name: f"{uri}/{part}.json" for name, part in _SUBRESOURCES.items()
            },
        }


# --- TwiML ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask this URL for the next document."""

    url: str
    method: str
    params: tuple[tuple[str, str], ...] = ()
    is_fallback: bool = False


@dataclass(frozen=True, slots=True)
class Do:
    """Carry out this verb, then call `finished`."""

    verb: twiml.Verb


@dataclass(frozen=True, slots=True)
class End:
    """Hang up."""

    reason: str


Action = Fetch | Do | End

APPLICATION_ERROR = "We are sorry, an application error has occurred. Goodbye."


class Machine:
    """Walks through documents: what comes next, given how the last thing went."""

    def __init__(self, order: CallOrder) -> None:
        self.fallback = order.fallback
        self._order = order
        self._verbs: list[twiml.Verb] = []
        self._current: twiml.Verb | None = None
        self._base = ""
        self._asked: Fetch | None = None
        self._documents = 0
        self.warnings: tuple[str, ...] = ()
        """What the last document held that nobody here understands (12200)."""

    def start(self) -> Action:
        """The call was answered; raises twiml.TwimlError as `read` does."""
        if self._order.url is not None:
            return self.go_to(self._order.url.url, self._order.url.method)
        return self.read(self._order.twiml.encode(), "")

    def go_to(self, url: str, method: str, params: tuple[tuple[str, str], ...] = ()) -> Action:
        """Leave everything and fetch a document."""
        self._verbs, self._current = [], None
        self._asked = Fetch(self.absolute(url), method, params)
        return self._asked

    def absolute(self, url: str) -> str:
        """An address of the current document; one that makes no sense stays as it is."""
        try:
            return urljoin(self._base, url)
        except ValueError:
            return url

    def read(self, body: bytes, url: str) -> Action:
        """A document has arrived; raises twiml.TwimlError if it cannot be carried out."""
        document = twiml.parse(body)
        self.warnings = document.warnings
        self._documents += 1
        if self._documents > MAX_DOCUMENTS:
            return End(f"{MAX_DOCUMENTS} documents were fetched: a loop")
        self._verbs, self._current = list(document.verbs), None
        self._base = url or self._base
        return self._next()

    def failed(self, code: int) -> Action:
        """The document could not be had, read or carried out: fallback once, then an apology."""
        asked, fallback = self._asked, self.fallback
        if fallback is not None and not (asked is not None and asked.is_fallback):
            where = asked.url if asked else self._base
            params = (("ErrorCode", str(code)), ("ErrorUrl", where))
            self._verbs, self._current = [], None
            self._asked = Fetch(fallback.url, fallback.method, params, is_fallback=True)
            return self._asked
        self._verbs, self._current = [twiml.Hangup()], None
        return Do(twiml.Say(APPLICATION_ERROR))

    def finished(self, params: tuple[tuple[str, str], ...] = ()) -> Action:
        """The verb is done; `params` go to its `action`, if it has one."""
        done, self._current = self._current, None
        if isinstance(done, twiml.Stream | twiml.Dial) and done.action:
            return self.go_to(done.action, done.action_method, params)
        return self._next()

    def _next(self) -> Action:
        if not self._verbs:
            return End("the document has no further verb")
        verb = self._verbs.pop(0)
        self._current = verb
        match verb:
            case twiml.Hangup():
                return End("<Hangup>")
            case twiml.Reject():
                return End("<Reject>")
            case twiml.Redirect(url, method):
                return self.go_to(url, method)
            case _:
                return Do(verb)
