"""Twilio's error codes in plain words: what happened, and what to do about it.

Source: Twilio, "Error and warning dictionary", and the REST API's error responses.
"""

from __future__ import annotations

from typing import Final

from calls.core.explanation import Explanation

_CREDENTIALS = Explanation(
    "Twilio does not accept our credentials.",
    "Check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN (or the API key), and that the account is"
    " not suspended; then lift the pause.",
    stops_dialling=True,
)
_INACTIVE = Explanation(
    "The Twilio account is not active, often for lack of funds.",
    "Check its balance and state in the Twilio console; then lift the pause.",
    stops_dialling=True,
)
_DENIED = Explanation(
    "Twilio denies this account the right to place calls.",
    "Check the permissions of the account and of the API key; then lift the pause.",
    stops_dialling=True,
)
_GEO = Explanation(
    "The Twilio account may not call this country.",
    "Allow it in the Twilio console under Voice, Settings, Geo permissions.",
)
_BLOCK_LIST = Explanation(
    "Twilio does not connect calls to this number: it is on its block list.",
    "Remove the recipient, or ask Twilio's support.",
)
_BAD_NUMBER = Explanation(
    "This is not a phone number that can be called.", "Correct the recipient's number."
)
_CALLER_ID = Explanation(
    "TWILIO_PHONE_NUMBER is not a number that this Twilio account may call from.",
    "Set it to a number that you bought at Twilio, or a caller ID verified there.",
)
_OUR_ADDRESS = Explanation(
    "Twilio cannot use the address of this server.",
    "Set PUBLIC_BASE_URL to an address that the internet reaches, such as"
    " https://calls.example.org.",
)
_OUR_REQUEST = Explanation(
    "Twilio found our request incomplete.", "This is a fault of ours: please report it."
)

_BY_CODE: Final[dict[int, Explanation]] = {
    20003: _CREDENTIALS,
    20005: _INACTIVE,
    10001: _INACTIVE,
    20006: _DENIED,
    20008: Explanation(
        "The configured Twilio credentials are test credentials: they cannot place real calls.",
        "Set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN to live ones; then lift the pause.",
        stops_dialling=True,
    ),
    20404: Explanation("Twilio knows no such thing any more.", "Nothing needs to be done."),
    10004: Explanation(
        "The Twilio account has reached the number of calls it may hold at once.",
        "Wait, or get the account's business profile approved.",
    ),
    11100: _OUR_ADDRESS,
    21205: _OUR_ADDRESS,
    21201: _OUR_REQUEST,
    21213: _OUR_REQUEST,
    21202: Explanation(
        "This is a premium-rate number.", "Such numbers are not called: correct the number."
    ),
    21203: _GEO,
    21215: _GEO,
    13227: _GEO,
    21210: _CALLER_ID,
    21212: _CALLER_ID,
    21211: _BAD_NUMBER,
    21217: _BAD_NUMBER,
    13223: _BAD_NUMBER,
    13224: _BAD_NUMBER,
    13226: _BAD_NUMBER,
    21214: Explanation(
        "This number cannot be reached from Twilio.",
        "Check the number, or try to call it from another phone.",
    ),
    21216: _BLOCK_LIST,
    13225: _BLOCK_LIST,
    32203: _BLOCK_LIST,
    21219: Explanation(
        "A Twilio trial account may call verified numbers only.",
        "Verify the number in the Twilio console, or upgrade the account.",
    ),
    21220: Explanation("The call was over already.", "Nothing needs to be done."),
    22005: Explanation(
        "Twilio holds more than a day's worth of calls for this account already.",
        "Wait until they are through, or raise the account's calls per second.",
    ),
    32017: Explanation(
        "The carrier refused the call because our number has a bad reputation.",
        "Call from another number, or register this one with the carriers.",
    ),
    32018: _OUR_REQUEST,
}

_BY_SIP_CODE: Final[dict[str, str]] = {
    "403": "The carrier refused the call.",
    "404": "The number is not in service.",
    "408": "The carrier did not answer in time.",
    "410": "The number is no longer in service.",
    "480": "The phone could not be reached.",
    "484": "The number is incomplete.",
    "486": "The line was busy.",
    "487": "Nobody picked up in time.",
    "488": "The carrier could not set up the call.",
    "503": "The carrier was not available.",
    "600": "The line was busy.",
    "603": "The call was declined.",
    "604": "The number does not exist.",
    "607": "The call was rejected as unwanted.",
    "608": "The carrier's filter rejected the call.",
}


def explain(code: int | None, message: str = "", http_status: int = 0) -> Explanation:
    """What staff should know about an error; of codes unknown to us, Twilio's own `message`."""
    known = _BY_CODE.get(code or 0)
    if known is not None:
        return known
    if http_status == 401:
        return _CREDENTIALS
    if http_status == 403:
        return _DENIED
    number = f"error {code}" if code else f"HTTP {http_status}"
    said = f": {message.strip().rstrip('.')}." if message.strip() else "."
    more = f" See https://www.twilio.com/docs/errors/{code}." if code else ""
    return Explanation(
        f"Twilio refused the call ({number}){said[:300]}", f"Nothing was dialled.{more}"
    )


def explain_sip(code: str) -> str:
    """What a SIP response code says about a call that did not come about; empty if unknown."""
    return _BY_SIP_CODE.get(code, "")
