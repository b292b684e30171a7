"""Numbers as people write them, and numbers that nobody calls."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from calls.core import phones


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("+14155550101", "US"),
        ("+1 (415) 555-0101", "DE"),
        ("(415) 555-0101", "US"),
        ("415.555.0101", "US"),
        ("1 415 555 0101", "US"),
        ("011 1 415 555 0101", "US"),
        ("001 415 555 0101", "DE"),
        (" +1–415—555‑0101 ", "US"),
        ("+1\u00a0415\u00a0555\u00a00101", "US"),
        ("＋１４１５５５５０１０１", "US"),
        ("+١٤١٥٥٥٥٠١٠١", "US"),
        ("+१४१५५५५०१०१", "US"),
        ("\u202a+14155550101\u202c", "US"),
    ],
)
def test_one_person_has_one_number_however_it_is_written(text: str, region: str) -> None:
    """[A25]"""
    assert phones.parse(text, region) == "+14155550101"


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("030 12345678", "DE", "+493012345678"),
        ("0044 20 7946 0958", "DE", "+442079460958"),
        ("06 12 34 56 78", "FR", "+33612345678"),
        ("02 1234 5678", "IT", "+390212345678"),
    ],
)
def test_a_national_number_belongs_to_its_region(text: str, region: str, number: str) -> None:
    """[A25]"""
    assert phones.parse(text, region) == number


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        ("\u200f", "it is empty"),
        ("1" * 41, "it is too long"),
        ("+1 415 555 0101 ext 5", "extensions cannot be dialled: leave the extension out"),
        ("+1 415 555 0101 x5", "extensions cannot be dialled: leave the extension out"),
        ("+1 415 555 0101;ext=5", "extensions cannot be dialled: leave the extension out"),
        ("+1 415 555 0101#5", "extensions cannot be dialled: leave the extension out"),
        ("1-800-FLOWERS", "it holds letters: write it in digits"),
        ("+1 415 555 O1O1", "it holds letters: write it in digits"),
        ("sip:a@b.test", "it holds letters: write it in digits"),
        ("+1415+5550101", "it holds signs that no phone number has"),
        ("=1+1", "it holds signs that no phone number has"),
        ("+1415555\x000101", "it holds signs that no phone number has"),
        ("4155550101, 4155550102", "it holds signs that no phone number has"),
        ("+999 123456", "it needs a country code, such as +49"),
        ("+1", "it is no phone number"),
        ("12", "no such number exists in its country"),
        ("1", "it is no phone number"),
        ("+1 415 555 01", "no such number exists in its country"),
        ("911", "it is an emergency number"),
        ("112", "it is an emergency number"),
        ("+1 900 555 0123", "it is a premium-rate number"),
        ("+49 900 1 123456", "it is a premium-rate number"),
        ("+49 180 5123456", "it is a shared-cost number"),
        ("+44 70 1234 5678", "it is a forwarding number that may cost any price"),
        ("+870 773111632", "it belongs to no country (satellite or international service)"),
        ("+979 123456789", "it belongs to no country (satellite or international service)"),
    ],
)
def test_what_is_never_called_is_refused_with_the_reason(text: str, reason: str) -> None:
    """[A25, G9]"""
    with pytest.raises(phones.BadNumber) as caught:
        phones.parse(text, "US")

    assert caught.value.reason == reason


KINDS = [
    phonenumbers.PhoneNumberType.PREMIUM_RATE,
    phonenumbers.PhoneNumberType.SHARED_COST,
    phonenumbers.PhoneNumberType.PAGER,
    phonenumbers.PhoneNumberType.VOICEMAIL,
    phonenumbers.PhoneNumberType.PERSONAL_NUMBER,
]


@pytest.mark.parametrize("kind", KINDS)
def test_no_country_has_a_number_of_a_forbidden_kind_that_we_call(kind: int) -> None:
    """[G9] Every country's own example."""
    examples = [
        phonenumbers.example_number_for_type(region, kind)
        for region in phonenumbers.SUPPORTED_REGIONS
    ]
    written = [
        phonenumbers.format_number(n, phonenumbers.PhoneNumberFormat.E164)
        for n in examples
        # Some countries' examples are ambiguous: the library itself takes them for another kind.
        if n is not None and phonenumbers.number_type(n) == kind
    ]

    for number in written:
        with pytest.raises(phones.BadNumber):
            phones.check(number)
    assert written


def test_every_country_has_mobile_numbers_that_we_call() -> None:
    refused = {}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if example is None:
            continue
        number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        try:
            assert phones.parse(number, "US") == number
        except phones.BadNumber as exc:
            refused[region] = exc.reason

    assert refused == {}


@effort(max_examples=500, deadline=None)
@given(text=st.text(max_size=50) | st.from_regex(r"\+?[0-9()\-. ]{1,30}", fullmatch=True))
def test_any_text_is_a_number_or_is_refused(text: str) -> None:
    """[A24, A25] And a number that was read once reads the same again."""
    try:
        number = phones.parse(text, "US")
    except phones.BadNumber:
        return

    assert phones.parse(number, "DE") == number
    assert len(number) <= 16
    phones.check(number)


@pytest.mark.parametrize(
    ("number", "zones"),
    [
        ("+14155550101", ("America/Los_Angeles",)),
        ("+493012345678", ("Europe/Berlin",)),
        ("+12085550123", ("America/Boise", "America/Los_Angeles")),
    ],
)
def test_a_number_tells_its_possible_zones(number: str, zones: tuple[str, ...]) -> None:
    assert phones.zones(number) == zones


def test_a_number_without_a_place_has_no_zone() -> None:
    assert phones.zones("+870773111632") == ()


@pytest.mark.parametrize(
    ("number", "country"),
    [("+14155550101", "US"), ("+16045550123", "CA"), ("+870773111632", "")],
)
def test_a_number_tells_its_country(number: str, country: str) -> None:
    assert phones.country(number) == country
