"""Who may speak to us: Twilio's signatures, and the addresses at which it reaches us.

A signature covers the address exactly as Twilio was told it. We therefore rebuild it from
PUBLIC_BASE_URL and never from the request's own headers, which anyone can write.

Source: Twilio, "Webhooks security".
"""

from __future__ import annotations

import base64
import hmac
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, Final, overload
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist, SuspiciousOperation
from django.db import DataError, Error
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.utils.datastructures import MultiValueDict
from django.views.decorators.csrf import csrf_exempt

from calls.deadlines import database_deadline

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponse]
Params = Mapping[str, str] | MultiValueDict[str, str]

STREAM_PATH: Final = "/api/twilio/_ws/stream"
MAX_BODY_BYTES: Final = 64 * 1024
CALL_SID: Final = r"CA[0-9a-f]{32}"
ACCOUNT_SID: Final = r"AC[0-9a-f]{32}"
# Three more tries on a lost connection, a slow answer or an error of ours, all within 15 s. The
# fragment is for Twilio's eyes only: it is neither sent nor signed.
# Source: Twilio, "Webhooks connection overrides".
RETRIES: Final = "#rc=3&rp=5xx,ct,rt&ct=2000&rt=5000&tt=15000"
_DATABASE_DEADLINE_S: Final = 1.5
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


# --- Addresses ----------------------------------------------------------------------------------
def public_url(
    name: str, *, call_token: str | None = None, stream: int | None = None, retries: bool = False
) -> str:
    """The address at which Twilio reaches the view `name`, about a call and one of its streams.

    `retries` adds the fragment that asks Twilio to repeat a delivery that failed.
    """
    about = {"call": call_token, "stream": stream}
    fields = urlencode({key: value for key, value in about.items() if value is not None})
    query = fields and f"?{fields}"
    return settings.PUBLIC_BASE_URL + reverse(name) + query + (RETRIES if retries else "")


def stream_url() -> str:
    """The address of the Media Stream socket: `wss` where the public address is `https`."""
    return _socket_base() + STREAM_PATH


def _socket_base() -> str:
    return re.sub(r"^http", "ws", settings.PUBLIC_BASE_URL)


# --- Signatures ---------------------------------------------------------------------------------
def sign(url: str, params: Params, token: str, *, algorithm: str = "sha1") -> str:
    """Twilio's signature of a request: base64 of the HMAC of address and sorted form fields."""
    text = url + "".join(
        name + value for name in sorted(set(params)) for value in sorted(set(_values(params, name)))
    )
    mac = hmac.new(token.encode(), text.encode("utf-8", "surrogatepass"), algorithm)
    return base64.b64encode(mac.digest()).decode()


def is_signed(url: str, params: Params, signature: str, key_settings: str = "") -> bool:
    """Whether Twilio signed this: with either auth token, or with the shared key it names.

    `key_settings` is the header `X-Twilio-Webhooks-Signature-Settings`. It may only choose among
    keys that are configured; it can never choose a weaker algorithm for one of them.
    """
    secrets, algorithm = _secrets_for(key_settings)
    given = signature.encode("utf-8", "surrogateescape")
    matches = [
        hmac.compare_digest(sign(spelling, params, secret, algorithm=algorithm).encode(), given)
        for secret in secrets
        for spelling in _spellings(url)
    ]
    return any(matches)


def is_signed_handshake(scope: Mapping[str, Any]) -> bool:
    """Whether Twilio signed this WebSocket handshake (an ASGI scope)."""
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in scope.get("headers", [])
    }
    raw_path = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    url = _socket_base() + raw_path.decode("latin-1")
    url += "?" + query.decode("latin-1") if query else ""
    signature = headers.get("x-twilio-signature", "")
    key_settings = headers.get("x-twilio-webhooks-signature-settings", "")
    # Some handshakes arrive signed with a slash that the TwiML did not have.
    spellings = [url] if query or url.endswith("/") else [url, url + "/"]
    signed = [is_signed(spelling, {}, signature, key_settings) for spelling in spellings]
    if not any(signed):
        refused.count("handshake")
    return any(signed)


def _values(params: Params, name: str) -> list[str]:
    return params.getlist(name) if isinstance(params, MultiValueDict) else [params[name]]


def _secrets_for(key_settings: str) -> tuple[list[str], str]:
    if not key_settings.strip():
        tokens = [settings.TWILIO_AUTH_TOKEN, settings.TWILIO_AUTH_TOKEN_SECONDARY]
        return [token for token in tokens if token], "sha1"
    pairs = {
        name.strip(): value.strip()
        for name, _, value in (pair.partition("=") for pair in key_settings.split(","))
    }
    secret = settings.TWILIO_SHARED_KEYS.get(pairs.get("key", ""))
    if not secret or pairs.get("algorithm") != "HMAC_SHA256":
        return [], "sha256"
    return [secret], "sha256"


