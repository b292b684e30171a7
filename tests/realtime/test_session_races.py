"""What happens at the same moment: speech, responses, errors, the end."""

from __future__ import annotations

import pytest

from calls.core.brief import AudioFormat, Opening, OpeningKind
from calls.core.lifecycle import EndReason
from realtime.core import media_streams, realtime_events
from tests.realtime.talk import Talk


def purposes(talk: Talk) -> list[str]:
    """What was asked of the model, in order."""
    creates = talk.sent("response.create")
    return [event["response"]["metadata"]["purpose"] for event in creates]


# -- the person speaks -----------------------------------------------------------------------------
def test_a_tools_result_waits_for_no_turn_of_its_own_once_the_person_speaks() -> None:
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.model(realtime_events.ToolCalled("resp_1", "c1", "weather", '{"city":"Rome"}'))
    talk.effects += talk.session.tool_finished("c1", "{}", talk.now)

    talk.speech()
    talk.done("resp_1", "cancelled", reason="turn_detected")

    assert purposes(talk) == []


def test_a_tool_that_finishes_into_speech_asks_for_nothing() -> None:
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.model(realtime_events.ToolCalled("resp_1", "c1", "weather", '{"city":"Rome"}'))
    talk.done("resp_1")
    talk.speech()

    talk.effects += talk.session.tool_finished("c1", '{"ok": true}', talk.now)

    assert purposes(talk) == []
    assert talk.sent("conversation.item.create")[-1]["item"]["output"] == '{"ok": true}'


def test_a_nudge_that_begins_into_speech_is_not_heard() -> None:
    talk = Talk(silence_s=10).opened()
    talk.wait(10.5)
    talk.speech()
    talk.take()

    talk.model(realtime_events.ResponseStarted("resp_1", "nudge"))
    talk.audio("resp_1", "item_1", 500)

    assert talk.phone() == []
    assert talk.sent("response.cancel")[0]["response_id"] == "resp_1"


def test_a_free_opening_that_loses_the_race_is_not_said_afterwards() -> None:
    talk = Talk().ready()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    code = "conversation_already_has_active_response"
    talk.model(realtime_events.ModelError("invalid_request_error", code, "", "ask-opening"))

    talk.done("resp_1")

    assert purposes(talk) == ["opening"]


def test_a_verbatim_opening_that_loses_the_race_is_said_afterwards() -> None:
    talk = Talk(opening=Opening(OpeningKind.VERBATIM, text="This is an AI.")).ready()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    code = "conversation_already_has_active_response"
    talk.model(realtime_events.ModelError("invalid_request_error", code, "", "ask-opening"))

    talk.done("resp_1")

    assert purposes(talk) == ["opening", "opening"]


def test_words_without_sound_were_not_heard() -> None:
    """[C22] The text comes before the first audio; then the recipient speaks."""
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.model(realtime_events.TextDelta("resp_1", "item_1", "Let me explain"))

    talk.speech()

    turn = talk.turn("item_1")
    assert (turn.heard_chars, turn.interrupted, turn.is_final) == (0, True, True)


@pytest.mark.parametrize("audio_format", list(AudioFormat))
def test_late_audio_counts_as_generated_and_so_not_as_heard(audio_format: AudioFormat) -> None:
    """[C22] What comes after the cut makes the heard part of the text smaller."""
    talk = Talk(audio_format=audio_format).opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.audio("resp_1", "item_1", 1000)
    talk.now += 0.5
    talk.speech()

    for _ in range(4):
        talk.audio("resp_1", "item_1", 1000)
    talk.model(realtime_events.TextDone("resp_1", "item_1", "word " * 40))

    turn = talk.turn("item_1")
    assert turn.generated_ms == 5000
    assert (turn.heard_chars or 0) < 25


def test_an_unfinished_item_of_which_all_was_heard_is_cut_all_the_same() -> None:
    """[C22] The model was still speaking: it must learn that nobody hears the rest."""
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.audio("resp_1", "item_1", 100)
    talk.play(*[m["mark"]["name"] for m in talk.phone() if m["event"] == "mark"])
    talk.now += 1.0

    talk.speech()

    (truncate,) = talk.sent("conversation.item.truncate")
    assert truncate["audio_end_ms"] == 100
    assert talk.turn("item_1").interrupted


