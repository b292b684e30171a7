"""Phone numbers: one spelling for each (E.164), where they are, and which are never called."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberType
from phonenumbers.timezone import time_zones_for_number

MAX_LENGTH: Final = 40
_UNKNOWN_ZONE: Final = "Etc/Unknown"
# Satellite phones, international premium numbers and the like belong to no country.
_NO_COUNTRY: Final = "001"
_NEVER_CALLED: Final = {
    PhoneNumberType.PREMIUM_RATE: "it is a premium-rate number",
    PhoneNumberType.SHARED_COST: "it is a shared-cost number",
    PhoneNumberType.PAGER: "it is a pager",
    PhoneNumberType.VOICEMAIL: "it is a mailbox",
    PhoneNumberType.PERSONAL_NUMBER: "it is a forwarding number that may cost any price",
}
_PARSE_FAULTS: Final = {
    NumberParseException.INVALID_COUNTRY_CODE: "it needs a country code, such as +49",
    NumberParseException.TOO_SHORT_AFTER_IDD: "it is too short",
    NumberParseException.TOO_SHORT_NSN: "it is too short",
    NumberParseException.TOO_LONG: "it is too long",
}


class BadNumber(ValueError):
    """Not a number that we call; `reason` says why ("it is a premium-rate number")."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(text: str, region: str) -> str:
    """Bring a number as people write it into E.164; without `+` it belongs to `region`.

    Digits of any script are read. Letters, extensions and several numbers in one are refused
    rather than guessed at.

    Raises:
        BadNumber: it is no number, or one that is never called.
    """
    number = _read(_tidy(text), region)
    _check(number)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def check(e164: str) -> None:
    """Refuse a stored number that is never called.

    Raises:
        BadNumber: with the reason.
    """
    _check(_read(e164, None))


def zones(e164: str) -> tuple[str, ...]:
    """The time zones in which the number may be; empty if nothing is known."""
    found = time_zones_for_number(_read(e164, None))
    return tuple(zone for zone in found if zone != _UNKNOWN_ZONE)


def country(e164: str) -> str:
    """The country of the number as two letters; empty if it has none."""
    region = phonenumbers.region_code_for_number(_read(e164, None)) or ""
    return "" if region == _NO_COUNTRY else region


def _tidy(text: str) -> str:
    """One spelling for digits and signs, and nothing that could be read in two ways."""
    plain = unicodedata.normalize("NFKC", text).strip()
    plain = "".join(c for c in plain if unicodedata.category(c) != "Cf")  # marks of direction
    if not plain:
        raise BadNumber("it is empty")
    if len(plain) > MAX_LENGTH:
        raise BadNumber("it is too long")
    if re.search(r"(?i)(ext|x|#|;)\W*\d", plain):
        raise BadNumber("extensions cannot be dialled: leave the extension out")
    if any(c.isalpha() for c in plain):
        raise BadNumber("it holds letters: write it in digits")
    plain = re.sub(r"[‐-―−]", "-", plain)
    if not re.fullmatch(r"\+?[\d\s().\-/]+", plain):
        raise BadNumber("it holds signs that no phone number has")
    return "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in plain)


def _read(text: str, region: str | None) -> PhoneNumber:
    try:
        return phonenumbers.parse(text, region)
    except NumberParseException as exc:
        reason = _PARSE_FAULTS.get(exc.error_type, "it is no phone number")
        raise BadNumber(reason) from None


def _check(number: PhoneNumber) -> None:
    national = phonenumbers.national_significant_number(number)
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    if phonenumbers.is_emergency_number(national, region):
        raise BadNumber("it is an emergency number")
    if phonenumbers.is_possible_short_number(number) and not phonenumbers.is_valid_number(number):
        raise BadNumber("it is a short number, which works inside one network only")
    if not phonenumbers.is_valid_number(number):
        raise BadNumber("no such number exists in its country")
    if phonenumbers.region_code_for_number(number) in (None, _NO_COUNTRY):
        raise BadNumber("it belongs to no country (satellite or international service)")
    kind = phonenumbers.number_type(number)
    if kind in _NEVER_CALLED:
        raise BadNumber(_NEVER_CALLED[kind])