def _spellings(url: str) -> Iterable[str]:
    """The address as configured, and with the default port written or left out."""
    parts = urlsplit(url)
    default = _DEFAULT_PORTS[parts.scheme]
    yield url
    if parts.port is None:
        yield parts._replace(netloc=f"{parts.netloc}:{default}").geturl()
    elif parts.port == default:
        yield parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()


# --- The door of every webhook ------------------------------------------------------------------
class Tally:
    """Counts refusals by kind, and logs the counts at most once in ten seconds."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._logged_at = float("-inf")

    def count(self, kind: str) -> None:
        with self._lock:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            now = time.monotonic()
            if now - self._logged_at < 10:
                return
            self._logged_at = now
            counts = dict(self.counts)
        logger.warning("refused requests without a valid signature, since the start: %s", counts)


refused = Tally()


class _Refused(Exception):
    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.response = HttpResponse(text, status=status, content_type="text/plain")


@overload
def twilio_webhook(view: View, /) -> View: ...
@overload
def twilio_webhook(
    *, required: Mapping[str, str] = ..., optional: Mapping[str, str] = ...
) -> Callable[[View], View]: ...
def twilio_webhook(
    view: View | None = None,
    /,
    *,
    required: Mapping[str, str] | None = None,
    optional: Mapping[str, str] | None = None,
) -> View | Callable[[View], View]:
    """Let in Twilio's signed form POSTs only, with fields of the formats given.

    `required` and `optional` map field names to regular expressions that a value must match as a
    whole; `CallSid` and `AccountSid` are always required. An optional field may be empty. Answers
    405, 413, 415, 403 and 400 before the view runs; 404 without detail for `Http404`; 503, for
    Twilio to repeat, when the database does not answer.
    """
    needed = {"CallSid": CALL_SID, "AccountSid": ACCOUNT_SID, **(required or {})}
    allowed = dict(optional or {})

    def decorate(inner: View) -> View:
        @csrf_exempt
        @wraps(inner)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                _admit(request, needed, allowed)
                with database_deadline(_DATABASE_DEADLINE_S):
                    return inner(request, *args, **kwargs)
            except _Refused as exc:
                return exc.response
            except (Http404, ObjectDoesNotExist):  # the latter: erased meanwhile
                return HttpResponse(status=404)
            except DataError:
                logger.exception("%s: the database refused a value", inner.__name__)
                return HttpResponse(status=400)
            except Error as exc:
                logger.error("%s: database: %s", inner.__name__, type(exc).__name__)  # noqa: TRY400
                return HttpResponse(status=503)

        return guarded

    return decorate if view is None else decorate(view)


def _admit(request: HttpRequest, required: Mapping[str, str], optional: Mapping[str, str]) -> None:
    if request.method != "POST":
        raise _Refused(405)
    params = _read_form(request)
    url = settings.PUBLIC_BASE_URL + request.get_full_path()
    signature = request.headers.get("X-Twilio-Signature", "")
    key_settings = request.headers.get("X-Twilio-Webhooks-Signature-Settings", "")
    if not is_signed(url, params, signature, key_settings):
        refused.count("webhook")
        raise _Refused(403)
    request.POST = params  # type: ignore[assignment]  # read strictly, as UTF-8
    _check_fields(params, required, optional)


def _read_form(request: HttpRequest) -> QueryDict:
    if request.content_type != "application/x-www-form-urlencoded":
        raise _Refused(415, "Send application/x-www-form-urlencoded.")
    declared = request.META.get("CONTENT_LENGTH") or "0"
    if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
        raise _Refused(413)
    # The declared length may lie: read at most one byte more than is allowed.
    body = request.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise _Refused(413)
    try:
        return QueryDict(body, encoding="utf-8")
    except (SuspiciousOperation, ValueError):
        raise _Refused(400, "The form has too many fields, or is not UTF-8.") from None


def _check_fields(
    params: QueryDict, required: Mapping[str, str], optional: Mapping[str, str]
) -> None:
    for name, values in params.lists():
        if any("\x00" in text for text in (name, *values)):
            raise _Refused(400, "A field holds a NUL character: leave it out.")
    for name, pattern in {**optional, **required}.items():
        values = params.getlist(name)
        if name not in required and values in ([], [""]):
            continue
        # A field given twice could be read in two ways.
        if len(values) != 1 or not re.fullmatch(pattern, values[0], re.ASCII):
            raise _Refused(400, f"{name}: send it once, in the form {pattern}.")
    if params["AccountSid"] != settings.TWILIO_ACCOUNT_SID:
        raise _Refused(400, "AccountSid: not the account that this server calls for.")
