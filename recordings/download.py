"""Brings a recording's bytes from Twilio into a file, and trusts none of them.

The address is built from the recording's SID. The one in Twilio's callback is never used: whoever
forged a callback could make us fetch anything. Credentials go to Twilio's API only.

Source: Twilio, Recordings, "Fetch a recording's media file".
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import time
from collections.abc import Callable
from typing import BinaryIO, Final
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from django.conf import settings
from urllib3.exceptions import HTTPError

from calls import gateway
from calls.failpoints import failpoint
from recordings.core import problems
from recordings.errors import Doubtful, Later, Unusable

CONNECT_TIMEOUT_S: Final = 3.05
# All of it, redirects included: well within the time limit of a task.
DEADLINE_S: Final = 70.0
_MAX_REDIRECTS: Final = 3
_BLOCK_BYTES: Final = 65536
_ERROR_BYTES: Final = 4096
_ONE_CHANNEL_ONLY: Final = 16113
_WAV_TYPES: Final = frozenset(
    {
        "",
        "audio/wav",
        "audio/wave",
        "audio/x-wav",
        "audio/vnd.wave",
        "application/octet-stream",
        "binary/octet-stream",
    }
)
# Twilio keeps media at Amazon, and redirects to signed addresses there.
_STORES: Final = re.compile(
    r"(?:[\w-]+\.)*(?:twilio\.com|twiliocdn\.com|s3(?:[.-][\w-]+)*\.amazonaws\.com)"
)


class _Anonymous(requests.auth.AuthBase):
    """No credentials, not even those that a .netrc of the machine may hold."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Session(requests.Session):
    """A session that leaves redirects to us.

    Told not to follow them, requests still parses where they lead, and reads their whole body.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


def fetch(sid: str, file: BinaryIO, *, max_bytes: int, keep: Callable[[], None]) -> bool:
    """Write the stereo WAV of recording `sid` to `file`; `keep` is called after every block.

    Return whether the transfer had an end that was checked: a length, or chunks. Without one,
    nothing but the content can show that something is missing.

    Raises:
        Later: Twilio does not have it yet, or did not deliver it.
        Doubtful: what came is no audio, or more than the call can have lasted.
        Unusable: it exists with one channel only.
    """
    deadline = time.monotonic() + DEADLINE_S
    try:
        with _Session() as session:
            return _fetch(session, sid, file, max_bytes, deadline, keep)
    except (requests.RequestException, HTTPError) as exc:
        raise Later(f"The download from Twilio failed ({type(exc).__name__}).") from exc


def _fetch(
    session: requests.Session,
    sid: str,
    file: BinaryIO,
    max_bytes: int,
    deadline: float,
    keep: Callable[[], None],
) -> bool:
    url = gateway.recording_media_url(sid)
    username, password = gateway.media_auth()
    auth: requests.auth.AuthBase = requests.auth.HTTPBasicAuth(username, password)
    for _ in range(_MAX_REDIRECTS + 1):
        with session.get(
            url,
            auth=auth,
            # Compressed, its length would say nothing about ours.
            headers={"Accept-Encoding": "identity"},
            timeout=(CONNECT_TIMEOUT_S, settings.TWILIO_TIMEOUT_S),
            allow_redirects=False,
            stream=True,
        ) as answer:
            if not answer.is_redirect:
                _check_answer(answer, max_bytes)
                _write(answer, file, max_bytes, deadline, keep)
                return _has_checked_end(answer)
            url = _next_address(url, answer.headers["Location"])
            auth = _Anonymous()
            session.cookies.clear()
    raise Doubtful("Twilio redirects without an end.")


def _next_address(url: str, location: str) -> str:
    """The address to follow a redirect to.

    Raises:
        Doubtful: it leads somewhere that is neither Twilio's nor public.
    """
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        port = parts.port
    except ValueError:
        raise Doubtful("Twilio redirects to an address that cannot be read.") from None
    if parts.username or parts.password:
        raise Doubtful("Twilio redirects to an address with credentials in it.")
    if _origin(parts) == _origin(urlsplit(settings.TWILIO_BASE_URL)):
        return target
    host = parts.hostname or ""
    if parts.scheme != "https" or port not in (None, 443) or not _STORES.fullmatch(host):
        raise Doubtful("Twilio redirects to an address that is not one of its own.")
    if not _is_public(host):
        raise Doubtful("Twilio redirects to an address inside a private network.")
    return target


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port


def _is_public(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise Later(f"The address of {host} cannot be resolved.") from exc
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return bool(addresses) and all(address.is_global for address in addresses)


def _check_answer(answer: requests.Response, max_bytes: int) -> None:
    if answer.status_code != 200:
        raise _refusal(answer)
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in _WAV_TYPES:
        raise Doubtful(f"Twilio sent {kind[:60]} in place of audio.")
    length = answer.headers.get("Content-Length", "0")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise _too_much(max_bytes)


def _refusal(answer: requests.Response) -> Later | Unusable:
    status = answer.status_code
    if status == 404:
        return Later("Twilio does not have the recording ready yet.", code="20404")
    if status in (401, 403):
        return Later(
            "Twilio does not let us fetch the recording. Check TWILIO_ACCOUNT_SID and"
            " TWILIO_AUTH_TOKEN (or the API key).",
            code=str(status),
            needs_a_person=True,
        )
    if status == 400 and _error_code(answer) == _ONE_CHANNEL_ONLY:
        return Unusable(problems.MONO, code=str(_ONE_CHANNEL_ONLY))
    return Later(f"Twilio answered with HTTP {status}.", code=str(status))


def _error_code(answer: requests.Response) -> int | None:
    body = next(answer.iter_content(_ERROR_BYTES), b"")
    try:
        code = json.loads(body).get("code")
    except (ValueError, AttributeError, RecursionError):
        found = re.search(rb"<Code>(\d{1,6})</Code>", body)
        return int(found[1]) if found else None
    return code if isinstance(code, int) else None


def _write(
    answer: requests.Response,
    file: BinaryIO,
    max_bytes: int,
    deadline: float,
    keep: Callable[[], None],
) -> None:
    written = 0
    for block in answer.iter_content(_BLOCK_BYTES):
        written += len(block)
        if written > max_bytes:
            raise _too_much(max_bytes)
        # A peer that drips a byte at a time passes every other timeout.
        if time.monotonic() > deadline:
            raise Later(f"The download took more than {DEADLINE_S:.0f} seconds.")
        file.write(block)
        failpoint("recordings.mid_download")
        keep()
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and written != int(length[:20]):
        raise Later("The download from Twilio was cut off.")


def _has_checked_end(answer: requests.Response) -> bool:
    headers = answer.headers
    return "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()


def _too_much(max_bytes: int) -> Doubtful:
    limit = f"{max_bytes / 1_000_000:.1f}"
    return Doubtful(f"The recording is larger than the call can have lasted (over {limit} MB).")
