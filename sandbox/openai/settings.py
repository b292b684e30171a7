"""The session object: its defaults, and what `session.update` may change when.

Source: OpenAI, Realtime API reference, "session.update"; error texts from public captures.
"""

from __future__ import annotations

import copy

from sandbox.openai import errors, models
from sandbox.openai.audio import MODEL_HZ, PCM, PCMA, PCMU
from sandbox.openai.errors import Json
from sandbox.openai.shapes import (
    Check,
    Either,
    Flag,
    Items,
    Number,
    Object,
    Text,
    Variant,
    anything,
    free_object,
    merged,
)

VOICES = (
    "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar",
)  # fmt: skip
DEFAULT_INSTRUCTIONS = (
    "Your knowledge cutoff is 2024-06. You are a helpful, witty, and friendly AI. Act like a "
    "human, but remember that you aren't a human. Talk quickly. Always call a function if you can."
)
BETA_FIELDS = frozenset({
    "modalities", "voice", "input_audio_format", "output_audio_format", "turn_detection",
    "input_audio_transcription", "input_audio_noise_reduction", "max_response_output_tokens",
})  # fmt: skip
EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
TRANSCRIBERS = (
    "whisper-1", "gpt-transcribe", "gpt-live-transcribe", "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15", "gpt-4o-transcribe", "gpt-4o-transcribe-diarize",
    "gpt-realtime-whisper",
)  # fmt: skip

FORMAT = Variant({
    PCM: Object({"type": anything, "rate": anything}, required=("rate",)),
    PCMU: Object({"type": anything}),
    PCMA: Object({"type": anything}),
})  # fmt: skip
VOICE = Either(VOICES, Object({"id": Text()}, required=("id",)))
MODALITIES = Items(Text(among=("text", "audio")))
MAX_TOKENS = Either(("inf",), Number(1, 4096))
FUNCTION = Object(
    {
        "type": anything,
        "name": Text(pattern="[a-zA-Z0-9_-]{1,64}"),
        "description": Text(nullable=True),
        "parameters": free_object,  # and no `strict`, which the Realtime API does not know
    },
    required=("name",),
)
TOOLS = Items(Variant({"function": FUNCTION}))
TOOL_CHOICE = Either(
    ("auto", "none", "required"),
    Variant({"function": Object({"type": anything, "name": Text()}, required=("name",))}),
)
REASONING = Object({"effort": Text(among=EFFORTS, nullable=True)}, nullable=True)
_COMMON_VAD: dict[str, Check] = {
    "type": anything,
    "create_response": Flag(),
    "interrupt_response": Flag(),
}
TURN_DETECTION = Variant(
    {
        "server_vad": Object(
            {
                **_COMMON_VAD,
                "threshold": Number(0, 1, whole=False),
                "prefix_padding_ms": Number(0, 5_000),
                "silence_duration_ms": Number(0, 30_000),
                "idle_timeout_ms": Number(5_000, 30_000, nullable=True),
            }
        ),
        "semantic_vad": Object(
            {**_COMMON_VAD, "eagerness": Text(among=("low", "medium", "high", "auto"))}
        ),
    },
    nullable=True,
)
TRANSCRIPTION = Object(
    {
        "model": Text(among=TRANSCRIBERS),
        "language": Text(nullable=True),
        "languages": Items(Text(), nullable=True),
        "keywords": Items(Text(), nullable=True),
        "prompt": Text(nullable=True),
        "delay": Text(among=("minimal", "low", "medium", "high", "xhigh"), nullable=True),
    },
    nullable=True,
)
NOISE_REDUCTION = Object(
    {
        "type": Text(among=("near_field", "far_field")),
        "strength": Number(0, 1, whole=False, nullable=True),
    },
    nullable=True,
)
AUDIO_OUTPUT = Object({
    "format": FORMAT,
    "voice": VOICE,
    "speed": Number(0.25, 1.5, whole=False),
})  # fmt: skip
SESSION = Object(
    {
        "type": Text(among=("realtime",)),
        "model": Text(),
        "output_modalities": MODALITIES,
        "instructions": Text(),
        "audio": Object({
            "input": Object({
                "format": FORMAT,
                "noise_reduction": NOISE_REDUCTION,
                "transcription": TRANSCRIPTION,
                "turn_detection": TURN_DETECTION,
            }),
            "output": AUDIO_OUTPUT,
        }),
        "tools": TOOLS,
        "tool_choice": TOOL_CHOICE,
        "parallel_tool_calls": Flag(),
        "reasoning": REASONING,
        "max_output_tokens": MAX_TOKENS,
        "truncation": Either(
            ("auto", "disabled"),
            Object(
                {
                    "type": Text(among=("retention_ratio",)),
                    "retention_ratio": Number(0, 1, whole=False),
                    "token_limits": Object({"post_instructions": Number(0, 128_000)}),
                },
                required=("type", "retention_ratio"),
            ),
        ),
        "include": Items(Text(among=("item.input_audio_transcription.logprobs",)), nullable=True),
        "tracing": Either(
            ("auto",),
            Object({"workflow_name": Text(), "group_id": Text(), "metadata": free_object}),
            nullable=True,
        ),
        "prompt": Object({
            "id": Text(), "version": Text(nullable=True), "variables": free_object,
        }, required=("id",), nullable=True),
    },
    required=("type",),
)  # fmt: skip

