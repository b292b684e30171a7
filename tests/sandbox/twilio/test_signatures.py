"""Signatures: made here, judged by Twilio's own library."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from sandbox.twilio.signing import forge, headers, sign

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TOKEN = "12345678901234567890123456789012"


@given(st.lists(st.tuples(TEXT, TEXT), max_size=6), st.sampled_from(["", "?a=1&b=%2F+x"]))
def test_twilios_library_accepts_every_signature(fields: list[tuple[str, str]], query: str) -> None:
    """[B2] Any fields, repeated names included, and any query string."""
    url = f"https://voice.example.test/twilio/voice{query}"

    signature = sign(f"{url}#rc=3&rp=5xx", fields, TOKEN)

    assert RequestValidator(TOKEN).validate(url, MultiDict(fields), signature)


def test_twilios_own_example_has_the_published_signature() -> None:
    """The value that the SDK's documentation prints."""
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
        "Caller": "+14158675309",
    }

    signature = sign("https://mycompany.com/myapp.php?foo=1&bar=2", fields.items(), "12345")

    assert signature == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_a_forged_signature_is_refused() -> None:
    """It looks like one, and is none."""
    url = "wss://voice.example.test/ws/media"

    assert not RequestValidator(TOKEN).validate(url, {}, forge(sign(url, [], TOKEN)))


def test_a_shared_key_signs_with_sha256() -> None:
    """[B18] The header names key and algorithm."""
    made = headers("https://h.test/x", [("A", "1")], TOKEN, "webhooks_key_1:secret-of-key")

    assert made["X-Twilio-Webhooks-Signature-Settings"] == (
        "key=webhooks_key_1,algorithm=HMAC_SHA256"
    )
    assert RequestValidator("secret-of-key").validate(
        "https://h.test/x", {"A": "1"}, made["X-Twilio-Signature"], algorithm="HMAC_SHA256"
    )