def test_an_item_that_another_follows_is_whole() -> None:
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.audio("resp_1", "item_1", 210)
    talk.audio("resp_1", "item_2", 200)

    talk.play_all()

    assert talk.turn("item_1").is_final
    assert talk.turn("item_1").heard_ms == 210


# -- errors ----------------------------------------------------------------------------------------
def test_a_refused_request_is_sent_once_more_and_no_other_with_it() -> None:
    talk = Talk().ready()

    talk.model(realtime_events.ModelError("server_error", "", "Oops.", "ask-opening"))

    assert purposes(talk) == ["opening", "opening"]


def test_what_failed_is_what_is_tried_again() -> None:
    """The exact words of a disclosure are not replaced by anything."""
    talk = Talk(opening=Opening(OpeningKind.VERBATIM, text="This is an AI.")).ready()
    talk.model(realtime_events.ResponseStarted("resp_1", "opening"))

    talk.done("resp_1", "failed", error_code="server_error")

    first, second = talk.sent("response.create")
    assert second == first


def test_after_a_rate_limit_we_take_a_breath() -> None:
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))

    talk.done("resp_1", "failed", error_code="rate_limit_exceeded")
    talk.wait(0.8)
    assert purposes(talk) == []
    talk.wait(0.4)

    assert purposes(talk) == ["retry"]


def test_a_response_that_never_ends_is_not_excused_by_other_events() -> None:
    """[D17] Speech and transcripts may go on for long; the answer is still owed."""
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))

    for number in range(12):
        talk.wait(1.0)
        talk.model(realtime_events.Committed(f"user_{number}"))

    assert talk.reason() == EndReason.MODEL_FAILED


def test_audio_behind_the_end_of_its_item_is_confirmed_too() -> None:
    """[C23, D8] A goodbye in the wrong order is heard to its end, and the line is let go."""
    talk = Talk().opened()
    closing(talk, 100)
    talk.audio("resp_1", "item_1", 50)
    talk.done("resp_1")

    play_for(talk, 2)

    assert talk.reason() == EndReason.AGENT_ENDED
    assert talk.turn("item_1").heard_ms == 150


def test_nothing_of_a_response_follows_its_end() -> None:
    """[D8] What comes all the same would never be confirmed, and is not sent."""
    talk = Talk(silence_s=60).opened()
    talk.reply("resp_1", "item_1", 200)
    talk.play_all()

    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.audio("resp_1", "item_1", 200)
    talk.wait(15)

    assert talk.phone() == []
    assert talk.ending() is None


def test_the_results_of_several_tools_are_answered_together() -> None:
    """[D14] One request for all, when the last of them is there."""
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    for tool_call in ("c1", "c2"):
        talk.model(realtime_events.ToolCalled("resp_1", tool_call, "weather", '{"city":"Rome"}'))
    talk.done("resp_1")
    talk.take()

    talk.effects += talk.session.tool_finished("c1", "{}", talk.now)
    assert purposes(talk) == []
    talk.effects += talk.session.tool_finished("c2", "{}", talk.now)

    assert len(talk.sent("conversation.item.create")) == 2
    assert purposes(talk) == ["tool_result"]


def test_an_item_that_begins_after_the_person_has_is_forgotten_and_on_record() -> None:
    """[C22] Not a word of it was heard: the model is told so, once."""
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.speech()

    talk.audio("resp_1", "item_1", 200)
    talk.audio("resp_1", "item_1", 300)
    talk.model(realtime_events.TextDone("resp_1", "item_1", "Hello there."))
    talk.done("resp_1", "cancelled", reason="turn_detected")

    cuts = talk.sent("conversation.item.truncate")
    assert [(cut["item_id"], cut["audio_end_ms"]) for cut in cuts] == [("item_1", 0)]
    assert talk.phone() == []
    turn = talk.turn("item_1")
    assert (turn.heard_ms, turn.generated_ms, turn.heard_chars) == (0, 500, 0)
    assert (turn.text, turn.interrupted) == ("Hello there.", True)


def test_an_item_that_was_cut_is_told_of_once_whatever_follows() -> None:
    """[C22, D13]"""
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.audio("resp_1", "item_1", 400)
    talk.now += 0.2
    talk.speech()
    talk.audio("resp_1", "item_1", 300)

    (cut,) = talk.sent("conversation.item.truncate")
    assert cut["audio_end_ms"] == talk.turn("item_1").heard_ms


EXACT = Opening(OpeningKind.VERBATIM, text="This is Ada, an AI assistant.")


