"""What an outsider may send to a webhook, and how little comes of it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from calls import signing
from tests.calls.kit import ACCOUNT, new_sid, signature_of


class Door:
    """A view behind the decorator; `reached` counts who came through."""

    def __init__(self, **formats: Any) -> None:
        self.reached: list[dict[str, str]] = []
        self.view: Any = signing.twilio_webhook(**formats)(self._view)

    def _view(self, request: HttpRequest) -> HttpResponse:
        self.reached.append(request.POST.dict())
        return HttpResponse(status=204)

    def post(
        self,
        body: bytes | str,
        *,
        path: str = "/api/twilio/x?call=1",
        signature: str | None = None,
        content_type: str = "application/x-www-form-urlencoded",
        **more: Any,
    ) -> HttpResponse:
        raw = body.encode() if isinstance(body, str) else body
        if signature is None:
            signature = signature_of(
                path, raw.decode("utf-8", "replace"), "sandbox-auth-token-0000000000001"
            )
        headers = {"X-Twilio-Signature": signature, **more.pop("headers", {})}
        request = RequestFactory().generic(
            "POST", path, raw, content_type=content_type, headers=headers, **more
        )
        answer = self.view(request)
        assert isinstance(answer, HttpResponse)
        return answer


def form(**fields: str) -> str:
    return urlencode({"CallSid": new_sid(), "AccountSid": ACCOUNT, **fields})


def test_a_signed_form_comes_through() -> None:
    door = Door()

    answer = door.post(form(CalledCity="", CallerName="Zoë Müller ✓", Body="a b+c%20d"))

    assert answer.status_code == 204
    assert door.reached[0]["CallerName"] == "Zoë Müller ✓"


def test_the_view_is_exempt_from_the_csrf_check() -> None:
    assert Door().view.csrf_exempt


@pytest.mark.parametrize("token", ["sandbox-auth-token-0000000000001", "the-next-token"])
def test_both_tokens_are_good_while_one_replaces_the_other(token: str, settings: Any) -> None:
    """[B18]"""
    settings.TWILIO_AUTH_TOKEN_SECONDARY = "the-next-token"
    door, body = Door(), form()

    answer = door.post(body, signature=signature_of("/api/twilio/x?call=1", body, token))

    assert answer.status_code == 204


@pytest.mark.parametrize(
    ("key_settings", "secret", "algorithm", "status"),
    [
        ("key=k1,algorithm=HMAC_SHA256", "shared-secret", "sha256", 204),
        ("algorithm=HMAC_SHA256, key=k1", "shared-secret", "sha256", 204),
        ("key=k1,algorithm=HMAC_SHA1", "shared-secret", "sha1", 403),
        ("key=k1,algorithm=NONE", "shared-secret", "sha1", 403),
        ("key=k1", "shared-secret", "sha1", 403),
        ("key=k1,algorithm=HMAC_SHA1", "shared-secret", "sha256", 403),
        ("key=k1", "shared-secret", "sha256", 403),
        ("key=k2,algorithm=HMAC_SHA256", "shared-secret", "sha256", 403),
        ("key=k2,algorithm=HMAC_SHA256", "sandbox-auth-token-0000000000001", "sha1", 403),
        ("key=,algorithm=HMAC_SHA256", "", "sha256", 403),
        ("algorithm=HMAC_SHA256", "sandbox-auth-token-0000000000001", "sha256", 403),
        ("key=k1,algorithm=HMAC_SHA256", "sandbox-auth-token-0000000000001", "sha1", 403),
    ],
)
def test_the_header_chooses_among_configured_keys_and_nothing_else(
    key_settings: str, secret: str, algorithm: str, status: int, settings: Any
) -> None:
    """[B18]"""
    settings.TWILIO_SHARED_KEYS = {"k1": "shared-secret"}
    fields = {"CallSid": new_sid(), "AccountSid": ACCOUNT}
    url = settings.PUBLIC_BASE_URL + "/api/twilio/x?call=1"
    signature = signing.sign(url, fields, secret, algorithm=algorithm)

    answer = Door().post(
        urlencode(fields),
        signature=signature,
        headers={"X-Twilio-Webhooks-Signature-Settings": key_settings},
    )

    assert answer.status_code == status


@pytest.mark.parametrize(
    "base", ["https://calls.example.test", "https://calls.example.test/in", "http://h.test:8443"]
)
@pytest.mark.parametrize(
    "seen_as",
    [
        {"HTTP_HOST": "127.0.0.1:8000"},
        {"HTTP_HOST": "evil.example"},
        {"HTTP_X_FORWARDED_PROTO": "http", "HTTP_X_FORWARDED_HOST": "evil.example"},
        {"HTTP_X_FORWARDED_PORT": "99999", "HTTP_FORWARDED": "host=[::1"},
        {"SERVER_PORT": "1", "wsgi.url_scheme": "gopher"},
    ],
)
def test_only_the_configured_address_counts(base: str, seen_as: Any, settings: Any) -> None:
    """[B2, B3] Headers of a proxy, or of an attacker, change nothing."""
    settings.PUBLIC_BASE_URL = base
    door, body = Door(), form()

    good = door.post(body, **seen_as)
    bad = door.post(
        body, signature=signature_of("/api/twilio/x?call=2", body, settings.TWILIO_AUTH_TOKEN)
    )

    assert (good.status_code, bad.status_code) == (204, 403)


@pytest.mark.parametrize("host", ["evil.example", "a b", "[::1", "h:99999", "", "\x00"])
def test_a_hostile_host_gets_a_plain_refusal(host: str) -> None:
    """[B3] From the whole stack, never an exception."""
    answer = Client(raise_request_exception=False).post(
        "/api/twilio/status", "", content_type="application/x-www-form-urlencoded", HTTP_HOST=host
    )

    assert answer.status_code in (400, 403)


def test_every_changed_byte_of_the_signature_or_the_body_is_refused() -> None:
    """[B1] And nothing is said about why."""
    door, body = Door(), form(CallStatus="ringing")
    path = "/api/twilio/x?call=1"
    signature = signature_of(path, body, "sandbox-auth-token-0000000000001")
    changed = [signature[:n] + chr(ord(signature[n]) ^ 1) + signature[n + 1 :] for n in range(28)]
    changed += ["", " ", signature + "=", signature[:-1], "é", "\udcff", "A" * 10_000]

    answers = [door.post(body, signature=s) for s in changed]
    answers += [door.post(body.replace("ringing", "busy"), signature=signature)]
    answers += [door.post(body + "&x=", signature=signature)]
    answers += [door.post(body, path=path + "&y=1", signature=signature)]
    answers += [door.post(body, path="/api/twilio/x?call=2", signature=signature)]

    assert {answer.status_code for answer in answers} == {403}
    assert {answer.content for answer in answers} == {b""}
    assert door.reached == []


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "options", "head"])
def test_only_posts_are_answered(method: str) -> None:
    door = Door()
    request = getattr(RequestFactory(), method)("/api/twilio/x")

    answer = door.view(request)

    assert (answer.status_code, door.reached) == (405, [])


@pytest.mark.parametrize(
    ("size", "declared", "status"),
    [(65_536, None, 204), (65_537, None, 413), (65_537, "10", 413), (10, "300000000", 413)],
)
def test_a_body_beyond_64_kb_is_refused_whatever_length_it_claims(
    size: int, declared: str | None, status: int
) -> None:
    """[B14] Of a body that lies about its length, one byte too many is read."""
    door = Door()
    start = form(pad="")
    body = start + "x" * (size - len(start))
    request = RequestFactory().post(
        "/api/twilio/x",
        body,
        content_type="application/x-www-form-urlencoded",
        headers={
            "X-Twilio-Signature": signature_of(
                "/api/twilio/x", body, "sandbox-auth-token-0000000000001"
            )
        },
    )
    if declared is not None:
        request.META["CONTENT_LENGTH"] = declared

    assert door.view(request).status_code == status


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"CallSid": ""}, b"CallSid"),
        ({"CallSid": "CA1"}, b"CallSid"),
        ({"CallSid": "CA" + "g" * 32}, b"CallSid"),
        ({"CallSid": new_sid() + "\n"}, b"CallSid"),
        ({"CallSid": "CA" + "٣" * 32}, b"CallSid"),
        ({"AccountSid": "AC" + "f" * 32}, b"AccountSid"),
        ({"AccountSid": "x"}, b"AccountSid"),
        ({"Count": "5" * 5000}, b"Count"),
        ({"Count": "-1"}, b"Count"),
        ({"Count": "NaN"}, b"Count"),
        ({"Word": ""}, b"Word"),
        ({"Word": "a b"}, b"Word"),
        ({"Other": "a\x00b"}, b"NUL"),
        ({"Oth\x00er": "ab"}, b"NUL"),
    ],
)
def test_a_field_of_the_wrong_form_is_named(change: dict[str, str], named: bytes) -> None:
    """[B5, B16] Even with a good signature."""
    door = Door(required={"Word": "[a-z]{1,9}"}, optional={"Count": r"[0-9]{1,6}"})

    answer = door.post(form(**{"Word": "ok", **change}))

    assert answer.status_code == 400
    assert named in answer.content
    assert door.reached == []


def test_a_field_that_is_missing_is_named() -> None:
    door = Door(required={"Word": "[a-z]{1,9}"})

    answer = door.post(form())

    assert (answer.status_code, b"Word" in answer.content) == (400, True)


@pytest.mark.parametrize("empty", [{}, {"Count": ""}, {"Count": "12"}])
def test_an_optional_field_may_be_missing_or_empty(empty: dict[str, str]) -> None:
    door = Door(optional={"Count": r"[0-9]{1,6}"})

    assert door.post(form(**empty)).status_code == 204


def test_the_same_signed_text_split_into_other_fields_is_refused() -> None:
    """[B5] The signature has no separators: `CallSidCA…` could be cut in many places."""
    door = Door(required={"CallStatus": "[a-z-]{1,20}"})
    sid = new_sid()
    good = {"AccountSid": ACCOUNT, "CallSid": sid, "CallStatus": "busy"}
    path = "/api/twilio/x?call=1"
    signature = signature_of(path, urlencode(good), "sandbox-auth-token-0000000000001")
    resplit = [
        {"AccountSid": f"{ACCOUNT}CallSid{sid}", "CallStatus": "busy"},
        {"AccountSid": ACCOUNT, "CallSid": f"{sid}CallStatusbusy"},
        {"AccountSidAC": ACCOUNT[2:], "CallSid": sid, "CallStatus": "busy"},
        {"AccountSid": ACCOUNT, "CallSid": sid, "CallStatusb": "usy"},
        {"AccountSid": ACCOUNT, "CallSidCA": sid[2:], "CallStatus": "busy"},
    ]

    answers = [door.post(urlencode(fields), signature=signature) for fields in resplit]

    assert [answer.status_code for answer in answers] == [400] * len(resplit)


def test_a_required_field_that_comes_twice_is_refused() -> None:
    """[B5] It could be read in two ways."""
    door = Door()

    answer = door.post(form() + "&CallSid=" + new_sid())

    assert (answer.status_code, door.reached) == (400, [])


def test_fields_that_are_new_to_us_are_part_of_what_was_signed() -> None:
    """[B17]"""
    door, body = Door(), form(BrandNewField="yes")
    path = "/api/twilio/x?call=1"
    signature = signature_of(path, body, "sandbox-auth-token-0000000000001")

    good = door.post(body)
    without = door.post(re.sub("&BrandNewField=yes", "", body), signature=signature)

    assert (good.status_code, without.status_code) == (204, 403)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"a": 1}', "application/json"),
        (b"[" * 60_000, "application/json"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
        (b"a=b", "text/plain"),
        (b"", ""),
    ],
)
def test_anything_but_a_form_is_refused(body: bytes, content_type: str) -> None:
    """[B16]"""
    door = Door()

    assert door.post(body, content_type=content_type).status_code == 415
    assert door.reached == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("&".join(f"f{n}=" for n in range(1001)), 400),
        (b"a=\xff\xfe", 403),
        (b"%ff=%fe", 403),
        ("a=%ED%A0%80", 403),
        (b"\x00\x01\x02", 403),
        ("&&&===", 403),
        (f"CallSid={quote('💥' * 100)}", 403),
    ],
)
@pytest.mark.parametrize("charset", ["", "; charset=utf-16", "; charset=bogus-8"])
def test_garbage_is_refused_and_raises_nothing(
    body: bytes | str, status: int, charset: str
) -> None:
    """[B16]"""
    answer = Door().post(
        body, signature="x", content_type=f"application/x-www-form-urlencoded{charset}"
    )

    assert answer.status_code == status


@effort(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    body=st.binary(max_size=400) | st.text(max_size=99).map(lambda t: urlencode({"a": t, t: "b"})),
    path=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40),
    signature=st.text(
        alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60
    ),
)
def test_nothing_that_an_outsider_sends_comes_through(
    body: bytes | str, path: str, signature: str
) -> None:
    """[B1, B16]"""
    door = Door()

    answer = door.post(body, path="/api/twilio/status?call=" + quote(path), signature=signature)

    assert 400 <= answer.status_code < 500
    assert door.reached == []


def test_refusals_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """[B1]"""
    tally = signing.Tally()
    monkeypatch.setattr(signing, "refused", tally)

    for _ in range(3):
        Door().post(form(), signature="forged")
    signing.is_signed_handshake({"path": "/", "headers": []})

    assert tally.counts == {"webhook": 3, "handshake": 1}
