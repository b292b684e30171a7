"""Twilio's messages: what is well formed is understood, everything else is harmless."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.media_streams import (
    CallerAudio,
    CallerTimeline,
    Connected,
    KeyPressed,
    Malformed,
    MarkEchoed,
    PhoneWriter,
    StreamStarted,
    StreamStopped,
    parse,
)

STREAM, CALL, ACCOUNT = "MZ" + "1" * 32, "CA" + "2" * 32, "AC" + "3" * 32
FRAME = base64.b64encode(b"\xff" * 160).decode()


def media(**changes: Any) -> dict[str, Any]:
    fields = {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": FRAME, **changes}
    return {"event": "media", "sequenceNumber": "2", "streamSid": STREAM, "media": fields}


def start(**changes: Any) -> dict[str, Any]:
    fields = {
        "streamSid": STREAM,
        "accountSid": ACCOUNT,
        "callSid": CALL,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": "secret", "callSid": CALL},
        **changes,
    }
    return {"event": "start", "sequenceNumber": "1", "streamSid": STREAM, "start": fields}


def test_every_kind_of_message_is_understood() -> None:
    messages = [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        start(),
        media(),
        {"event": "dtmf", "streamSid": STREAM, "dtmf": {"track": "inbound_track", "digit": "#"}},
        {"event": "mark", "streamSid": STREAM, "mark": {"name": "e1-1"}},
        {"event": "stop", "streamSid": STREAM, "stop": {"accountSid": ACCOUNT, "callSid": CALL}},
    ]

    assert [parse(json.dumps(message)) for message in messages] == [
        Connected(),
        StreamStarted(STREAM, ACCOUNT, CALL, "secret", CALL),
        CallerAudio(b"\xff" * 160, 5, 1),
        KeyPressed("#"),
        MarkEchoed("e1-1"),
        StreamStopped(),
    ]


@pytest.mark.parametrize(
    "message",
    [
        media(payload="not base64!"),
        media(payload=5),
        media(payload=None),
        media(track="outbound"),
        media(timestamp="-5"),
        media(timestamp="9" * 5000),
        media(timestamp=True),
        media(timestamp="１２"),
        start(callSid="CA1"),
        start(mediaFormat={"encoding": "audio/opus"}),
        start(customParameters={"token": 5}),
        {"event": "media"},
        {"event": "media", "media": []},
        {"event": "mark", "mark": {}},
        {"event": "mark", "mark": {"name": None}},
        {"event": "dtmf", "dtmf": {"digit": "11"}},
        {"event": "unheard-of"},
        {"event": ["media"]},
        {},
        [],
        None,
        "media",
    ],
)
def test_a_malformed_message_is_named_and_harmless(message: Any) -> None:
    """[C9] Missing keys, wrong types, bad base64, wrong track, unknown events."""
    assert isinstance(parse(json.dumps(message)), Malformed)


@pytest.mark.parametrize("text", ["", "{", "nul", b"\x00\x01", None, "x" * 70_000, "[" * 60_000])
def test_what_is_not_a_message_at_all_is_malformed(text: Any) -> None:
    """[C9] Not JSON, binary, too large, too deep."""
    assert isinstance(parse(text), Malformed)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.sampled_from([media(), start(), {"event": "mark", "mark": {"name": "x"}}]),
    st.lists(st.tuples(st.integers(0, 9), json_values), max_size=3),
)
def test_no_mutation_of_a_message_raises(
    message: dict[str, Any], changes: list[tuple[int, Any]]
) -> None:
    """[C9] Any field replaced by anything."""
    mutated = json.loads(json.dumps(message))
    for index, value in changes:
        inner = next((v for v in mutated.values() if isinstance(v, dict)), mutated)
        keys = [*inner, "event"]
        key = keys[index % len(keys)]
        (mutated if key == "event" else inner)[key] = value

    parse(json.dumps(mutated))


@given(st.text())
def test_no_text_raises(text: str) -> None:
    """[C9] Whatever arrives."""
    parse(text)


def test_our_messages_hold_exactly_what_twilio_accepts() -> None:
    phone = PhoneWriter(STREAM)

    assert [json.loads(text) for text in (phone.media(b"\xff"), phone.mark("m"), phone.clear)] == [
        {"event": "media", "streamSid": STREAM, "media": {"payload": "/w=="}},
        {"event": "mark", "streamSid": STREAM, "mark": {"name": "m"}},
        {"event": "clear", "streamSid": STREAM},
    ]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 480)), min_size=1, max_size=60),
    st.integers(0, 500),
)
def test_the_timeline_never_loses_or_invents_time(
    frames: list[tuple[int, int]], first_ms: int
) -> None:
    """Gaps of any length become silence of that length; small ones once they add up to a jitter.

    Frames of any number of bytes: they need not end on a millisecond.
    """
    timeline, at_bytes, heard = CallerTimeline(), first_ms * 8, b""
    for chunk, (gap_ms, size) in enumerate(frames, 1):
        at_bytes += gap_ms * 8 if chunk > 1 else 0
        heard += timeline.accept(CallerAudio(b"\x11" * size, at_bytes // 8, chunk))
        at_bytes += size

    assert abs(len(heard) - (at_bytes - first_ms * 8)) <= 10 * 8 + 8
    assert abs(timeline.end_ms - at_bytes // 8) <= 10 + 1
    assert timeline.position_ms == len(heard) // 8


@pytest.mark.parametrize("size", [1, 33, 100, 159, 161, 1_000])
def test_frames_of_any_size_that_follow_each_other_are_passed_on_as_they_are(size: int) -> None:
    timeline, heard = CallerTimeline(), b""

    for chunk in range(1, 301):
        at_ms = (chunk - 1) * size // 8
        heard += timeline.accept(CallerAudio(b"\x11" * size, at_ms, chunk))

    assert heard == b"\x11" * (300 * size)
