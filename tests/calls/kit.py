"""What the tests of `calls` share: rows, signed posts, and a Twilio that answers as told."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from uuid import uuid4

from django.conf import settings
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from calls.core.brief import Brief
from calls.core.lifecycle import Status
from calls.models import Agent, Call, Recipient
from calls.signing import sign

ACCOUNT = "AC00000000000000000000000000000001"
MONDAY_NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


# --- Rows ---------------------------------------------------------------------------------------
def new_sid() -> str:
    return f"CA{uuid4().hex}"


def make_agent(**fields: Any) -> Agent:
    values = {"name": f"Agent {uuid4()}", "instructions": "Ask {{ name }} for a good time to meet."}
    return Agent.objects.create(**{**values, **fields})


_numbers = iter(range(14155550200, 14155560000))


def make_recipient(**fields: Any) -> Recipient:
    values = {"name": "Ana Lima", "phone": f"+{next(_numbers)}"}
    return Recipient.objects.create(**{**values, **fields})


def make_call(status: Status = Status.QUEUED, **fields: Any) -> Call:
    """A call as it stands in `status`; at Twilio it has a SID."""
    recipient = fields.pop("recipient", None) or make_recipient()
    agent = fields.pop("agent", None) or make_agent()
    now = timezone.now()
    values: dict[str, Any] = {
        "request_key": str(uuid4()),
        "to_number": recipient.phone,
        "from_number": settings.TWILIO_PHONE_NUMBER,
        "brief": Brief(agent.name, agent.model, agent.voice, "Be brief.").to_json(),
        "not_before": now - timedelta(seconds=1),
    }
    if status is not Status.QUEUED:
        values |= {"claimed_at": now, "dial_attempts": 1}
    if status in (Status.DIALING, Status.UNKNOWN):
        values["lease_expires_at"] = now + timedelta(seconds=30)
    elif status is not Status.QUEUED:
        values["twilio_sid"] = new_sid()
    return Call.objects.create(
        agent=agent, recipient=recipient, status=status, **{**values, **fields}
    )


def row(call: Call, *without: str) -> dict[str, Any]:
    """The call as the database holds it now."""
    found = Call.objects.filter(pk=call.pk).values().get()
    return {name: value for name, value in found.items() if name not in without}


def status_of(call: Call) -> Status:
    return Status(Call.objects.values_list("status", flat=True).get(pk=call.pk))


# --- Twilio's callbacks -------------------------------------------------------------------------
def report(call: Call, status: str, *, second: int = 0, **more: str) -> dict[str, str]:
    """The form of a status callback, `second` seconds after Monday noon."""
    at = timezone.now().replace(microsecond=0) + timedelta(seconds=second)
    return {
        "CallSid": call.twilio_sid or "",
        "AccountSid": ACCOUNT,
        "From": call.from_number,
        "To": call.to_number,
        "Direction": "outbound-api",
        "ApiVersion": "2010-04-01",
        "CallStatus": status,
        "CallbackSource": "call-progress-events",
        "Timestamp": format_datetime(at),
        **more,
    }


def address(name: str, call: Call | str | None = None) -> str:
    """The path and query of a webhook, as Twilio was told it."""
    if call is None:
        return reverse(name)
    token = call if isinstance(call, str) else call.token
    return f"{reverse(name)}?call={token}"


def post(
    path: str,
    form: Mapping[str, str] | Iterable[tuple[str, str]],
    *,
    client: Client | None = None,
    signature: str | None = None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Post a form as Twilio would, signed."""
    body = urlencode(list(form.items() if isinstance(form, Mapping) else form))
    if signature is None:
        signature = signature_of(path, body, token or settings.TWILIO_AUTH_TOKEN)
    answer = (client or Client(raise_request_exception=False)).post(
        path,
        body,
        content_type="application/x-www-form-urlencoded",
        headers={"X-Twilio-Signature": signature, **(headers or {})},
    )
    assert isinstance(answer, HttpResponse)
    return answer


