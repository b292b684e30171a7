"""What the model hears: where a turn begins and ends, and what becomes of it."""

from __future__ import annotations

import pytest

from sandbox.openai.audio import PCM, PCMA, PCMU
from tests.sandbox.openai.talk import Event, Model, Talk, silence, spoken, tone


def _kinds(events: list[Event]) -> list[str]:
    return [e["type"] for e in events]


async def _formats(talk: Talk, format: str) -> None:
    shape = {"type": PCM, "rate": 24000} if format == PCM else {"type": format}
    vad = {"type": "server_vad", "silence_duration_ms": 500}
    await talk.update(audio={"input": {"format": shape, "turn_detection": vad}})


@pytest.mark.parametrize("format", [PCM, PCMU, PCMA])
async def test_spoken_turn_is_noticed_committed_and_answered(model: Model, format: str) -> None:
    async with model.talking() as talk:
        await _formats(talk, format)
        talk.new()

        await talk.say("person.hours")
        await talk.until("response.done")

    turn = [k for k in _kinds(talk.new()) if "delta" not in k]
    assert turn == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    said = talk.of("response.output_audio_transcript.done")[0]["transcript"]
    assert said == "We are open from nine to five, Monday to Friday."


@pytest.mark.parametrize("format", [PCM, PCMU, PCMA])
async def test_positions_are_milliseconds_of_audio(model: Model, format: str) -> None:
    """The start is back-dated by the padding; the end includes the silence that ended the turn."""
    async with model.talking() as talk:
        await _formats(talk, format)

        await talk.append(silence(1000, format) + tone(600, format=format) + silence(800, format))
        started = await talk.until("input_audio_buffer.speech_started")
        stopped = await talk.until("input_audio_buffer.speech_stopped")

    assert started["audio_start_ms"] == 1000 - 300
    assert stopped["audio_end_ms"] == 1600 + 500
    assert started["item_id"] == stopped["item_id"]


async def test_all_events_of_a_turn_name_the_same_item(model: Model) -> None:
    async with model.talking() as talk:
        await talk.phone()

        await talk.say("person.yes")
        started = await talk.until("input_audio_buffer.speech_started")
        committed = await talk.until("input_audio_buffer.committed")
        added = await talk.until("conversation.item.added")

    assert committed["item_id"] == started["item_id"] == added["item"]["id"]
    assert committed["previous_item_id"] is None
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]


async def test_padding_reaches_no_further_back_than_the_audio(model: Model) -> None:
    async with model.talking() as talk:
        await talk.phone(prefix_padding_ms=900)

        await talk.append(silence(200) + tone(400) + silence(900))
        started = await talk.until("input_audio_buffer.speech_started")

    assert started["audio_start_ms"] == 0


async def test_longer_silence_duration_holds_a_turn_together(model: Model) -> None:
    words = tone(400) + silence(600) + tone(400) + silence(1200)
    async with model.talking() as short, model.talking() as long:
        await short.phone(silence_duration_ms=300, create_response=False)
        await long.phone(silence_duration_ms=1000, create_response=False)

        for talk in (short, long):
            await talk.append(words)
            await talk.update()

    assert len(short.of("input_audio_buffer.committed")) == 2
    assert len(long.of("input_audio_buffer.committed")) == 1


@pytest.mark.parametrize(("threshold", "heard"), [(0.3, 1), (0.5, 0)])
async def test_threshold_decides_how_loud_speech_must_be(
    model: Model, threshold: float, heard: int
) -> None:
    async with model.talking() as talk:
        await talk.phone(threshold=threshold)

        await talk.append(tone(500, level=0.01) + silence(800))
        await talk.update()

    assert len(talk.of("input_audio_buffer.speech_started")) == heard


async def test_click_is_not_speech(model: Model) -> None:
    async with model.talking() as talk:
        await talk.phone()

        await talk.append(silence(400) + tone(40, level=0.9) + silence(800))
        await talk.update()

    assert talk.of("input_audio_buffer.speech_started") == []


async def test_end_of_speech_is_never_noticed_when_audio_stops(model: Model) -> None:
    """Without silence on the line the detector waits for ever."""
    async with model.talking() as talk:
        await talk.phone()

        await talk.append(tone(600))
        await talk.update()

    assert len(talk.of("input_audio_buffer.speech_started")) == 1
    assert talk.of("input_audio_buffer.speech_stopped") == []


async def test_one_large_append_holds_as_many_turns_as_were_spoken(model: Model) -> None:
    async with model.talking() as talk:
        await talk.phone(silence_duration_ms=200, create_response=False)

        turns = (tone(400) + silence(700)) * 3
        await talk.append(turns, piece_ms=5000)
        await talk.update()

    starts = [e["audio_start_ms"] for e in talk.of("input_audio_buffer.speech_started")]
    assert starts == [0, 800, 1900]
    assert len(talk.of("input_audio_buffer.committed")) == 3


