"""What we depend on elsewhere: our public address, Twilio, OpenAI."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import requests
from django.conf import settings
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from calls.doctor.findings import Trouble
from calls.doctor.inside import judge_clock
from calls.signing import public_url, sign, stream_url

_TIMEOUT_S = 5.0
_URL_FIX = (
    "set PUBLIC_BASE_URL to the address at which Twilio reaches this server; "
    "check DNS, the firewall and the proxy"
)
_SIGNATURE_FIX = (
    "spell PUBLIC_BASE_URL as Twilio uses it, have the proxy pass path and query on unchanged, and "
    "start web and media with this very TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"
)
# Well-formed and nobody's: the fallback answers without looking anything up.
_NO_CALL = {"CallSid": "CA" + "0" * 32}


# --- Our own address ------------------------------------------------------------------------------
def public_address() -> str:
    """The public address leads to this product."""
    url = f"{settings.PUBLIC_BASE_URL}/healthz"
    try:
        answer = requests.get(url, timeout=_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as exc:
        raise Trouble(f"{url} does not answer ({_reason(exc)})", _URL_FIX) from exc
    if answer.status_code != 200 or answer.text.strip() != "ok":
        text = f"{url} answers {answer.status_code}, not as this product would"
        raise Trouble(text, _URL_FIX)
    return f"{settings.PUBLIC_BASE_URL} leads here"


def signed_webhook() -> str:
    """What Twilio signs is let in."""
    answer = _post_webhook(signed=True)
    if answer.status_code != 200 or "<Response>" not in answer.text:
        raise Trouble(f"a signed webhook was answered {answer.status_code}", _SIGNATURE_FIX)
    return "a signed one is accepted"


def unsigned_webhook() -> str:
    """What nobody signed is kept out."""
    answer = _post_webhook(signed=False)
    if answer.status_code != 403:
        raise Trouble(
            f"an unsigned webhook was answered {answer.status_code} instead of 403",
            "requests must reach this product itself; look at what answers at the public address",
        )
    return "an unsigned one is refused"


def _post_webhook(*, signed: bool) -> requests.Response:
    url = public_url("twilio-fallback")
    form = {**_NO_CALL, "AccountSid": settings.TWILIO_ACCOUNT_SID}
    headers = {}
    if signed:
        headers["X-Twilio-Signature"] = sign(url, form, settings.TWILIO_AUTH_TOKEN)
    try:
        return requests.post(
            url, data=form, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False
        )
    except requests.RequestException as exc:
        raise Trouble(f"{url} does not answer ({_reason(exc)})", _URL_FIX) from exc


def stream_socket() -> str:
    """The media stream's socket opens for Twilio, and for nobody else."""
    url = stream_url()
    signature = sign(url, {}, settings.TWILIO_AUTH_TOKEN)
    status = _handshake(url, {"X-Twilio-Signature": signature})
    if status == 403:
        raise Trouble(f"{url} refused a signed handshake (403)", _SIGNATURE_FIX)
    if status != 101:
        raise Trouble(
            f"{url} answered a handshake with {status}",
            "the proxy must pass WebSocket upgrades (Upgrade and Connection headers) on to the "
            "media process",
        )
    status = _handshake(url, {})
    if status != 403:
        text = f"{url} answered an unsigned handshake with {status} instead of 403"
        raise Trouble(text, _SIGNATURE_FIX)
    return f"{url} opens for signed handshakes only"


def _handshake(url: str, headers: dict[str, str]) -> int:
    """The HTTP status of a WebSocket handshake; 101 means that it opened."""
    try:
        with connect(
            url, additional_headers=headers, open_timeout=_TIMEOUT_S, close_timeout=1, proxy=None
        ):
            return 101
    except InvalidStatus as exc:
        return exc.response.status_code
    except (OSError, TimeoutError, InvalidHandshake) as exc:
        raise Trouble(f"{url} cannot be opened ({_reason(exc)})", _URL_FIX) from exc


# --- Twilio ---------------------------------------------------------------------------------------
def twilio_credentials() -> str:
    """Twilio knows the account, and lets us in."""
    account = _twilio(f"/2010-04-01/Accounts/{settings.TWILIO_ACCOUNT_SID}.json").json()
    if account.get("status") != "active":
        text = f"the account is {account.get('status')}"
        raise Trouble(text, "see the Twilio console for the reason")
    if account.get("type") == "Trial":
        return "active; a trial account calls verified numbers only, after an announcement"
    return "the account is active"


def twilio_number() -> str:
    """The number to call from is ours, or verified."""
    number = settings.TWILIO_PHONE_NUMBER
    account = f"/2010-04-01/Accounts/{settings.TWILIO_ACCOUNT_SID}"
    query = f".json?PhoneNumber={quote(number)}"
    owned = _twilio(f"{account}/IncomingPhoneNumbers{query}").json().get("incoming_phone_numbers")
    if owned:
        if not owned[0].get("capabilities", {}).get("voice", True):
            raise Trouble(f"{number} cannot make voice calls", "buy a number with voice")
        return f"{number} is ours"
    verified = _twilio(f"{account}/OutgoingCallerIds{query}").json().get("outgoing_caller_ids")
    if verified:
        return f"{number} is a verified caller ID"
    raise Trouble(
        f"{number} belongs neither to the account's numbers nor to its verified caller IDs",
        "set TWILIO_PHONE_NUMBER to one of the account's numbers",
    )


