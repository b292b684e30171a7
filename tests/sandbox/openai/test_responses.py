"""What the model says: its events, its pace, its calls, and how it can go wrong."""

from __future__ import annotations

import base64
import json

import pytest

from sandbox.openai.audio import PCM, PCMA, PCMU, duration_ms
from tests.sandbox.openai.talk import END_CALL, Event, Model

LONG = "This sentence goes on and on, so that there is enough of it to be cut somewhere."


@pytest.mark.parametrize("format", [PCM, PCMU, PCMA])
async def test_answer_sounds_as_long_as_its_clip_in_every_format(model: Model, format: str) -> None:
    shape = {"type": PCM, "rate": 24000} if format == PCM else {"type": format}
    async with model.talking() as talk:
        await talk.update(audio={"output": {"format": shape}})
        await talk.send("response.create")

        done = await talk.until("response.done")

    item = done["response"]["output"][0]
    assert item["content"][0]["transcript"] == "Hi, I am Ada, an AI assistant. Is Friday fine?"
    assert duration_ms(len(talk.audio(item["id"])), format) == pytest.approx(2780, abs=2)
    assert done["response"]["audio"]["output"]["format"] == shape


async def test_text_without_a_clip_is_babbled_in_proportion(model: Model) -> None:
    await model.script({"say": LONG})
    async with model.talking() as talk:
        await talk.send("response.create")

        item = (await talk.until("response.done"))["response"]["output"][0]

    assert duration_ms(len(talk.audio(item["id"])), PCM) == 65 * len(LONG)


async def test_transcript_deltas_add_up_to_the_transcript(model: Model) -> None:
    async with model.talking() as talk:
        await talk.send("response.create")
        await talk.until("response.done")

    deltas = talk.of("response.output_audio_transcript.delta")
    (done,) = talk.of("response.output_audio_transcript.done")
    assert "".join(d["delta"] for d in deltas) == done["transcript"]
    assert len(deltas) > 5


async def test_deltas_have_the_lengths_that_were_ordered(model: Model) -> None:
    """[D12] Any length may come; only the last may be shorter than ordered."""
    await model.script({"say": LONG, "delta_ms": [20, 400]})
    async with model.talking() as talk:
        await talk.send("response.create")
        await talk.until("response.done")

    deltas = talk.of("response.output_audio.delta")
    lengths = [duration_ms(len(base64.b64decode(d["delta"])), PCM) for d in deltas]
    assert all(20 <= length <= 400 for length in lengths[:-1])
    assert len(set(lengths)) > 5


