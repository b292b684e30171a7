"""From records to figures: what is late, what is lost, and what a filter only shifts."""

from __future__ import annotations

import pytest

from bench import measure, script
from bench.measure import Window
from bench.records import ModelCall, PhoneCall, Reply
from bench.script import PCM, PCMU

FRAMES = 400
ALL = Window(0.0, 1e9)


def _phone() -> PhoneCall:
    sent_at = [10 + frame * 0.02 for frame in range(FRAMES)]
    return PhoneCall("call-0001", started_at=9.9, sent_at=sent_at)


def _model(
    *, delay_s: float = 0.005, filter_ms: float = 0.0, audio: str = PCMU, without: range = range(0)
) -> ModelCall:
    """A model that hears each frame `delay_s` after it was sent, but for the frames `without`."""
    per_ms = script.BYTES_PER_MS[audio]
    kept = [frame for frame in range(FRAMES) if frame not in without]
    place = {frame: n * script.FRAME_MS for n, frame in enumerate(kept)}
    pulses = [frame for frame in script.pulse_frames(FRAMES) if frame in place]
    return ModelCall(
        "call-0001",
        audio,
        appended_at=[10 + frame * 0.02 + delay_s for frame in kept],
        appended_bytes=[(n + 1) * script.FRAME_MS * per_ms for n in range(len(kept))],
        pulses=[round((place[frame] + filter_ms) * per_ms) for frame in pulses],
    )


# --- Up -----------------------------------------------------------------------------------------
def test_a_frame_is_as_late_as_its_last_byte_and_the_filter_together() -> None:
    figures = measure.uplink(_phone(), _model(audio=PCM, filter_ms=1.5), ALL)

    assert figures.up_filter_ms == pytest.approx([1.5])
    assert figures.up == pytest.approx([0.0065] * FRAMES)
    assert (figures.lost_up_ms, figures.lost_at_start_ms) == (0, 0)


def test_frames_that_vanish_in_between_are_lost_and_do_not_make_the_others_late() -> None:
    figures = measure.uplink(_phone(), _model(without=range(150, 153)), ALL)

    assert figures.lost_up_ms == pytest.approx(60)
    assert figures.up[200:] == pytest.approx([0.005] * len(figures.up[200:]))


def test_frames_that_vanish_before_the_model_listens_are_lost_at_the_start() -> None:
    figures = measure.uplink(_phone(), _model(without=range(60)), ALL)

    assert figures.lost_at_start_ms == 1200
    assert figures.lost_up_ms == 0
    assert figures.up[-1] == pytest.approx(0.005)


def test_a_lost_pulse_is_lost_audio_too() -> None:
    pulse = script.pulse_frames(FRAMES)[6]

    figures = measure.uplink(_phone(), _model(without=range(pulse - 2, pulse + 4)), ALL)

    assert figures.lost_up_ms == pytest.approx(120)


def test_audio_that_never_arrives_is_lost_unless_it_may_still_be_on_its_way() -> None:
    model = _model()
    del model.appended_at[-75:], model.appended_bytes[-75:]
    end = 10 + FRAMES * 0.02

    figures = measure.uplink(_phone(), model, Window(0.0, end))

    # 1.5 s are missing; the last second may yet come.
    assert figures.lost_up_ms == pytest.approx(500, abs=script.FRAME_MS)


def test_audio_that_nobody_recognises_is_a_fault() -> None:
    model = _model()
    model.pulses = model.pulses[:2]

    assert measure.uplink(_phone(), model, ALL).faults


# --- Down ---------------------------------------------------------------------------------------
def _reply(start: float, *, cut_at: float | None = None) -> Reply:
    return Reply(
        1000,
        sent_at=[start, start + 0.05, start + 0.1],
        ends_ms=[250, 600, 1000],
        is_whole=True,
        cut_at=cut_at,
    )


def _heard(*replies: tuple[float, list[int]]) -> PhoneCall:
    """A phone that is given, of each reply that began at a time, so many bytes every 50 ms."""
    call = _phone()
    count = 0
    for start, sizes in replies:
        call.heads.append(count)
        for i, size in enumerate(sizes):
            count += size
            call.media_at.append(start + 0.002 + i * 0.05)
            call.media_bytes.append(count)
    return call


def test_a_delta_has_arrived_when_its_whole_frames_have() -> None:
    # The first delta ends amid a frame, which comes with the second.
    phone = _heard((20.0, [240 * 8, 360 * 8, 400 * 8]))

    figures = measure.downlink(phone, ModelCall("", PCMU, replies=[_reply(20.0)]), ALL)

    assert figures.down == pytest.approx([0.002] * 3)
    assert figures.reply_begins == pytest.approx([0.002])
    assert figures.first_audio == pytest.approx([20.002 - 9.9])
    assert (figures.lost_down_ms, figures.gaps_ms) == (0, 0)


def test_the_end_of_a_reply_that_does_not_come_is_lost() -> None:
    phone = _heard((20.0, [240 * 8, 360 * 8]), (25.0, [8000]))
    model = ModelCall("", PCMU, replies=[_reply(20.0), _reply(25.0)])

    assert measure.downlink(phone, model, ALL).lost_down_ms == 400


def test_a_reply_that_is_never_heard_is_lost() -> None:
    phone = _heard((20.0, [8000]), (30.0, [8000]))
    model = ModelCall("", PCMU, replies=[_reply(20.0), _reply(25.0), _reply(30.0)])

    assert measure.downlink(phone, model, ALL).lost_down_ms == 1000


def test_audio_that_comes_after_the_queue_ran_dry_leaves_a_gap() -> None:
    phone = _heard((20.0, [240 * 8, 360 * 8, 400 * 8]))
    phone.media_at[1] = 20.002 + 0.3

    figures = measure.downlink(phone, ModelCall("", PCMU, replies=[_reply(20.0)]), ALL)

    assert figures.gaps_ms == pytest.approx(60)


def test_barge_in_is_timed_to_the_clear_that_follows_it() -> None:
    phone = _heard((20.0, [8000]), (25.0, [8000]))
    phone.cleared_at = [19.0, 20.51]
    model = ModelCall("", PCMU, replies=[_reply(20.0, cut_at=20.5), _reply(25.0, cut_at=25.5)])

    figures = measure.downlink(phone, model, ALL)

    assert figures.barge_in == pytest.approx([0.01])
    assert figures.unstopped == 1


def test_only_what_was_sent_within_the_window_counts() -> None:
    phone = _heard((20.0, [8000]), (25.0, [8000]))
    model = ModelCall("", PCMU, replies=[_reply(20.0), _reply(25.0)])

    assert len(measure.downlink(phone, model, Window(24.0, 26.0)).down) == 3


def test_a_call_without_a_session_is_a_fault_of_the_run() -> None:
    figures = measure.measure({"call-0001": _phone()}, {}, ALL)

    assert figures.faults == ["call-0001: no session at the model"]
