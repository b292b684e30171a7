"""What a response costs, counted in tokens of what was really heard and said."""

from __future__ import annotations

from typing import Any

from tests.sandbox.openai.talk import Event, Model, silence


def _usage(done: Event) -> dict[str, Any]:
    usage: dict[str, Any] = done["response"]["usage"]
    return usage


async def test_usage_counts_what_was_really_said_and_heard(model: Model) -> None:
    async with model.talking() as talk:
        await talk.phone()
        await talk.send("response.create")
        first = _usage(await talk.until("response.done"))
        await talk.append(silence(200))
        await talk.say("person.yes_friday")
        second = _usage(await talk.until("response.done"))
        record = await model.record()

    heard_ms = next(t["audio_ms"] for t in record["transcripts"] if t["role"] == "user")
    assert first["output_token_details"]["audio_tokens"] == 56  # 2780 ms, one for 50 ms
    assert first["input_token_details"]["audio_tokens"] == 0
    assert second["input_token_details"]["audio_tokens"] == 56 + -(-heard_ms // 100)
    for usage in (first, second):
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_cached_part_of_the_input_grows_with_the_conversation(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(instructions="Rules. " * 200)
        cached = []
        for _ in range(3):
            await talk.send("response.create")
            usage = _usage(await talk.until("response.done"))
            cached.append(usage["input_token_details"]["cached_tokens"])

    assert cached[0] == 0
    assert 0 < cached[1] < cached[2]
    assert all(tokens % 64 == 0 for tokens in cached)


async def test_changed_instructions_spoil_the_cache(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(instructions="Rules. " * 200)
        await talk.send("response.create")
        await talk.until("response.done")
        await talk.update(instructions="Other rules. " * 200)
        await talk.send("response.create")

        usage = _usage(await talk.until("response.done"))

    assert usage["input_token_details"]["cached_tokens"] == 0


async def test_rate_limits_follow_each_response(model: Model) -> None:
    async with model.talking() as talk:
        await talk.send("response.create")

        limits = (await talk.until("rate_limits.updated"))["rate_limits"]

    assert [e["type"] for e in talk.events][-2:] == ["response.done", "rate_limits.updated"]
    assert limits[0]["name"] == "tokens"
    assert limits[0]["remaining"] < limits[0]["limit"] == 15_000_000
