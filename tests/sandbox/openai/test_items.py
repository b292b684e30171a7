"""The items of a conversation: placed, fetched, cut and removed."""

from __future__ import annotations

import base64

import pytest

from tests.sandbox.openai.talk import Event, Model


async def test_truncation_is_confirmed_and_forgets_the_words(model: Model) -> None:
    async with model.talking() as talk:
        await talk.send("response.create")
        item = (await talk.until("response.done"))["response"]["output"][0]
        cut = {"item_id": item["id"], "content_index": 0, "audio_end_ms": 750}
        await talk.send("conversation.item.truncate", **cut)

        truncated = await talk.until("conversation.item.truncated")
        await talk.send("conversation.item.retrieve", item_id=item["id"])
        content = (await talk.until("conversation.item.retrieved"))["item"]["content"][0]
        record = await model.record()

    assert {k: truncated[k] for k in cut} == cut
    assert len(base64.b64decode(content["audio"])) == 750 * 48
    assert "transcript" not in content
    assert record["truncations"][0]["audio_end_ms"] == 750
    assert record["truncations"][0]["audio_ms"] == 2780


async def test_truncation_beyond_the_end_is_refused_in_openais_words(model: Model) -> None:
    async with model.talking() as talk:
        await talk.send("response.create")
        item = (await talk.until("response.done"))["response"]["output"][0]
        await talk.send(
            "conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=9000
        )

        error = await talk.error()

        assert error["type"] == "invalid_request_error"
        assert error["code"] == "invalid_value"
        assert error["message"] == "Audio content of 2780ms is already shorter than 9000ms"
        assert await talk.update()


async def test_only_the_models_own_audio_can_be_truncated(model: Model) -> None:
    item = {
        "id": "mine",
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "Hello"}],
    }
    async with model.talking() as talk:
        await talk.send("conversation.item.create", item=item)
        await talk.until("conversation.item.done")
        await talk.send(
            "conversation.item.truncate", item_id="mine", content_index=0, audio_end_ms=0
        )

        error = await talk.error()

    assert error["code"] == "unsupported_content_type"
    assert error["message"] == "Only model output audio messages can be truncated"


async def test_item_that_has_not_sounded_yet_cannot_be_truncated(model: Model) -> None:
    """Not even at 0 ms."""
    async with model.talking() as talk:
        await talk.send("response.create", response={"max_output_tokens": 1})
        item = (await talk.until("response.done"))["response"]["output"][0]
        await talk.send(
            "conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=0
        )

        error = await talk.error()

    assert talk.audio(item["id"]) == b""
    assert error["code"] == "unsupported_content_type"


async def test_item_cut_while_the_model_speaks_stays_cut(model: Model) -> None:
    """What is generated after the cut belongs to it no more, nor do its words."""
    await model.script({"say": "These words are going to be forgotten.", "pace": 4.0})
    async with model.talking() as talk:
        await talk.send("response.create")
        item_id = (await talk.until("response.output_audio.delta"))["item_id"]
        await talk.send(
            "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=10
        )
        await talk.until("conversation.item.truncated")
        await talk.until("response.done")
        await talk.send("conversation.item.retrieve", item_id=item_id)

        content = (await talk.until("conversation.item.retrieved"))["item"]["content"][0]

    assert "transcript" not in content
    assert len(base64.b64decode(content["audio"])) == 10 * 48


@pytest.mark.parametrize("verb", ["truncate", "delete", "retrieve"])
async def test_unknown_item_is_named_in_the_error(model: Model, verb: str) -> None:
    more = {"content_index": 0, "audio_end_ms": 0} if verb == "truncate" else {}
    async with model.talking() as talk:
        await talk.send(f"conversation.item.{verb}", item_id="item_no", **more)

        error = await talk.error()

    assert error["code"] == f"item_{verb}_invalid_item_id"
    assert "item_no" in error["message"]


async def test_items_are_placed_and_removed_as_told(model: Model) -> None:
    def text(item_id: str, role: str, kind: str) -> Event:
        content = [{"type": kind, "text": item_id}]
        return {"id": item_id, "type": "message", "role": role, "content": content}

    async with model.talking() as talk:
        await talk.send("conversation.item.create", item=text("b", "user", "input_text"))
        await talk.until("conversation.item.done")
        await talk.send(
            "conversation.item.create",
            item=text("a", "assistant", "output_text"),
            previous_item_id="root",
        )
        front = await talk.until("conversation.item.added")
        await talk.send(
            "conversation.item.create",
            item=text("ab", "system", "input_text"),
            previous_item_id="a",
        )
        middle = await talk.until("conversation.item.added")
        await talk.send("conversation.item.delete", item_id="a")
        await talk.until("conversation.item.deleted")
        await talk.send("conversation.item.create", item=text("c", "user", "input_text"))
        last = await talk.until("conversation.item.added")
        await talk.send("conversation.item.create", item=text("c", "user", "input_text"))
        error = await talk.error()

    assert front["previous_item_id"] is None
    assert middle["previous_item_id"] == "a"
    assert last["previous_item_id"] == "b"
    assert error["code"] == "item_create_duplicate_item_id"


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "message", "role": "robot", "content": []}, "item.role"),
        ({"type": "message", "role": "user"}, "item.content"),
        (
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_audio", "transcript": "Hi"}],
            },
            "item.content[0].type",
        ),
        ({"type": "function_call", "name": "f"}, "item.arguments"),
        ({"type": "poem"}, "item.type"),
    ],
)
async def test_item_of_no_known_shape_is_refused(model: Model, item: Event, param: str) -> None:
    async with model.talking() as talk:
        await talk.send("conversation.item.create", item=item)

        error = await talk.error()

    assert error["param"] == param