def test_exact_words_that_were_talked_over_before_they_sounded_are_said_afterwards() -> None:
    """Nobody heard them, and the model knows them from nowhere else."""
    talk = Talk(opening=EXACT).ready()
    talk.model(realtime_events.ResponseStarted("resp_1", "opening"))
    talk.speech()
    talk.done("resp_1", "cancelled", reason="turn_detected")
    talk.take()

    talk.wait(3.0)
    assert purposes(talk) == []
    talk.silence()
    talk.model(realtime_events.ResponseStarted("resp_2", ""))
    talk.wait(1.0)
    assert purposes(talk) == []
    talk.done("resp_2")

    (create,) = talk.sent("response.create")
    assert "This is Ada, an AI assistant." in create["response"]["instructions"]


def test_exact_words_of_which_something_was_heard_are_not_begun_again() -> None:
    talk = Talk(opening=EXACT).ready()
    talk.model(realtime_events.ResponseStarted("resp_1", "opening"))
    talk.audio("resp_1", "item_1", 400)
    talk.speech()
    talk.done("resp_1", "cancelled", reason="turn_detected")
    talk.silence()
    talk.take()

    talk.wait(3.0)

    assert purposes(talk) == []


# -- the end ---------------------------------------------------------------------------------------
def closing(talk: Talk, length_ms: int) -> None:
    """The agent says its last words and hangs up."""
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.audio("resp_1", "item_1", length_ms)
    talk.model(realtime_events.AudioDone("resp_1", "item_1"))
    talk.model(realtime_events.ToolCalled("resp_1", "c1", "end_call", "{}"))


def play_for(talk: Talk, seconds: float) -> None:
    """The phone plays and confirms, frames arrive, time passes."""
    begun, sent_ms, waiting = talk.now, 0, []
    for message in talk.phone():
        if message["event"] == "media":
            sent_ms += len(message["media"]["payload"]) * 3 // 4 // 8
        elif message["event"] == "mark":
            waiting.append((begun + sent_ms / 1000, message["mark"]["name"]))
    while talk.now < begun + seconds and talk.ending() is None:
        talk.wait(0.1)
        due = [name for at, name in waiting if at <= talk.now]
        waiting = [(at, name) for at, name in waiting if at > talk.now]
        talk.play(*due)


def test_a_long_goodbye_is_heard_to_its_end() -> None:
    talk = Talk().opened()
    closing(talk, 20_000)
    talk.done("resp_1")

    play_for(talk, 30)

    assert talk.turn("item_1").heard_ms == 20_000
    assert talk.reason() == EndReason.AGENT_ENDED


def test_when_time_is_up_the_agent_stops_for_its_goodbye() -> None:
    """[C20] What is queued does not push the goodbye out of the call."""
    talk = Talk(max_duration_s=60, silence_s=60).opened()
    talk.wait(58)
    talk.reply("resp_1", "item_1", 18_000)
    talk.take()

    talk.wait(3)

    assert [m["event"] for m in talk.phone()] == ["clear"]
    assert purposes(talk) == ["goodbye"]


def test_a_model_lost_in_its_goodbye_does_not_leave_the_line_open() -> None:
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.audio("resp_1", "item_1", 430)
    talk.model(realtime_events.ToolCalled("resp_1", "c1", "end_call", "{}"))

    talk.effects += talk.session.model_lost("closed with 1011", talk.now)
    play_for(talk, 2)

    assert talk.reason() == EndReason.AGENT_ENDED


@pytest.mark.parametrize("code", ["something_new", "session_expired"])
def test_an_error_does_not_cut_a_goodbye(code: str) -> None:
    talk = Talk().opened()
    closing(talk, 400)

    talk.model(realtime_events.ModelError("server_error", code, "No.", ""))
    talk.done("resp_1")
    play_for(talk, 2)

    assert talk.reason() == EndReason.AGENT_ENDED
    assert talk.turn("item_1").heard_ms == 400


def test_a_phone_that_dies_after_the_goodbye_is_not_called_back() -> None:
    talk = Talk().opened()
    closing(talk, 400)
    talk.done("resp_1")

    talk.wait(6, frames=False)

    assert talk.reason() == EndReason.AGENT_ENDED