async def test_faster_speech_is_shorter(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(audio={"output": {"speed": 1.5}})
        await talk.send("response.create")

        item = (await talk.until("response.done"))["response"]["output"][0]

    assert duration_ms(len(talk.audio(item["id"])), PCM) == pytest.approx(2780 / 1.5, abs=3)


async def test_client_can_have_a_sentence_said_word_for_word(model: Model) -> None:
    async with model.talking() as talk:
        await talk.send(
            "response.create",
            response={"instructions": 'Say exactly, and nothing else: "Good day, this is Acme."'},
        )

        said = await talk.until("response.output_audio_transcript.done")

    assert said["transcript"] == "Good day, this is Acme."


async def test_text_answer_has_no_sound(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(output_modalities=["text"])
        await talk.send("response.create")

        done = await talk.until("response.done")

    assert done["response"]["output"][0]["content"][0]["type"] == "output_text"
    assert talk.of("response.output_audio.delta") == []
    assert talk.of("response.output_text.done")[0]["text"].startswith("Hi, I am Ada")


async def test_one_response_can_hold_several_items(model: Model) -> None:
    """A preamble, a call, another message: each with its own id, in order."""
    await model.script(
        {
            "items": [
                {"say": "One moment."},
                {"tool": {"name": "look_up", "arguments": {"day": "Friday"}}},
                {"say": "Friday is free."},
            ]
        }
    )
    async with model.talking() as talk:
        await talk.send("response.create")

        output = (await talk.until("response.done"))["response"]["output"]

    assert [i["type"] for i in output] == ["message", "function_call", "message"]
    assert len({i["id"] for i in output}) == 3
    added = talk.of("response.output_item.added")
    assert [(e["output_index"], e["item"]["id"]) for e in added] == [
        (n, i["id"]) for n, i in enumerate(output)
    ]
    assert all(talk.audio(output[n]["id"]) for n in (0, 2))


async def test_function_call_streams_its_arguments(model: Model) -> None:
    """[D14] The pieces make up the JSON text of the done event and of the item."""
    await model.script({"tool": {"name": "book", "arguments": {"day": "Friday", "hour": 10}}})
    async with model.talking() as talk:
        await talk.send("response.create")

        call = (await talk.until("response.done"))["response"]["output"][0]

    (done,) = talk.of("response.function_call_arguments.done")
    pieces = talk.of("response.function_call_arguments.delta")
    assert "".join(p["delta"] for p in pieces) == done["arguments"] == call["arguments"]
    assert json.loads(done["arguments"]) == {"day": "Friday", "hour": 10}
    assert (done["name"], done["call_id"]) == ("book", call["call_id"])


async def test_function_call_may_carry_broken_arguments(model: Model) -> None:
    """[D14] Models do that."""
    await model.script({"tool": {"name": "book", "arguments": '{"day": '}})
    async with model.talking() as talk:
        await talk.send("response.create")

        call = (await talk.until("response.done"))["response"]["output"][0]

    assert call["arguments"] == '{"day": '


async def test_goodbye_is_answered_and_the_call_ended(model: Model) -> None:
    """[D15] Last words and `end_call` come in one response."""
    async with model.talking() as talk:
        await talk.phone(tools=True)

        await talk.say("person.thanks_goodbye")
        output = (await talk.until("response.done"))["response"]["output"]

    assert output[0]["content"][0]["transcript"] == "Thank you, goodbye!"
    assert output[1]["name"] == "end_call"
    assert json.loads(output[1]["arguments"]) == {"reason": "goodbye"}


async def test_goodbye_ends_no_call_without_the_tool(model: Model) -> None:
    async with model.talking() as talk:
        await talk.phone()

        await talk.say("person.goodbye")
        output = (await talk.until("response.done"))["response"]["output"]

    assert [i["type"] for i in output] == ["message"]


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [("none", ["message"]), ("required", ["function_call"])],
)
async def test_tool_choice_is_respected(model: Model, choice: str, kinds: list[str]) -> None:
    async with model.talking() as talk:
        await talk.update(tools=[END_CALL], tool_choice=choice)
        item = {"type": "message", "role": "user"}
        await talk.send(
            "conversation.item.create",
            item={**item, "content": [{"type": "input_text", "text": "Goodbye!"}]},
        )
        await talk.send("response.create")

        output = (await talk.until("response.done"))["response"]["output"]

    assert [i["type"] for i in output] == kinds


async def test_tool_output_is_taken_and_answered(model: Model) -> None:
    await model.script({"tool": {"name": "note", "arguments": {}}})
    async with model.talking() as talk:
        await talk.send("response.create")
        call = (await talk.until("response.done"))["response"]["output"][0]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "ok"}
        await talk.send("conversation.item.create", item=output)
        added = await talk.until("conversation.item.added")
        await talk.send("response.create")

        said = await talk.until("response.output_audio_transcript.done")

    assert added["item"]["output"] == "ok"
    assert added["previous_item_id"] == call["id"]
    assert said["transcript"] == "Noted, thank you."


async def test_output_of_a_call_that_never_was_is_refused(model: Model) -> None:
    async with model.talking() as talk:
        await talk.send(
            "conversation.item.create",
            item={"type": "function_call_output", "call_id": "call_no", "output": ""},
        )

        error = await talk.error()

    assert error["code"] == "invalid_tool_call_id"


