"""What `session.update` changes, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.openai.talk import END_CALL, Event, Model


async def test_update_changes_only_what_it_names(model: Model) -> None:
    async with model.talking() as talk:
        before = talk.events[0]["session"]

        after = await talk.update(
            instructions="Be brief.", audio={"input": {"turn_detection": {"type": "server_vad"}}}
        )

    assert after == {**before, "instructions": "Be brief."}


async def test_updates_add_up(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(audio={"output": {"voice": "cedar"}})
        await talk.update(audio={"output": {"speed": 1.2}})

        after = await talk.update(audio={"output": {"format": {"type": "audio/pcmu"}}})

    assert after["audio"]["output"] == {
        "format": {"type": "audio/pcmu"},
        "voice": "cedar",
        "speed": 1.2,
    }


async def test_null_and_empty_values_clear(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(
            tools=[END_CALL], audio={"input": {"transcription": {"model": "whisper-1"}}}
        )

        after = await talk.update(
            instructions="",
            tools=[],
            audio={
                "input": {"turn_detection": None, "transcription": None, "noise_reduction": None}
            },
        )

    assert (after["instructions"], after["tools"]) == ("", [])
    assert after["audio"]["input"]["turn_detection"] is None
    assert after["audio"]["input"]["transcription"] is None


async def test_other_kind_of_turn_detection_brings_its_own_defaults(model: Model) -> None:
    async with model.talking() as talk:
        after = await talk.update(audio={"input": {"turn_detection": {"type": "semantic_vad"}}})

    assert after["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }


async def test_server_vad_named_anew_waits_the_documented_500_ms(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(audio={"input": {"turn_detection": None}})

        after = await talk.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})

    assert after["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500


async def test_noise_reduction_keeps_its_strength(model: Model) -> None:
    async with model.talking() as talk:
        first = await talk.update(audio={"input": {"noise_reduction": {"type": "near_field"}}})
        await talk.update(audio={"input": {"noise_reduction": {"strength": 0.4}}})

        last = await talk.update(audio={"input": {"noise_reduction": {"type": "far_field"}}})

    assert first["audio"]["input"]["noise_reduction"]["strength"] == 1.0
    assert last["audio"]["input"]["noise_reduction"] == {"type": "far_field", "strength": 0.4}


def _input(**members: Any) -> Event:
    return {"type": "realtime", "audio": {"input": members}}


def _output(**members: Any) -> Event:
    return {"type": "realtime", "audio": {"output": members}}


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"instructions": "x"}, "missing_required_parameter", "session.type"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"type": "realtime", "temperature": 0.8}, "unknown_parameter", "session.temperature"),
        ({"type": "realtime", "voice": "marin"}, "unknown_parameter", "session.voice"),
        ({"type": "realtime", "instructions": 7}, "invalid_type", "session.instructions"),
        ({"type": "realtime", "model": "gpt-realtime-2"}, "invalid_value", "session.model"),
        (
            {"type": "realtime", "output_modalities": ["text", "audio"]},
            "invalid_value",
            "session.output_modalities",
        ),
        (
            {"type": "realtime", "max_output_tokens": 5000},
            "integer_above_max_value",
            "session.max_output_tokens",
        ),
        (
            {"type": "realtime", "tools": [{"type": "function"}]},
            "missing_required_parameter",
            "session.tools[0].name",
        ),
        (
            {"type": "realtime", "tools": [{"type": "function", "name": "two words"}]},
            "invalid_value",
            "session.tools[0].name",
        ),
        (
            {"type": "realtime", "tools": [{**END_CALL, "strict": True}]},
            "unknown_parameter",
            "session.tools[0].strict",
        ),
        (_input(format={"type": "pcm16"}), "invalid_value", "session.audio.input.format.type"),
        (_input(format="pcm16"), "invalid_type", "session.audio.input.format"),
        (
            _output(format={"type": "audio/pcm"}),
            "missing_required_parameter",
            "session.audio.output.format.rate",
        ),
        (
            _input(format={"type": "audio/pcm", "rate": 16000}),
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        (
            _input(turn_detection={"threshold": 0.4}),
            "missing_required_parameter",
            "session.audio.input.turn_detection.type",
        ),
        (
            _input(turn_detection={"type": "server_vad", "idle_timeout_ms": 1000}),
            "integer_below_min_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (
            _input(turn_detection={"type": "semantic_vad", "threshold": 0.5}),
            "unknown_parameter",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            _input(transcription={"model": "gpt-9-transcribe"}),
            "invalid_value",
            "session.audio.input.transcription.model",
        ),
        (_output(voice="nobody"), "invalid_value", "session.audio.output.voice"),
        (_output(speed=2), "decimal_above_max_value", "session.audio.output.speed"),
        (
            {"type": "realtime", "reasoning": {"effort": "huge"}},
            "invalid_value",
            "session.reasoning.effort",
        ),
    ],
)
async def test_wrong_update_is_refused_whole(
    model: Model, session: Event, code: str, param: str
) -> None:
    """The error names the parameter; nothing of the update is taken over."""
    async with model.talking() as talk:
        before = talk.events[0]["session"]
        await talk.send("session.update", session={**session, "tool_choice": "none"})

        error = await talk.error()

        assert (error["code"], error["param"]) == (code, param)
        assert await talk.update() == before


async def test_update_in_the_beta_shape_ends_the_session(model: Model) -> None:
    async with model.talking() as talk:
        await talk.send("session.update", session={"modalities": ["text", "audio"]})

        error = await talk.error()
        closed = await talk.closed()

    assert error["code"] == "beta_api_shape_disabled"
    assert closed == (4000, "invalid_request_error.beta_api_shape_disabled")


@pytest.mark.parametrize("name", ["gpt-realtime-1.5", "gpt-realtime-2025-08-28"])
async def test_older_model_does_not_reason(model: Model, name: str) -> None:
    """Not even one whose date looks like the second generation."""
    async with model.connected(f"?model={name}") as talk:
        await talk.send(
            "session.update", session={"type": "realtime", "reasoning": {"effort": "low"}}
        )

        error = await talk.error()

    assert error["param"] == "session.reasoning"


async def test_voice_is_fixed_once_it_was_heard(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(audio={"output": {"voice": "cedar"}})
        await talk.send("response.create")
        await talk.until("response.done")
        await talk.send("session.update", session=_output(voice="ash"))

        error = await talk.error()

        assert error["code"] == "cannot_update_voice"
        assert await talk.update(audio={"output": {"voice": "cedar"}})


async def test_speed_cannot_change_while_the_model_speaks(model: Model) -> None:
    async with model.talking() as talk:
        await talk.send("response.create")
        await talk.until("response.created")
        await talk.send("session.update", session=_output(speed=0.8))

        error = await talk.error()

    assert error["param"] == "session.audio.output.speed"


async def test_tracing_once_enabled_stays_as_it_is(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(tracing="auto")
        await talk.send(
            "session.update", session={"type": "realtime", "tracing": {"group_id": "g"}}
        )

        error = await talk.error()

    assert error["param"] == "session.tracing"
