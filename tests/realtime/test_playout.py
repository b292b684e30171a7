"""What was heard: by marks, by the clock between them, never more than was sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.playout import FIRST_MARK_MS, Cut, Piece, Playout


def ulaw(length_ms: int) -> bytes:
    return b"\x55" * (length_ms * 8)


def send(playout: Playout, item: str, length_ms: int, now: float) -> list[str]:
    pieces = playout.send(item, "resp", ulaw(length_ms), length_ms, now)
    return [piece.mark for piece in pieces if piece.mark]


def test_marks_are_sparse_first_soon_then_every_half_second_then_at_the_end() -> None:
    playout = Playout()

    pieces = playout.send("a", "resp", ulaw(1250), 1250, now=0.0)
    pieces += playout.complete("a", b"", now=0.0)

    marked_at = []
    position = 0
    for piece in pieces:
        position += len(piece.ulaw) // 8
        if piece.mark:
            marked_at.append(position)
    assert marked_at == [100, 600, 1100, 1260]


def test_frames_are_whole_and_the_tail_is_padded_with_silence() -> None:
    playout = Playout()

    pieces = playout.send("a", "resp", ulaw(30), 30, now=0.0)
    tail = playout.complete("a", b"\x55", now=0.0)

    assert pieces == [Piece(ulaw(20))]
    assert tail[0].ulaw == ulaw(10) + b"\x55" + b"\xff" * 79


def test_heard_is_the_last_mark_plus_the_clock() -> None:
    playout = Playout()
    first, *_ = send(playout, "a", 2000, now=10.0)

    playout.played(first, now=10.15)

    assert playout.cut(now=10.45) == [Cut("a", heard_ms=400, generated_ms=2000)]


def test_the_clock_never_passes_a_mark_that_has_not_come_back() -> None:
    playout = Playout()
    first, *_ = send(playout, "a", 2000, now=10.0)
    playout.played(first, now=10.1)

    cuts = playout.cut(now=19.0)

    assert cuts == [Cut("a", heard_ms=600, generated_ms=2000)]


def test_flushed_marks_never_count() -> None:
    """[C23] Marks that come back because of a clear prove nothing."""
    playout = Playout()
    marks = send(playout, "a", 2000, now=0.0)
    playout.cut(now=0.3)
    again = send(playout, "b", 2000, now=0.4)

    for mark in marks:
        playout.played(mark, now=0.41)

    assert not set(marks) & set(again)
    assert playout.cut(now=0.45) == [Cut("b", heard_ms=60, generated_ms=2000)]


def test_items_that_have_not_begun_get_nothing() -> None:
    playout = Playout()
    send(playout, "a", 500, now=0.0)
    playout.complete("a", b"", now=0.0)
    send(playout, "b", 500, now=0.0)

    cuts = playout.cut(now=0.05)

    assert [(cut.item_id, cut.heard_ms) for cut in cuts] == [("a", 60), ("b", 0)]


def test_an_item_heard_to_its_end_is_not_cut() -> None:
    playout = Playout()
    marks = send(playout, "a", 500, now=0.0)
    marks += [p.mark for p in playout.complete("a", b"", now=0.0) if p.mark]
    for mark in marks:
        playout.played(mark, now=0.55)

    finished = playout.finished(now=0.6)

    assert [item.item_id for item in finished] == ["a"]
    assert playout.is_proven_idle()
    assert playout.cut(now=0.7) == []


def test_a_mark_that_is_lost_is_passed_over() -> None:
    """[C23] A later receipt proves what an earlier one would have."""
    playout = Playout()
    first, second, *_ = send(playout, "a", 2000, now=0.0)

    begun = playout.played(second, now=0.7)

    assert [item.item_id for item in begun] == ["a"]
    assert playout.position_ms(0.7) == 600
    assert playout.played(first, now=0.8) == []


def test_audio_after_a_pause_starts_when_it_is_sent() -> None:
    playout = Playout()
    for mark in send(playout, "a", 100, now=0.0):
        playout.played(mark, now=0.1)
    send(playout, "b", 1000, now=5.0)

    cuts = playout.cut(now=5.06)

    assert cuts[-1] == Cut("b", heard_ms=60, generated_ms=1000)


def test_the_first_heard_moment_is_worked_back_from_the_first_mark() -> None:
    playout = Playout()
    first, *_ = send(playout, "a", 2000, now=1.0)

    (item,) = playout.played(first, now=1.0 + 0.05 + FIRST_MARK_MS / 1000)

    assert item.first_heard_at == pytest.approx(1.05)


def test_a_mark_that_never_comes_back_is_overdue() -> None:
    """[C23] Bookkeeping notices a phone leg that no longer answers."""
    playout = Playout()
    send(playout, "a", 1000, now=0.0)

    assert playout.overdue_s(0.05) < 0
    assert playout.overdue_s(10.1) == pytest.approx(10.0)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 900)),
        st.tuples(st.just("play"), st.integers(1, 900)),
        st.tuples(st.just("complete"), st.just(0)),
        st.tuples(st.just("next item"), st.just(0)),
        st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("late marks"), st.just(0)),
    ),
    max_size=40,
)


@given(ACTIONS)
def test_whatever_happens_what_we_say_was_heard_is_what_was_played(
    actions: list[tuple[str, int]],
) -> None:
    """[C22, C23] Any interleaving of sends, marks and clears, against an ideal phone."""
    playout, phone = Playout(), IdealPhone()
    now, item = 0.0, 0
    flushed: list[str] = []
    for action, amount in actions:
        if action == "send":
            phone.take(playout.send(f"i{item}", f"r{item}", ulaw(amount), amount, now), f"i{item}")
        elif action == "complete":
            phone.take(playout.complete(f"i{item}", b"", now), f"i{item}")
        elif action == "next item":
            phone.take(playout.complete(f"i{item}", b"", now), f"i{item}")
            item += 1
        elif action == "play":
            now = phone.play(amount, now, playout)
        elif action == "late marks":
            for mark in flushed:
                playout.played(mark, now)
        else:
            cuts = {cut.item_id: cut for cut in playout.cut(now)}
            flushed = phone.clear()
            for item_id, cut in cuts.items():
                real = min(phone.heard.get(item_id, 0), cut.generated_ms)
                assert abs(cut.heard_ms - real) <= 20
                assert 0 <= cut.heard_ms <= cut.generated_ms
            item += 1


class IdealPhone:
    """Plays what it is given without delay, in steps of one frame."""

    def __init__(self) -> None:
        self.queue: list[tuple[str, bool]] = []  # an item's frame, or (mark, True)
        self.heard: dict[str, int] = {}

    def take(self, pieces: list[Piece], item_id: str) -> None:
        for piece in pieces:
            self.queue += [(item_id, False)] * (len(piece.ulaw) // 160)
            if piece.mark:
                self.queue.append((piece.mark, True))

    def play(self, length_ms: int, now: float, playout: Playout) -> float:
        self._echo(now, playout)
        for _ in range(length_ms // 20):
            now += 0.02
            if self.queue:
                item_id, _ = self.queue.pop(0)
                self.heard[item_id] = self.heard.get(item_id, 0) + 20
            self._echo(now, playout)
        return now

    def _echo(self, now: float, playout: Playout) -> None:
        while self.queue and self.queue[0][1]:
            playout.played(self.queue.pop(0)[0], now)

    def clear(self) -> list[str]:
        marks = [name for name, is_mark in self.queue if is_mark]
        self.queue.clear()
        return marks