def signature_of(path: str, body: str, token: str) -> str:
    """Twilio's signature, written down once more so as not to trust our own."""
    import base64
    import hashlib
    import hmac

    fields = parse_qs(body, keep_blank_values=True)
    text = settings.PUBLIC_BASE_URL + path
    for name in sorted(fields):
        for value in sorted(set(fields[name])):
            text += name + value
    digest = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def signed(path: str, form: Mapping[str, str]) -> str:
    return sign(settings.PUBLIC_BASE_URL + path, form, settings.TWILIO_AUTH_TOKEN)


# --- A Twilio that answers as told --------------------------------------------------------------
@dataclass
class Request:
    """One request that the fake Twilio received."""

    method: str
    path: str
    query: dict[str, list[str]]
    form: list[tuple[str, str]]
    headers: dict[str, str]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.form if key == name]


Answer = tuple[int, Any] | Callable[["Request"], "tuple[int, Any] | None"]


@dataclass
class FakeTwilio:
    """Twilio's REST API on a real socket: gives the answers queued with `will`, in order.

    An answer is `(status, JSON or bytes)`, or a function of the request; one that returns None
    has the connection reset.
    """

    url: str = ""
    received: list[Request] = field(default_factory=list)
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    _answers: list[Answer] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def will(self, *answers: Answer) -> None:
        self._answers.extend(answers)

    @property
    def created(self) -> list[Request]:
        """The requests that asked for a new call."""
        return [r for r in self.received if r.method == "POST" and r.path.endswith("/Calls.json")]

    def add_call(self, **fields: Any) -> dict[str, Any]:
        """A call that Twilio shows from now on."""
        call = {**resource(), **fields}
        self.calls[call["sid"]] = call
        return call

    def answer(self, request: Request) -> tuple[int, Any] | None:
        with self._lock:
            self.received.append(request)
            if self._answers:
                next_answer = self._answers.pop(0)
                return next_answer(request) if callable(next_answer) else next_answer
            return self._by_itself(request)

    def _by_itself(self, request: Request) -> tuple[int, Any]:
        if request.path.endswith("/Calls.json"):
            if request.method == "POST":
                form = dict(request.form)
                return 201, self.add_call(**{"to": form["To"], "from": form["From"]})
            to = request.query.get("To", [""])[0]
            found = [c for c in self.calls.values() if to in ("", c["to"])]
            return 200, {"calls": found[::-1], "next_page_uri": None, "page": 0, "page_size": 50}
        call = self.calls.get(request.path.rpartition("/")[2].removesuffix(".json"))
        if call is None:
            return 404, error(20404, "The requested resource was not found", 404)
        if request.method == "POST":
            if call["status"] in ("completed", "busy", "failed", "no-answer", "canceled"):
                return 400, error(21220, "Call is not in-progress.", 400)
            call["status"] = dict(request.form).get("Status", call["status"])
        return 200, call


def error(code: int, message: str, status: int) -> dict[str, Any]:
    return {"code": code, "message": message, "more_info": "", "status": status}


def resource(**fields: Any) -> dict[str, Any]:
    """A Call resource as Twilio writes it."""
    return {
        "sid": new_sid(),
        "account_sid": ACCOUNT,
        "status": "queued",
        "to": "+14155550101",
        "from": settings.TWILIO_PHONE_NUMBER,
        "date_created": format_datetime(timezone.now()),
        "start_time": None,
        "end_time": None,
        "duration": None,
        "price": None,
        "price_unit": "USD",
        "answered_by": None,
        **fields,
    }


@contextmanager
def fake_twilio() -> Iterator[FakeTwilio]:
    """Serve a fake Twilio on a free port, and have the gateway speak to it."""
    fake = FakeTwilio()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length).decode()
            parts = urlsplit(self.path)
            request = Request(
                self.command,
                parts.path,
                parse_qs(parts.query),
                parse_qsl(body, keep_blank_values=True),
                dict(self.headers.items()),
            )
            answer = fake.answer(request)
            if answer is None:
                reset(self.connection)
                self.close_connection = True
                return
            status, content = answer
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_DELETE = do  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# --- Many at once -------------------------------------------------------------------------------
def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(0)` to `work(count - 1)` in as many threads, all let go at the same moment.

    Each has its own database connection. An exception is the thread's result.
    """
    gate = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(n: int) -> None:
        try:
            gate.wait(timeout=20)
            results[n] = work(n)
        except Exception as exc:  # noqa: BLE001 - a result like any other
            results[n] = exc
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results