def test_the_persons_last_words_are_waited_for() -> None:
    """[D16] A moment, not longer: they are often a goodbye."""
    talk = Talk().opened()
    talk.speech()
    talk.silence()
    talk.caller(media_streams.StreamStopped())
    assert talk.ending() is None

    talk.model(realtime_events.Transcribed("user_1", "Bye."))

    assert talk.turn("user_1").text == "Bye."
    assert talk.last_words().reason == EndReason.RECIPIENT_HUNG_UP


def test_last_words_that_never_come_hold_nothing_up() -> None:
    """[D16] The turn stays without words, and is closed."""
    talk = Talk().opened()
    talk.speech()
    talk.silence()
    talk.caller(media_streams.StreamStopped())

    talk.now += 0.9
    talk.effects += talk.session.tick(talk.now)

    assert talk.turn("user_1").is_final
    assert talk.ending() is not None


def test_a_tool_that_ends_while_closing_does_not_delay_the_goodbye() -> None:
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.model(realtime_events.ToolCalled("resp_1", "c1", "weather", '{"city":"Rome"}'))
    talk.model(realtime_events.ToolCalled("resp_1", "c2", "end_call", "{}"))

    talk.effects += talk.session.tool_finished("c1", "{}", talk.now)
    talk.done("resp_1")

    assert purposes(talk) == ["goodbye"]


# -- small hours -----------------------------------------------------------------------------------
def test_a_cough_that_nobody_answers_does_not_keep_the_line_open() -> None:
    listens = Opening(OpeningKind.LISTENS_FIRST, wait_s=3)
    talk = Talk(opening=listens, silence_s=5).ready()
    talk.speech()
    talk.silence()

    talk.wait(6)

    assert purposes(talk) == ["nudge"]


def test_keys_before_the_model_is_ready_reach_it() -> None:
    """[C24] Before the greeting too."""
    talk = Talk()
    talk.caller(media_streams.KeyPressed("9"))

    talk.ready()

    (item,) = talk.sent("conversation.item.create")
    assert "pressed the key 9" in item["item"]["content"][0]["text"]


def test_keys_while_the_agent_speaks_reach_the_model_at_once() -> None:
    """[C24] At any moment."""
    talk = Talk().opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.audio("resp_1", "item_1", 3000)

    talk.caller(media_streams.KeyPressed("1"))

    (item,) = talk.sent("conversation.item.create")
    assert "pressed the key 1" in item["item"]["content"][0]["text"]


def test_nobody_is_nudged_while_a_tool_runs() -> None:
    talk = Talk(silence_s=3).opened()
    talk.model(realtime_events.ResponseStarted("resp_1", ""))
    talk.model(realtime_events.ToolCalled("resp_1", "c1", "weather", '{"city":"Rome"}'))
    talk.done("resp_1")

    talk.wait(4)

    assert purposes(talk) == []


def test_a_transcription_that_overtakes_its_item_is_not_undone() -> None:
    talk = Talk().opened()
    talk.speech()
    talk.silence()
    talk.model(realtime_events.Transcribed("user_1", "Yes."))

    talk.model(realtime_events.Committed("user_1"))

    assert talk.turn("user_1").text == "Yes."


def test_stalls_of_the_line_do_not_shift_the_clock() -> None:
    """Silence that was filled in for frames that came after all is taken back."""
    talk = Talk().ready()
    talk.frame()
    talk.speech("user_0")
    for _ in range(5):
        stalled_at = talk.now
        talk.wait(0.8, frames=False)
        back = talk.now
        while stalled_at < back - 1e-9:
            stalled_at = min(stalled_at + 0.1, back)
            talk.now = stalled_at
            talk.frame(100)
        talk.now = back
        talk.wait(0.4)

    appended_ms = len(talk.appended()) // 8
    talk.model(realtime_events.SpeechStarted("user_1", appended_ms))

    assert abs(talk.turn("user_1").started_ms - int((talk.now - 100) * 1000)) <= 120


@pytest.mark.parametrize(
    "frame",
    [
        media_streams.CallerAudio(b"\x11" * 160, 99_999_999_999_999, 0),
        media_streams.CallerAudio(b"\x11" * 160, 120, 99_999_999),
    ],
)
def test_a_frame_from_nowhere_changes_nothing(frame: media_streams.CallerAudio) -> None:
    """[C9] An impossible time or number is ignored, and what follows is heard."""
    talk = Talk().ready()
    talk.wait(0.5)
    before = len(talk.appended())

    talk.caller(frame)
    talk.wait(0.5)

    assert len(talk.appended()) - before == 500 * 8
