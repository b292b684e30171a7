"""Answers of Twilio's REST API, good, bad and missing: is there a call now, or not?"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from calls import gateway
from calls.core.lifecycle import Status
from tests.calls.kit import FakeTwilio, error, make_call, new_sid, reset

pytestmark = pytest.mark.django_db


REFUSALS = [
    (400, 21211, False, "is not a phone number"),
    (400, 21214, False, "cannot be reached"),
    (400, 21215, False, "may not call this country"),
    (400, 13227, False, "may not call this country"),
    (400, 21216, False, "block list"),
    (400, 21210, False, "TWILIO_PHONE_NUMBER"),
    (400, 21212, False, "TWILIO_PHONE_NUMBER"),
    (400, 21219, False, "trial account"),
    (400, 21202, False, "premium-rate"),
    (400, 21205, False, "PUBLIC_BASE_URL"),
    (400, 99999, False, "error 99999): Something new"),
    (404, 20404, False, ""),
    (401, 20003, True, "credentials"),
    (403, 20005, True, "not active"),
    (403, 20006, True, "denies"),
    (403, 20008, True, "test credentials"),
    (400, 20003, True, "credentials"),
    (403, 99999, True, "denies"),
]


@pytest.mark.parametrize(("status", "code", "is_account_problem", "words"), REFUSALS)
def test_a_refusal_says_in_plain_words_what_is_wrong(
    status: int, code: int, is_account_problem: bool, words: str, twilio: FakeTwilio
) -> None:
    """[A5]"""
    twilio.will((status, error(code, "Something new", status)))

    with pytest.raises(gateway.Rejected) as caught:
        gateway.dial(make_call(Status.DIALING))

    assert caught.value.code == code
    assert caught.value.is_account_problem is is_account_problem
    assert words in str(caught.value.explanation)
    assert caught.value.explanation.fix


@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b"[1]", b"null", b'{"code": "x"}'])
def test_a_refusal_that_cannot_be_read_is_still_one(body: bytes, twilio: FakeTwilio) -> None:
    twilio.will((400, body))

    with pytest.raises(gateway.Rejected) as caught:
        gateway.dial(make_call(Status.DIALING))

    assert caught.value.code is None
    assert "HTTP 400" in str(caught.value.explanation)


@pytest.mark.parametrize(
    "answer",
    [(429, error(20429, "Too Many Requests", 429)), (429, b""), (400, error(20429, "", 400))],
)
def test_too_many_requests_means_later(answer: Any, twilio: FakeTwilio) -> None:
    """[A4] Twilio has created nothing."""
    twilio.will(answer)

    with pytest.raises(gateway.Throttled):
        gateway.dial(make_call(Status.DIALING))


@pytest.mark.parametrize(
    "answer",
    [
        (500, error(20500, "Internal Server Error", 500)),
        (502, b"<html>Bad Gateway</html>"),
        (503, error(20503, "Service Unavailable", 503)),
        (504, b""),
        (408, b""),
        (301, b""),
        (201, b""),
        (201, b"{"),
        (201, b"<html></html>"),
        (201, b"[" * 100_000),
        (201, b"null"),
        (201, b"[]"),
        (201, {"sid": None}),
        (201, {"sid": "CA1"}),
        (201, {}),
        (201, {"sid": "RE" + "0" * 32}),
        (201, {"sid": new_sid(), "padding": "x" * 2_000_000}),
    ],
)
def test_an_answer_that_was_lost_leaves_the_outcome_unknown(
    answer: tuple[int, Any], twilio: FakeTwilio
) -> None:
    """[A3] The call may exist: it is never asked for again blindly."""
    twilio.will(answer)

    with pytest.raises(gateway.OutcomeUnknown):
        gateway.dial(make_call(Status.DIALING))

    assert len(twilio.received) == 1


def test_a_connection_reset_leaves_the_outcome_unknown(twilio: FakeTwilio) -> None:
    """[A3]"""
    twilio.will(lambda _: None)

    with pytest.raises(gateway.OutcomeUnknown):
        gateway.dial(make_call(Status.DIALING))

    assert len(twilio.received) == 1


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does with its one connection what `serve` says."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            serve(connection)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        thread.join(timeout=20)


def _silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _cut(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{")
    reset(connection)


def _dripping(connection: socket.socket) -> None:
    """Whoever has the patience of ten seconds and more gets a good answer."""
    body = json.dumps({"sid": new_sid()}).encode()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(body))
    connection.settimeout(0.2)
    for byte in body:
        try:
            connection.sendall(bytes([byte]))
            if not _stays(connection):
                return
        except OSError:
            return


def _stays(connection: socket.socket) -> bool:
    """Whether the peer is still there after a while; the rest of its request may come meanwhile."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return True
    return False


def _no_http(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


@pytest.mark.parametrize("serve", [_silent, _cut, _dripping, _no_http])
def test_a_peer_that_breaks_off_or_never_ends_leaves_the_outcome_unknown(
    serve: Callable[[socket.socket], None], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[A3] And every wait has its end."""
    from calls import twilio_http

    settings.TWILIO_TIMEOUT_S = 1
    monkeypatch.setattr(twilio_http, "CONNECT_TIMEOUT_S", 1)
    call = make_call(Status.DIALING)

    with server(serve) as url:
        settings.TWILIO_BASE_URL = url
        with pytest.raises(gateway.OutcomeUnknown):
            gateway.dial(call)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://no-such-host.invalid"])
def test_what_was_never_sent_was_certainly_not_done(url: str, settings: Any) -> None:
    """No connection, no call: it may be tried again later."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings.TWILIO_BASE_URL = url.format(port=port)

    with pytest.raises(gateway.Throttled):
        gateway.dial(make_call(Status.DIALING))