@pytest.mark.parametrize("piece_ms", [7, 20, 10_000])
async def test_size_of_the_pieces_changes_no_position(model: Model, piece_ms: int) -> None:
    """A turn begins no earlier than the last one ended, also where both came in one piece."""
    async with model.talking() as talk:
        await talk.phone(silence_duration_ms=200, create_response=False)

        await talk.append((tone(400) + silence(300)) * 2 + silence(500), piece_ms)
        await talk.update()

    starts = [e["audio_start_ms"] for e in talk.of("input_audio_buffer.speech_started")]
    ends = [e["audio_end_ms"] for e in talk.of("input_audio_buffer.speech_stopped")]
    assert starts == [0, ends[0]]
    assert ends == [600, 1300]


async def test_turns_in_one_large_append_keep_their_sound(model: Model) -> None:
    """Though it holds more than the buffer keeps of audio that nobody commits."""
    async with model.talking() as talk:
        await talk.phone(create_response=False)
        await talk.append(spoken("person.hours") + silence(70_000), piece_ms=80_000)
        item_id = (await talk.until("input_audio_buffer.committed"))["item_id"]
        await talk.send("conversation.item.retrieve", item_id=item_id)

        item = (await talk.until("conversation.item.retrieved"))["item"]
        record = await model.record()

    assert item["content"][0]["audio"]
    assert record["transcripts"][0]["text"] == "When are you open?"


async def test_speech_that_was_cleared_away_begins_anew(model: Model) -> None:
    """What is committed afterwards is another item than the one that had been announced."""
    async with model.talking() as talk:
        await talk.phone()
        await talk.append(tone(500))
        announced = (await talk.until("input_audio_buffer.speech_started"))["item_id"]
        await talk.send("input_audio_buffer.clear")
        await talk.append(silence(200))
        await talk.send("input_audio_buffer.commit")

        committed = await talk.until("input_audio_buffer.committed")

    assert committed["item_id"] != announced


async def test_detector_alone_neither_answers_nor_interrupts_when_told_so(model: Model) -> None:
    await model.script({"say": "I speak for quite a while now.", "pace": 1.0})
    async with model.talking() as talk:
        await talk.phone(create_response=False, interrupt_response=False)
        await talk.send("response.create")
        await talk.until("response.output_audio.delta")

        await talk.say("person.hello")
        await talk.until("input_audio_buffer.committed")
        done = await talk.until("response.done")

    assert done["response"]["status"] == "completed"
    assert len(talk.of("response.created")) == 1


