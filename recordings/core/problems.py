"""Why a recording is not there or not usable, in words for staff."""

from __future__ import annotations

from typing import Final

# Source: Twilio, "Error and warning dictionary", 161xx.
_BY_CODE: Final[dict[str, str]] = {
    "16101": "The call was too short to be recorded.",
    "16102": "Twilio heard nothing but silence, and kept no recording.",
    **dict.fromkeys(
        ("16104", "16105", "16106", "16107"),
        "Twilio could not encrypt the recording. Check the public key under Voice, Settings in"
        " the Twilio console.",
    ),
    "16108": "The call had more recordings at once than Twilio allows.",
    **dict.fromkeys(
        ("16111", "16112"),
        "Twilio could not store the recording in your own bucket. Check the external storage"
        " under Voice, Settings in the Twilio console.",
    ),
}

NEVER_ANNOUNCED: Final = "Twilio has no recording of this call."
DELETED: Final = "The recording was deleted at Twilio before it could be fetched."
FOREIGN: Final = "Twilio says that this recording belongs to another call."
MONO: Final = "The recording has one channel: the two voices cannot be told apart."
SILENT: Final = "The recording holds nothing but silence."


def why_absent(code: str) -> str:
    """Why Twilio made no recording, from the code that it gives (empty or 0: none)."""
    return _explain(code, "Twilio made no recording of this call")


def why_failed(code: str) -> str:
    """Why Twilio could not finish the recording, from the code that it gives."""
    return _explain(code, "Twilio could not finish the recording")


def _explain(code: str, otherwise: str) -> str:
    if code in _BY_CODE:
        return f"{_BY_CODE[code]} (Twilio's code {code})"
    known = code not in ("", "0")
    return f"{otherwise} (Twilio's code {code})." if known else f"{otherwise}, and gives no reason."
