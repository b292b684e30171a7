"""The phone's buffer: the judge of what was heard, to the frame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sandbox.twilio.playback import LIMIT_BYTES, Playback

LOUD = b"\x10" * 160


def _run(playback: Playback, start: int, count: int) -> list[str]:
    """Play `count` frames, as the line does; returns the marks echoed on the way."""
    echoed = []
    for frame in range(start, start + count):
        echoed += playback.due(frame)
        playback.pull(frame)
    return echoed


def test_mark_returns_exactly_when_its_audio_has_been_played() -> None:
    """Ten frames queued at frame 3 are over when frame 13 begins."""
    playback = Playback()
    playback.media(LOUD * 10)
    is_at_once = playback.mark("m", 3)

    before = _run(playback, 3, 10)
    after = playback.due(13)

    assert (is_at_once, before, after) == (False, [], ["m"])
    assert (playback.marks[0].sent_ms, playback.marks[0].echoed_ms) == (60, 260)


def test_mark_on_an_empty_queue_returns_at_once() -> None:
    """Nothing queued, nothing playing: no wait."""
    playback = Playback()

    assert playback.mark("m", 7)


def test_mark_waits_for_the_frame_that_is_still_sounding() -> None:
    """The queue is empty, but its last frame has not reached the ear."""
    playback = Playback()
    playback.media(LOUD)
    playback.pull(0)

    assert not playback.mark("m", 1)
    assert playback.due(1) == ["m"]


def test_clear_drops_what_was_not_played_and_returns_every_mark() -> None:
    """[C22] Of ten frames four were played; the rest is gone, and both marks are back."""
    playback = Playback()
    playback.media(LOUD * 2)
    playback.mark("played", 0)
    playback.media(LOUD * 8)
    playback.mark("cut", 0)
    echoed = _run(playback, 0, 4)

    flushed = playback.clear(4)

    assert (echoed, flushed) == (["played"], ["cut"])
    assert [(m.name, m.flushed) for m in playback.marks] == [("played", False), ("cut", True)]
    assert (playback.clears[0].at_ms, playback.clears[0].dropped_ms) == (80, 120)
    assert playback.heard_bytes == 4 * 160
    assert playback.pull(4) == b"\xff" * 160


def test_spans_are_named_after_the_mark_that_ends_them() -> None:
    """Audio without a mark has no name; a pause in between separates."""
    playback = Playback()
    playback.media(LOUD * 2)
    playback.mark("a", 0)
    _run(playback, 0, 5)
    playback.media(LOUD)
    _run(playback, 5, 3)

    spans = [(s.name, s.start_ms, s.end_ms) for s in playback.spans]

    assert spans == [("a", 0, 40), (None, 100, 120)]
    assert playback.segments() == [(0, 40), (100, 120)]


def test_a_frame_that_is_not_full_is_filled_with_silence() -> None:
    """80 bytes are 10 ms of sound and 10 ms of nothing."""
    playback = Playback()
    playback.media(LOUD[:80])

    assert playback.pull(0) == LOUD[:80] + b"\xff" * 80
    assert playback.spans[0].end_ms == 10


def test_more_than_ten_minutes_are_thrown_away() -> None:
    """31931: the queue holds ten minutes and not a byte more."""
    playback = Playback()
    assert playback.media(bytes(LIMIT_BYTES))

    assert not playback.media(LOUD)
    assert playback.discarded_bytes == 160
    assert playback.queued_ms == 600_000


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("media"), st.integers(1, 900)),
            st.tuples(st.just("mark"), st.just(0)),
            st.tuples(st.just("clear"), st.just(0)),
            st.tuples(st.just("play"), st.integers(1, 12)),
        ),
        max_size=60,
    )
)
def test_every_byte_is_heard_dropped_or_waiting_and_every_mark_returns_once(
    steps: list[tuple[str, int]],
) -> None:
    """[C23] Whatever the order of media, marks and clears."""
    playback, frame, sent, names, echoed = Playback(), 0, 0, 0, []

    for verb, amount in steps:
        if verb == "media":
            playback.media(b"\x10" * amount)
            sent += amount
        elif verb == "mark":
            names += 1
            if playback.mark(str(names), frame):
                echoed.append(str(names))
        elif verb == "clear":
            echoed += playback.clear(frame)
        else:
            echoed += _run(playback, frame, amount)
            frame += amount
    dropped = sum(clear.dropped_ms for clear in playback.clears) * 8
    waiting = playback.queued_ms * 8
    echoed += _run(playback, frame, 60 * 900 // 160 + 60)

    assert playback.heard_bytes + dropped == sent
    assert waiting <= sent
    assert echoed == [str(n + 1) for n in range(names)]
    assert sum(b - a for a, b in playback.segments()) * 8 == playback.heard_bytes