SERVER_VAD: Json = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD: Json = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
# What a `server_vad` object that names no silence gets: the documented figure, unlike the 200 ms
# of sessions that were never updated.
_DOCUMENTED_VAD: Json = {**SERVER_VAD, "silence_duration_ms": 500}


def defaults(session_id: str, model: str, expires_at: int) -> Json:
    """The session as `session.created` shows it."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": DEFAULT_INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at,
        "audio": {
            "input": {
                "format": {"type": PCM, "rate": MODEL_HZ},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(SERVER_VAD),
            },
            "output": {
                "format": {"type": PCM, "rate": MODEL_HZ},
                "voice": "marin",
                "speed": 1.0,
            },
        },
        "include": None,
    }


def updated(session: Json, update: object, *, has_spoken: bool, is_responding: bool) -> Json:
    """The session after `session.update`, or the error that leaves it as it was.

    Raises:
        RealtimeError: the update names something unknown, wrong, or too late.
    """
    if not isinstance(update, dict):
        raise errors.wrong_type("session", "an object", update)
    if "type" not in update and BETA_FIELDS & update.keys():
        raise errors.beta_api_shape_disabled()
    SESSION(update, "session")
    check_modalities(update.get("output_modalities"), "session.output_modalities")
    _check_fixed(session, update, has_spoken=has_spoken, is_responding=is_responding)
    return _merge(copy.deepcopy(session), update)


def check_modalities(wanted: list[str] | None, path: str) -> None:
    """Sound or text, never both. Raises RealtimeError."""
    if wanted is not None and wanted not in (["audio"], ["text"]):
        raise errors.invalid_value(
            path,
            f"Invalid modalities: {wanted}. Supported combinations are: ['text'] and ['audio'].",
        )


def check_format(format: Json | None, path: str) -> None:
    """PCM comes at 24 kHz or not at all. Raises RealtimeError."""
    if format is not None and format["type"] == PCM and format["rate"] != MODEL_HZ:
        raise errors.invalid_value(
            f"{path}.rate", f"Invalid value: '{format['rate']}'. Supported value is: '{MODEL_HZ}'."
        )


def check_reasoning(settings: Json, model: str, path: str) -> None:
    """Older models do not reason. Raises RealtimeError."""
    for name in ("reasoning", "parallel_tool_calls"):
        if settings.get(name) is not None and not models.reasons(model):
            raise errors.invalid_value(
                f"{path}.{name}", f"'{path}.{name}' is not supported with the model '{model}'."
            )


def _check_fixed(session: Json, update: Json, *, has_spoken: bool, is_responding: bool) -> None:
    if update.get("model", session["model"]) != session["model"]:
        raise errors.invalid_value("session.model", "Cannot update a conversation's model.")
    check_reasoning(update, session["model"], "session")
    audio = update.get("audio", {})
    for side in ("input", "output"):
        check_format(audio.get(side, {}).get("format"), f"session.audio.{side}.format")
    now, wanted = session["audio"]["output"], audio.get("output", {})
    if has_spoken and wanted.get("voice", now["voice"]) != now["voice"]:
        raise errors.RealtimeError(
            "cannot_update_voice",
            "Cannot update a conversation's voice if assistant audio is present.",
        )
    if is_responding and wanted.get("speed", now["speed"]) != now["speed"]:
        raise errors.invalid_value(
            "session.audio.output.speed", "Cannot update the speed while a response is in progress."
        )
    if session["tracing"] is not None and update.get("tracing", session["tracing"]) not in (
        None,
        session["tracing"],
    ):
        raise errors.invalid_value(
            "session.tracing", "Cannot update tracing once it has been enabled."
        )


def _merge(session: Json, update: Json) -> Json:
    heard = update.get("audio", {}).get("input", {})
    replaced = {k: v for k, v in update.items() if k in ("tool_choice", "truncation", "tracing")}
    result = merged(session, {k: v for k, v in update.items() if k not in replaced})
    result.update(replaced)
    for side in ("input", "output"):
        chosen = update.get("audio", {}).get(side, {}).get("format")
        if chosen is not None:
            result["audio"][side]["format"] = dict(chosen)
    if (detection := heard.get("turn_detection")) is not None:
        before = session["audio"]["input"]["turn_detection"]
        same = before is not None and before["type"] == detection["type"]
        fresh = _DOCUMENTED_VAD if detection["type"] == "server_vad" else SEMANTIC_VAD
        result["audio"]["input"]["turn_detection"] = {**(before if same else fresh), **detection}
    if heard.get("noise_reduction") is not None:
        result["audio"]["input"]["noise_reduction"].setdefault("strength", 1.0)
    return result
