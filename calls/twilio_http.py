"""The HTTP beneath Twilio's REST API: one address, hard deadlines, and errors by name."""

from __future__ import annotations

import json
import time
from typing import Final
from urllib.parse import urlsplit

import requests
from django.conf import settings
from twilio.http.response import Response
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError

from calls.core.explanation import Explanation
from calls.core.twilio_errors import explain

CONNECT_TIMEOUT_S: Final = 3.05
MAX_ANSWER_BYTES: Final = 1024 * 1024


class GatewayError(Exception):
    """Twilio did not do what it was asked."""


class Throttled(GatewayError):
    """Nothing was done, because of too many requests or no connection: ask again later."""


class OutcomeUnknown(GatewayError):
    """The answer was lost. What was asked may have been done: settle it before asking again."""


class Rejected(GatewayError):
    """Twilio refused, and would refuse again."""

    def __init__(self, code: int | None, message: str, http_status: int) -> None:
        super().__init__(f"HTTP {http_status}, code {code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status

    @property
    def explanation(self) -> Explanation:
        """The refusal in words for staff."""
        return explain(self.code, self.message, self.http_status)

    @property
    def is_account_problem(self) -> bool:
        """Whether every other call would be refused too."""
        return self.explanation.stops_dialling or self.http_status in (401, 403)


class TwilioHttp:
    """Carries the SDK's requests: to the configured address, with deadlines, errors named."""

    def request(
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        deadline = time.monotonic() + CONNECT_TIMEOUT_S + settings.TWILIO_TIMEOUT_S
        try:
            with (
                requests.Session() as session,
                session.request(
                    method,
                    _at_base_url(uri),
                    params=params,  # type: ignore[arg-type]
                    data=data,
                    headers=headers,
                    auth=auth,
                    timeout=(CONNECT_TIMEOUT_S, settings.TWILIO_TIMEOUT_S),
                    allow_redirects=False,
                    stream=True,
                ) as answer,
            ):
                body = _read_body(answer, deadline)
        except (requests.RequestException, HTTPError) as exc:
            if _was_never_sent(exc):
                raise Throttled("Twilio cannot be reached") from exc
            raise OutcomeUnknown(type(exc).__name__) from exc
        _raise_for_status(answer.status_code, body)
        return Response(answer.status_code, body.decode("utf-8", "replace"), answer.headers)


def _at_base_url(uri: str) -> str:
    base = urlsplit(settings.TWILIO_BASE_URL)
    return urlsplit(uri)._replace(scheme=base.scheme, netloc=base.netloc).geturl()


def _read_body(answer: requests.Response, deadline: float) -> bytes:
    body = b""
    # One piece at a time, as it comes: a peer that drips passes every other timeout.
    while chunk := answer.raw.read1(65536, decode_content=True):
        body += chunk
        if time.monotonic() > deadline or len(body) > MAX_ANSWER_BYTES:
            raise requests.Timeout("the answer does not end")
    return body


def _was_never_sent(exc: Exception) -> bool:
    if isinstance(exc, requests.ConnectTimeout):
        return True
    cause = exc.args[0] if exc.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _raise_for_status(status: int, body: bytes) -> None:
    if 200 <= status < 300:
        return
    if status == 429:
        raise Throttled("Twilio asks us to slow down")
    if status == 408 or not 400 <= status < 500:
        raise OutcomeUnknown(f"HTTP {status}")
    code, message = _read_error(body)
    if code == 20429:
        raise Throttled("Twilio asks us to slow down")
    raise Rejected(code, message, status)


def _read_error(body: bytes) -> tuple[int | None, str]:
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return None, ""
    if not isinstance(error, dict):
        return None, ""
    code = error.get("code")
    return (code if isinstance(code, int) else None), str(error.get("message") or "")[:400]
