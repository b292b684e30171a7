"""Twilio's error codes, as its REST API answers with them and its debugger lists them.

Source: Twilio error dictionary; twilio.md sections A.7 and D.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.state import Log

MORE_INFO = "https://www.twilio.com/docs/errors/"

# code: (HTTP status, message). The debugger's codes carry no HTTP status of their own: 0.
TABLE: dict[int, tuple[int, str]] = {
    10001: (403, "Account is not active"),
    10004: (403, "Call concurrency limit exceeded"),
    16113: (400, "Cannot download a dual-channel presentation of a mono recording"),
    20001: (400, "Invalid parameter"),
    20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"),
    20005: (403, "Account is not active"),
    20006: (403, "Access Denied"),
    20008: (403, "Resource not accessible with Test Account Credentials"),
    20009: (400, "Cannot delete a resource that is not completed"),
    20404: (404, "The requested resource was not found"),
    20409: (409, "Conflict"),
    20429: (429, "Too Many Requests"),
    20500: (500, "An internal server error has occurred"),
    20503: (503, "Service unavailable"),
    21201: (400, "No 'To' number is specified"),
    21202: (400, "'To' number is a premium number"),
    21203: (400, "International calling not enabled"),
    21205: (400, "Url is not a valid URL"),
    21210: (400, "'From' phone number not verified or not owned by this account"),
    21211: (400, "The 'To' number is not a valid phone number."),
    21212: (400, "The 'From' number is not a valid phone number, shortcode, or alphanumeric."),
    21213: (400, "No 'From' number is specified"),
    21214: (400, "'To' phone number cannot be reached"),
    21215: (400, "Account not authorized to call this number; check geo permissions"),
    21216: (400, "Calls to this number are blocked"),
    21217: (400, "Phone number does not appear to be valid"),
    21218: (400, "Invalid ApplicationSid"),
    21219: (400, "'To' phone number not verified"),
    21220: (400, "Call is not in-progress. Cannot redirect."),
    22005: (400, "More than 24 hours of calls are queued"),
    32018: (400, "Twiml parameter is longer than 4000 characters"),
    32203: (400, "Calls to this number are blocked"),
    11100: (400, "Invalid URL format"),
    11200: (0, "HTTP retrieval failure"),
    11205: (0, "HTTP connection failure"),
    11210: (0, "HTTP bad host name"),
    11215: (0, "HTTP: too many redirects"),
    11220: (0, "SSL/TLS handshake error"),
    11750: (0, "TwiML response body too large"),
    12100: (0, "Document parse failure"),
    12200: (0, "Schema validation warning"),
    12300: (0, "Invalid Content-Type"),
    12400: (0, "Internal failure"),
    13223: (0, "Dial: invalid phone number format"),
    13224: (0, "Dial: Twilio does not support calling this number or it is invalid"),
    13225: (0, "Dial: calls to this number are blocked"),
    13226: (0, "Dial: invalid country code"),
    13227: (0, "Dial: no international authorization"),
    13520: (0, "Say: invalid text"),
    16101: (0, "Recording is absent: too short"),
    16102: (0, "Recording is absent: silence"),
    21262: (0, "AMD callback is missing"),
    21263: (0, "AMD parameters are not allowed on this resource"),
    21626: (0, "StatusCallbackEvent holds a value that is not an event"),
    31900: (0, "Stream: unknown error"),
    31901: (0, "Stream: connection timed out"),
    31902: (0, "Stream: connection refused"),
    31903: (0, "Stream: broken pipe"),
    31904: (0, "Stream: host is unreachable"),
    31910: (0, "Stream: TLS failure"),
    31920: (0, "Stream: WebSocket handshake error"),
    31921: (0, "Stream: WebSocket closed with an error code"),
    31922: (0, "Stream: the URL's scheme is not wss"),
    31923: (0, "Stream: malformed URL"),
    31924: (0, "Stream: WebSocket protocol violation"),
    31930: (0, "Stream: your server reads too slowly; media was discarded"),
    31931: (0, "Stream: more than ten minutes of audio were queued; audio was discarded"),
    31941: (0, "Stream: track is not allowed"),
    31950: (0, "Stream: message could not be decoded"),
    31951: (0, "Stream: invalid message"),
    32014: (0, "Call ended because no audio was received"),
    32017: (0, "Call was blocked by the carrier for the reputation of the caller"),
    32019: (0, "Both Url and Twiml were given; Twiml is ignored"),
}


def tell_debugger(log: Log, code: int, *, call: str, detail: str = "") -> None:
    """Note an error or a warning where the account's debugger would show it."""
    message = TABLE.get(code, (0, ""))[1]
    data = {"code": code, "message": message, "detail": detail, "call": call}
    log.add("debugger", str(code), data)


class ApiError(Exception):
    """The REST API refuses a request."""

    def __init__(self, code: int, message: str = "", *, status: int = 0) -> None:
        known_status, known_message = TABLE.get(code, (400, "Bad request"))
        self.code = code
        self.status = status or known_status or 400
        self.message = message or known_message
        super().__init__(f"{code}: {self.message}")

    def to_json(self) -> dict[str, object]:
        return {
            "code": self.code,
            "message": self.message,
            "more_info": f"{MORE_INFO}{self.code}",
            "status": self.status,
        }