def twilio_clock() -> str:
    """Twilio's clock and ours agree."""
    before = datetime.now(UTC)
    answer = _twilio(f"/2010-04-01/Accounts/{settings.TWILIO_ACCOUNT_SID}.json")
    after = datetime.now(UTC)
    told = answer.headers.get("Date")
    if not told:
        return "Twilio did not tell the time"
    # The header counts whole seconds.
    return judge_clock("Twilio", parsedate_to_datetime(told), before, after, tolerance_s=1.0)


def _twilio(path: str) -> requests.Response:
    secret = (settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKEN)
    if settings.TWILIO_API_KEY and settings.TWILIO_API_SECRET:
        secret = (settings.TWILIO_API_KEY, settings.TWILIO_API_SECRET)
    try:
        answer = requests.get(settings.TWILIO_BASE_URL + path, auth=secret, timeout=_TIMEOUT_S)
    except requests.RequestException as exc:
        text = f"{settings.TWILIO_BASE_URL} does not answer ({_reason(exc)})"
        raise Trouble(text, "let this machine reach the address; check TWILIO_BASE_URL") from exc
    if answer.status_code in {401, 403}:
        raise Trouble(
            f"Twilio refuses the credentials ({answer.status_code})",
            "copy TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN (or API key and secret) anew from the "
            "Twilio console",
        )
    if answer.status_code != 200:
        text = f"Twilio answers {answer.status_code}"
        raise Trouble(text, "check TWILIO_ACCOUNT_SID, and Twilio's status page")
    return answer


# --- OpenAI ---------------------------------------------------------------------------------------
_KEY_FIX = "set OPENAI_API_KEY to a valid project key from platform.openai.com"


def openai_key() -> str:
    """The key is valid and sees the model."""
    model = settings.OPENAI_REALTIME_MODEL
    url = f"{settings.OPENAI_BASE_URL.rstrip('/')}/models/{quote(model)}"
    headers = {"Authorization": f"Bearer {settings.OPENAI_API_KEY}"}
    try:
        answer = requests.get(url, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as exc:
        text = f"{settings.OPENAI_BASE_URL} does not answer ({_reason(exc)})"
        raise Trouble(text, "let this machine reach the address (https, port 443)") from exc
    if answer.status_code != 200:
        raise _openai_trouble(answer.status_code, model)
    return f"it is valid and sees {model}"


def openai_session() -> str:
    """The key opens a Realtime session with the model.

    A session that is closed before anything is said costs nothing.
    """
    model = settings.OPENAI_REALTIME_MODEL
    url = f"{settings.OPENAI_REALTIME_URL}?model={quote(model)}"
    headers = {"Authorization": f"Bearer {settings.OPENAI_API_KEY}"}
    try:
        with connect(
            url,
            additional_headers=headers,
            open_timeout=_TIMEOUT_S,
            close_timeout=1,
            max_size=2**20,
            proxy=None,
        ) as socket:
            event = json.loads(socket.recv(timeout=_TIMEOUT_S))
    except InvalidStatus as exc:
        raise _openai_trouble(exc.response.status_code, model) from exc
    except (OSError, TimeoutError, WebSocketException) as exc:
        text = f"{settings.OPENAI_REALTIME_URL} does not answer ({_reason(exc)})"
        raise Trouble(text, "let this machine reach the address (wss, port 443)") from exc
    _expect_session(event, model)
    return f"the key opens sessions with {model}"


def _openai_trouble(status: int, model: str) -> Trouble:
    if status == 401:
        return Trouble("OpenAI refuses the key (401)", _KEY_FIX)
    if status in {403, 404}:
        return Trouble(f"the key has no access to {model} ({status})", _model_fix())
    if status == 429:
        return Trouble("OpenAI refuses for now (429)", "check the project's limits and balance")
    return Trouble(f"OpenAI answers {status}", "see OpenAI's status page")


def _model_fix() -> str:
    return "set OPENAI_REALTIME_MODEL to a model that the project may use"


def _expect_session(event: dict[str, Any], model: str) -> None:
    if event.get("type") == "session.created":
        return
    error = event.get("error") or {}
    code = str(error.get("code") or error.get("type") or event.get("type"))
    if code in {"invalid_api_key", "authentication_error"}:
        raise Trouble(f"OpenAI refuses the key ({code})", _KEY_FIX)
    if "model" in code:
        raise Trouble(f"the key has no access to {model} ({code})", _model_fix())
    raise Trouble(f"OpenAI answers {code}", "check the project's limits and balance")


def _reason(exc: Exception) -> str:
    """The innermost cause, in a few words and without the request's details."""
    cause: BaseException = exc
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return str(text)[:120]
