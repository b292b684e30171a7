"""Twilio's signatures, and the addresses for which they are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.utils.datastructures import MultiValueDict

from calls import signing

VECTORS = json.loads(
    Path(__file__).with_name("data").joinpath("signature-vectors.json").read_text()
)
# What the vendor's own library gets wrong, and we do not.
OURS_IS_BETTER = {
    ("websocket_signed_with_443", "wss://voice.example.test/ws/media/"),
    ("userinfo_with_port_signed_portless", "https://user:pass@voice.example.test:8443/cb/"),
}
# The library's quirks: no server signs like this, and accepting it would widen the door.
LIBRARY_ONLY = {
    ("nonstandard_port_signed_without", "https://voice.example.test:8443/twilio/voice/"),
    ("websocket_signed_with_80_artifact", "wss://voice.example.test/ws/media/"),
}
KEY_SETTINGS = "key=webhooks_sharedkey_x,algorithm=HMAC_SHA256"
CASES = [
    pytest.param(vector, check, id=f"{vector['name']}-{n}")
    for vector in VECTORS["vectors"]
    for n, check in enumerate(vector["sdk_validate"])
    if "raw_body" not in check  # JSON is refused before its signature is looked at
]


def params_of(vector: dict[str, Any]) -> MultiValueDict[str, str]:
    found = vector.get("params", {})
    return MultiValueDict({k: v if isinstance(v, list) else [v] for k, v in found.items()})


@pytest.mark.parametrize(
    "vector", [pytest.param(vector, id=vector["name"]) for vector in VECTORS["vectors"]]
)
def test_our_signature_is_twilios(vector: dict[str, Any]) -> None:
    algorithm = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}[vector["algorithm"]]

    ours = signing.sign(
        vector["signed_url"], params_of(vector), vector["token"], algorithm=algorithm
    )

    assert ours == vector["signature"]


@pytest.mark.parametrize(("vector", "check"), CASES)
def test_a_signature_fits_the_address_it_was_made_for(
    vector: dict[str, Any], check: dict[str, Any], settings: Any
) -> None:
    """[B2] The default port may be written or not; everything else is significant."""
    shared = vector["algorithm"] == "HMAC_SHA256"
    settings.TWILIO_AUTH_TOKEN = "another-token" if shared else vector["token"]
    settings.TWILIO_SHARED_KEYS = {"webhooks_sharedkey_x": vector["token"]} if shared else {}
    case = (vector["name"], check["url"])

    accepted = signing.is_signed(
        check["url"], params_of(vector), vector["signature"], KEY_SETTINGS if shared else ""
    )

    expected = check["valid"]
    if case in OURS_IS_BETTER and vector["name"].startswith("websocket"):
        expected = True
    assert accepted is (expected and case not in LIBRARY_ONLY)


# --- The handshake of the stream ----------------------------------------------------------------
def handshake(url: str, *, path: str = signing.STREAM_PATH, **headers: str) -> dict[str, Any]:
    given = {"x-twilio-signature": signing.sign(url, {}, "sandbox-auth-token-0000000000001")}
    return {
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(k.encode(), v.encode()) for k, v in {**given, **headers}.items()],
    }


@pytest.mark.parametrize(
    ("base", "signed_url", "accepted"),
    [
        ("https://calls.example.test", "wss://calls.example.test/api/twilio/_ws/stream", True),
        ("https://calls.example.test", "wss://calls.example.test:443/api/twilio/_ws/stream", True),
        ("https://calls.example.test", "wss://calls.example.test/api/twilio/_ws/stream/", True),
        ("https://calls.example.test", "https://calls.example.test/api/twilio/_ws/stream", False),
        ("https://calls.example.test", "wss://other.example.test/api/twilio/_ws/stream", False),
        (
            "https://calls.example.test/in",
            "wss://calls.example.test/in/api/twilio/_ws/stream",
            True,
        ),
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/api/twilio/_ws/stream", True),
        ("http://127.0.0.1:8000", "wss://127.0.0.1:8000/api/twilio/_ws/stream", False),
    ],
)
def test_a_handshake_is_checked_against_the_address_in_the_twiml(
    base: str, signed_url: str, accepted: bool, settings: Any
) -> None:
    """[B2] Whatever host the handshake itself names."""
    settings.PUBLIC_BASE_URL = base

    assert signing.is_signed_handshake(handshake(signed_url, host="evil.example")) is accepted


def test_a_handshake_without_a_signature_is_refused(settings: Any) -> None:
    scope = handshake(signing.stream_url())
    scope["headers"] = []

    assert not signing.is_signed_handshake(scope)


def test_callback_addresses_carry_the_token_and_ask_for_repetition(settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://calls.example.test"

    url = signing.public_url("twilio-status", call_token="0f" * 16, retries=True)

    address, _, fragment = url.partition("#")
    assert address == f"https://calls.example.test/api/twilio/status?call={'0f' * 16}"
    assert fragment == "rc=3&rp=5xx,ct,rt&ct=2000&rt=5000&tt=15000"
