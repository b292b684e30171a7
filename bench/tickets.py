"""What Twilio knows of a call when its TwiML asks for a stream."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ticket:
    """One stream that will be let in."""

    name: str
    url: str
    call_sid: str
    account_sid: str
    auth_token: str
    parameters: dict[str, str] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        """The handshake's signature.

        Source: Twilio, "Webhooks security".
        """
        mac = hmac.new(self.auth_token.encode(), self.url.encode(), hashlib.sha1)
        return {"X-Twilio-Signature": base64.b64encode(mac.digest()).decode()}
