"""What we send to the model is what the vendor's own types describe."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.realtime import RealtimeClientEvent
from pydantic import TypeAdapter

from calls.core.brief import AudioFormat, NoiseReduction, Opening, OpeningKind, TurnDetection
from realtime.core import media_streams, prompts, realtime_api
from realtime.core.tools import END_CALL
from tests.contract.test_realtime_types import strict
from tests.realtime.talk import WEATHER, Talk

CLIENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)


def check(text: str) -> None:
    event = json.loads(text)
    strict(CLIENT.validate_python(event, strict=True), event)


@pytest.mark.parametrize("audio_format", list(AudioFormat))
@pytest.mark.parametrize("turn_detection", list(TurnDetection))
@pytest.mark.parametrize("noise_reduction", list(NoiseReduction))
def test_every_configuration_of_a_session(
    audio_format: AudioFormat, turn_detection: TurnDetection, noise_reduction: NoiseReduction
) -> None:
    brief = Talk(
        audio_format=audio_format, turn_detection=turn_detection, noise_reduction=noise_reduction
    ).brief

    check(realtime_api.session_update(brief, [END_CALL, WEATHER]))
    check(realtime_api.stop_answering(brief))


@pytest.mark.parametrize(
    "text",
    [
        realtime_api.append(b"\xff" * 160),
        realtime_api.response_create("opening"),
        realtime_api.response_create("goodbye", prompts.GOODBYE, may_use_tools=False),
        realtime_api.response_cancel("resp_1"),
        realtime_api.truncate("item_1", 1500),
        realtime_api.message("user", prompts.key_pressed("1")),
        realtime_api.message("assistant", "Hello."),
        realtime_api.message("system", prompts.TIME_IS_SHORT),
        realtime_api.tool_output("call_1", prompts.TOOL_OK),
    ],
)
def test_every_kind_of_message(text: str) -> None:
    check(text)


def test_everything_that_a_whole_conversation_sends() -> None:
    """Opening, barge-in, keys, the end of the time: whatever the session decides to say."""
    opening = Opening(OpeningKind.VERBATIM, text='Hello "Bob".')
    talk = Talk(opening=opening, max_duration_s=60, silence_s=5).opened()
    talk.reply("resp_1", "item_1", 3000)
    talk.speech()
    talk.silence()
    talk.caller(media_streams.KeyPressed("5"))
    talk.reply("resp_2", "item_2", 200, purpose="keys")
    talk.play_all()
    for _ in range(2):
        talk.now += 30
        talk.frame()
    talk.wait(0.2)

    events = talk.sent()

    assert {event["type"] for event in events} >= {
        "response.create",
        "conversation.item.create",
        "conversation.item.truncate",
        "session.update",
    }
    for event in events:
        check(json.dumps(event))