async def test_second_response_is_refused_while_one_is_active(model: Model) -> None:
    """[D17] The first goes on undisturbed."""
    async with model.talking() as talk:
        await talk.send("response.create")
        created = await talk.until("response.created")
        await talk.send("response.create", event_id="second")

        error = await talk.error()
        done = await talk.until("response.done")

    assert error["code"] == "conversation_already_has_active_response"
    assert error["event_id"] == "second"
    assert created["response"]["id"] in error["message"]
    assert done["response"]["status"] == "completed"


async def test_response_beside_the_conversation_leaves_it_alone(model: Model) -> None:
    """Out of band: it may run together with another, and adds no items."""
    await model.script({"say": LONG, "pace": 2.0}, {"say": "Sorted."})
    async with model.talking() as talk:
        await talk.send("response.create")
        first = (await talk.until("response.created"))["response"]
        await talk.send(
            "response.create",
            response={
                "conversation": "none",
                "output_modalities": ["text"],
                "metadata": {"topic": "sorting"},
                "input": [],
            },
        )
        second = (await talk.until("response.created"))["response"]
        done = {e["response"]["id"]: e for e in [await talk.until("response.done") for _ in "ab"]}

    aside = done[second["id"]]["response"]
    assert first["conversation_id"].startswith("conv_")
    assert aside["conversation_id"] is None
    assert aside["metadata"] == {"topic": "sorting"}
    assert aside["output"][0]["content"][0]["text"] == "Sorted."
    in_conversation = [e["item"]["id"] for e in talk.of("conversation.item.added")]
    assert aside["output"][0]["id"] not in in_conversation


async def test_cancel_stops_the_response_where_it_is(model: Model) -> None:
    await model.script({"say": LONG, "pace": 1.0})
    async with model.talking() as talk:
        await talk.send("response.create")
        await talk.until("response.output_audio.delta")
        await talk.send("response.cancel")

        response = (await talk.until("response.done"))["response"]
        await talk.send("response.cancel")
        error = await talk.error()

    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert 0 < response["usage"]["output_token_details"]["audio_tokens"] < 65 * len(LONG) / 50
    kinds = [e["type"] for e in talk.events]
    assert kinds.index("response.output_audio.done") < kinds.index("response.done")
    assert error["code"] == "response_cancel_not_active"


async def test_cancel_before_the_first_sound_leaves_nothing(model: Model) -> None:
    async with model.talking() as talk:
        await talk.send("response.create")
        await talk.send("response.cancel")

        response = (await talk.until("response.done"))["response"]

    assert (response["status"], response["output"]) == ("cancelled", [])


async def test_padding_unknown_events_and_unknown_fields_can_be_switched_on(model: Model) -> None:
    """[D8] A client has to live with all three."""
    await model.control("PUT", "settings", {"obfuscation": True, "unknown_events": True})
    async with model.talking() as talk:
        await talk.send("response.create")
        await talk.until("response.done")

    deltas = [e for e in talk.events if e["type"].endswith(".delta")]
    assert deltas
    assert all(e["obfuscation"] for e in deltas)
    assert talk.of("session.weather_changed")
    assert talk.of("response.created")[0]["revision"] == {"build": 7}


async def test_instructions_of_a_response_may_be_null(model: Model) -> None:
    """They count as absent; LiveKit's client asks for every plain response this way."""
    async with model.talking() as talk:
        await talk.send("response.create", response={"instructions": None})

        response = (await talk.until("response.done"))["response"]

    assert response["status"] == "completed"


@pytest.mark.parametrize(
    ("response", "param"),
    [
        ({"output_modalities": ["text", "audio"]}, "response.output_modalities"),
        ({"temperature": 1}, "response.temperature"),
        ({"conversation": "mine"}, "response.conversation"),
        ({"parallel_tool_calls": "no"}, "response.parallel_tool_calls"),
        ({"metadata": {"k": "v" * 513}}, "response.metadata.k"),
        ({"input": [{"type": "item_reference", "id": "no"}]}, "response.input[0].id"),
    ],
)
async def test_wrong_request_for_a_response_is_refused(
    model: Model, response: Event, param: str
) -> None:
    async with model.talking() as talk:
        await talk.send("response.create", response=response)

        error = await talk.error()

    assert error["param"] == param
