"""Sign requests and WebSocket handshakes as Twilio signs them.

Source: Twilio, Secure webhooks; twilio.md section B.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable


def headers(
    url: str, params: Iterable[tuple[str, str]], token: str, shared_key: str = ""
) -> dict[str, str]:
    """The signature headers of a request; `shared_key` is `<id>:<secret>`, for HMAC-SHA256."""
    key, _, secret = shared_key.partition(":")
    if not secret:
        return {"X-Twilio-Signature": sign(url, params, token)}
    return {
        "X-Twilio-Signature": sign(url, params, secret, "sha256"),
        "X-Twilio-Webhooks-Signature-Settings": f"key={key},algorithm=HMAC_SHA256",
    }


def sign(url: str, params: Iterable[tuple[str, str]], token: str, algorithm: str = "sha1") -> str:
    """Sign a URL (its fragment is left out) and the form fields that go with it."""
    text = url.partition("#")[0]
    values: dict[str, set[str]] = {}
    for name, value in params:
        values.setdefault(name, set()).add(value)
    for name in sorted(values):
        text += "".join(name + value for value in sorted(values[name]))
    digest = hmac.new(token.encode(), text.encode(), algorithm).digest()
    return base64.b64encode(digest).decode()


def forge(signature: str) -> str:
    """A signature that looks right and is not."""
    return base64.b64encode(base64.b64decode(signature)[::-1]).decode()
