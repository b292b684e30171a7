"""A turn of which one event is lost, doubled, late or broken: it costs that turn, not the call."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.core import realtime_events
from tests.realtime.talk import Talk

Wire = dict[str, Any]

AUDIO = base64.b64encode(b"\x55" * 1_200).decode()  # 150 ms


def turn(number: int, purpose: str = "") -> list[Wire]:
    """What the model sends when the person speaks, in its order; without speech if we asked."""
    user, item, response = f"user_{number}", f"item_{number}", f"resp_{number}"
    ids = {"response_id": response, "item_id": item}
    speech: list[Wire] = [
        {"type": "input_audio_buffer.speech_started", "item_id": user, "audio_start_ms": 100},
        {"type": "input_audio_buffer.speech_stopped", "item_id": user, "audio_end_ms": 900},
        {"type": "input_audio_buffer.committed", "item_id": user},
    ]
    words: Wire = {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": user,
        "transcript": "Yes?",
    }
    metadata = {"purpose": purpose} if purpose else None
    usage = {"input_token_details": {"text_tokens": 9}, "output_token_details": {}}
    answer: list[Wire] = [
        {"type": "response.created", "response": {"id": response, "metadata": metadata}},
        {"type": "response.output_audio_transcript.delta", **ids, "delta": "Hello "},
        {"type": "response.output_audio.delta", **ids, "delta": AUDIO},
        {"type": "response.output_audio_transcript.delta", **ids, "delta": "there."},
        {"type": "response.output_audio.delta", **ids, "delta": AUDIO},
        {"type": "response.output_audio.done", **ids},
        {"type": "response.output_audio_transcript.done", **ids, "transcript": "Hello there."},
        {
            "type": "response.done",
            "response": {"id": response, "status": "completed", "usage": usage},
        },
    ]
    return answer if purpose else [*speech, *answer, words]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@st.composite
def broken(draw: st.DrawFn, purpose: str) -> list[Wire]:
    """A turn with one fault."""
    whole = turn(1, purpose)
    events = copy.deepcopy(whole)
    at = draw(st.integers(0, len(events) - 1))
    event = events[at]
    match draw(st.sampled_from(["lost", "doubled", "late", "without a field", "another value"])):
        case "lost":
            del events[at]
        case "doubled":
            events.insert(at, event)
        case "late":
            del events[at]
            events.insert(draw(st.integers(at, len(events))), event)
        case fault:
            place = draw(st.sampled_from(list(_objects(event))))
            key = draw(st.sampled_from(sorted(place)))
            if fault == "without a field":
                del place[key]
            else:
                place[key] = draw(json_values)
    # A response that never ends is another matter, with a deadline of its own.
    return events if any(map(_is_end, events)) else [*events, whole[-1 if purpose else -2]]


def _is_end(event: Wire) -> bool:
    """Whether it can be understood that the response is over, however broken the event is."""
    if event.get("type") != "response.done":
        return False
    response = event.get("response")
    name = response.get("id") if isinstance(response, dict) else None
    return not isinstance(name, str) or name == "resp_1"


def _objects(event: Wire) -> list[Wire]:
    found = [event]
    for value in event.values():
        if isinstance(value, dict) and value:
            found += _objects(value)
    return found


def tell(talk: Talk, events: list[Wire]) -> None:
    for event in events:
        talk.model(realtime_events.parse(json.dumps(event)))


@given(st.sampled_from(["", "opening"]).flatmap(broken))
@settings(max_examples=300, deadline=None)
def test_a_fault_in_one_turn_leaves_the_next_one_whole(events: list[Wire]) -> None:
    """[D8] Lost, doubled, late, of another type: ignored, or the end of its response."""
    talk = Talk(silence_s=20).ready()
    tell(talk, events)
    talk.play_all()
    talk.wait(12)
    assert talk.ending() is None
    talk.take()

    tell(talk, turn(2))
    heard = talk.phone()
    talk.play_all()
    talk.wait(1)

    assert sum(len(base64.b64decode(m["media"]["payload"])) for m in _media(heard)) == 2_400
    assert talk.turn("item_2").text == "Hello there."
    assert talk.turn("item_2").heard_ms == 300
    assert talk.turn("user_2").text == "Yes?"
    talk.take()
    talk.wait(20)
    assert [create["response"]["metadata"] for create in talk.sent("response.create")] == [
        {"purpose": "nudge"}
    ]


def _media(messages: list[Wire]) -> list[Wire]:
    return [message for message in messages if message["event"] == "media"]