async def test_speech_cuts_the_response_short(model: Model) -> None:
    """[D13] `turn_detected`; nothing of that response follows."""
    await model.script({"say": "I speak for quite a while now.", "pace": 1.0})
    async with model.talking() as talk:
        await talk.phone()
        await talk.send("response.create")
        await talk.until("response.output_audio.delta")
        talk.new()

        await talk.say("person.wait")
        cancelled = await talk.until("response.done")
        answer = await talk.until("response.done")

    response = cancelled["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["output"][0]["status"] == "incomplete"
    assert answer["response"]["status"] == "completed"
    after = talk.events[talk.events.index(cancelled) + 1 :]
    assert not [e for e in after if e.get("response_id") == response["id"]]


async def test_turn_spoken_over_a_response_that_may_not_be_cut_gets_an_error(model: Model) -> None:
    await model.script({"say": "I speak for quite a while now.", "pace": 0.5})
    async with model.talking() as talk:
        await talk.phone(interrupt_response=False)
        await talk.send("response.create")
        await talk.until("response.output_audio.delta")

        await talk.say("person.hello")
        error = await talk.error()

    assert error["code"] == "conversation_already_has_active_response"
    assert error["event_id"] is None


async def test_client_may_commit_and_ask_by_hand(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(audio={"input": {"format": {"type": PCMU}, "turn_detection": None}})

        await talk.append(spoken("person.robot"))
        await talk.send("input_audio_buffer.commit")
        await talk.until("input_audio_buffer.committed")
        await talk.send("response.create")
        said = await talk.until("response.output_audio_transcript.done")

    assert said["transcript"] == "Yes, I am an AI assistant."
    assert talk.of("input_audio_buffer.speech_started") == []


async def test_commit_needs_a_tenth_of_a_second(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(audio={"input": {"format": {"type": PCMU}, "turn_detection": None}})
        await talk.append(silence(99), piece_ms=99)
        await talk.send("input_audio_buffer.commit", event_id="c")

        error = await talk.error()

    assert error["code"] == "input_audio_buffer_commit_empty"
    assert "at least 100ms" in error["message"]
    assert "99.00ms" in error["message"]


async def test_cleared_audio_is_gone(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(audio={"input": {"format": {"type": PCMU}, "turn_detection": None}})
        await talk.append(silence(500))
        await talk.send("input_audio_buffer.clear")
        await talk.until("input_audio_buffer.cleared")
        await talk.send("input_audio_buffer.commit")

        error = await talk.error()

    assert "0.00ms" in error["message"]


async def test_long_silence_makes_the_model_ask(fast_model: Model) -> None:
    """The timeout counts from the end of playback; the silence becomes an item of its own."""
    async with fast_model.talking() as talk:
        await talk.phone(idle_timeout_ms=5000)
        await talk.send("response.create")
        await talk.until("response.done")
        await talk.append(silence(8000), piece_ms=1000)

        triggered = await talk.until("input_audio_buffer.timeout_triggered")
        committed = await talk.until("input_audio_buffer.committed")
        said = await talk.until("response.output_audio_transcript.done")

    assert triggered["audio_end_ms"] - triggered["audio_start_ms"] == pytest.approx(5000, abs=600)
    assert committed["item_id"] == triggered["item_id"]
    assert said["transcript"] == "Are you still there?"


@pytest.mark.parametrize("when", ["before", "during", "after"])
async def test_transcript_comes_before_during_or_after_the_response(
    model: Model, when: str
) -> None:
    """[D16] It is a separate model with a pace of its own."""
    await model.control("PUT", "settings", {"transcription": when})
    async with model.talking() as talk:
        await talk.update(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
        await talk.phone()

        await talk.say("person.explain")
        await talk.until("rate_limits.updated")

    kinds = _kinds(talk.events)
    written = kinds.index("conversation.item.input_audio_transcription.completed")
    created, done = kinds.index("response.created"), kinds.index("response.done")
    place = "before" if written < created else "after" if written > done else "during"
    assert place == when
    completed = talk.of("conversation.item.input_audio_transcription.completed")[0]
    assert completed["transcript"] == "Can you explain that to me?"
    deltas = talk.of("conversation.item.input_audio_transcription.delta")
    assert "".join(d["delta"] for d in deltas) == completed["transcript"]


@pytest.mark.parametrize(
    ("transcriber", "kind"), [("gpt-transcribe", "duration"), ("gpt-4o-transcribe", "tokens")]
)
async def test_transcription_is_billed_as_its_model_is(
    model: Model, transcriber: str, kind: str
) -> None:
    async with model.talking() as talk:
        await talk.update(audio={"input": {"transcription": {"model": transcriber}}})
        await talk.phone(create_response=False)

        await talk.say("person.goodbye")
        completed = await talk.until("conversation.item.input_audio_transcription.completed")

    assert completed["usage"]["type"] == kind


async def test_transcription_can_fail_or_never_come(model: Model) -> None:
    """[D16] The item is named; the conversation goes on."""
    model.state.add_fault("openai.transcription", "failed")
    async with model.talking() as talk:
        await talk.update(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
        await talk.phone(create_response=False)

        await talk.say("person.goodbye")
        failed = await talk.until("conversation.item.input_audio_transcription.failed")

    assert failed["item_id"] == talk.of("input_audio_buffer.committed")[0]["item_id"]
    assert failed["error"]["code"] == "audio_unintelligible"


async def test_no_transcript_comes_unless_it_was_asked_for(model: Model) -> None:
    async with model.talking() as talk:
        await talk.phone()

        await talk.say("person.hello")
        await talk.until("rate_limits.updated")

    assert not [k for k in _kinds(talk.events) if "transcription" in k]


async def test_unknown_sound_is_unintelligible(model: Model) -> None:
    async with model.talking() as talk:
        await talk.update(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
        await talk.phone()

        await talk.append(tone(700) + silence(800))
        completed = await talk.until("conversation.item.input_audio_transcription.completed")
        said = await talk.until("response.output_audio_transcript.done")

    assert completed["transcript"] == "(unintelligible)"
    assert said["transcript"] == "Sorry, could you say that again?"


async def test_semantic_vad_waits_for_a_sentence_that_broke_off(model: Model) -> None:
    whole = spoken("person.thinks")
    async with model.talking() as talk:
        await talk.update(
            audio={
                "input": {
                    "format": {"type": PCMU},
                    "turn_detection": {
                        "type": "semantic_vad",
                        "eagerness": "high",
                        "create_response": False,
                    },
                }
            }
        )

        await talk.append(whole[: len(whole) * 6 // 10] + silence(1500))
        await talk.update()
        patient = list(talk.of("input_audio_buffer.speech_stopped"))
        await talk.append(silence(1000) + whole + silence(700))
        await talk.update()

    assert patient == []
    assert len(talk.of("input_audio_buffer.speech_stopped")) == 2


async def test_item_comes_back_with_its_sound_however_large(model: Model) -> None:
    """[D9] Half a minute of PCM comes back as one message of several megabytes."""
    async with model.talking() as talk:
        await talk.update(audio={"input": {"turn_detection": None}})
        await talk.append(silence(30_000, PCM), piece_ms=5000)
        await talk.send("input_audio_buffer.commit")
        item_id = (await talk.until("input_audio_buffer.committed"))["item_id"]
        await talk.send("conversation.item.retrieve", item_id=item_id)

        item = (await talk.until("conversation.item.retrieved"))["item"]

    assert len(item["content"][0]["audio"]) == 30_000 * 48 * 4 // 3
