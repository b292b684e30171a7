"""People: when they speak, listen, interrupt and leave, in frames of 20 ms."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.clips import find, load
from sandbox.people import KINDS, NUMBER_TABLE, People, Person, PersonError, behaviour_from
from sandbox.twilio import ulaw

LOUD = b"\x10" * 160
QUIET = ulaw.SILENCE


def _person(*script: dict[str, Any]) -> Person:
    return Person(behaviour_from({"kind": "talks", "script": list(script)}))


def _live(person: Person, heard: bytes, frames: int) -> int:
    """Live through frames of the same sound; returns after how many the person left, or 0."""
    for count in range(1, frames + 1):
        if person.tick(heard).hangs_up:
            return count
    return 0


def test_a_person_says_a_clip_from_its_first_to_its_last_frame() -> None:
    """The segment is as long as the clip, rounded up to a frame."""
    person = _person({"say": "person.yes"}, {"hang_up": True})

    left_at = _live(person, QUIET, 500)

    (segment,) = person.segments
    frames = -(-load()["person.yes"].duration_ms // 20)
    assert (segment.start, segment.end - segment.start) == (0, frames)
    assert left_at == frames + 1


def test_listening_ends_600_ms_after_the_agent_has_spoken() -> None:
    """Short pauses inside a sentence do not count."""
    person = _person({"wait_for_agent": True}, {"hang_up": True})

    during = _live(person, LOUD, 50) + _live(person, QUIET, 20) + _live(person, LOUD, 50)
    left_at = _live(person, QUIET, 100)

    assert (during, left_at) == (0, 30)


def test_silence_alone_is_no_agent() -> None:
    """Who hears nothing says hello, three times at most, then goes on."""
    person = _person(
        {"wait_for_agent": True, "timeout_s": 1.0, "else_say": "person.hello"}, {"hang_up": True}
    )

    left_at = _live(person, QUIET, 1000)

    assert [s.clip for s in person.segments] == ["person.hello"] * 3
    assert person.segments[0].start == 50
    assert left_at


@pytest.mark.parametrize("timeout_s", [0, 1.0])
def test_whoever_listens_lets_the_agent_finish(timeout_s: float) -> None:
    """However long it speaks, and also right after its last word, nobody says hello."""
    listen = {"wait_for_agent": True, "timeout_s": timeout_s, "else_say": "person.hello"}
    person = _person({"pause_s": 0.02}, listen, {"hang_up": True})

    during = _live(person, LOUD, 1020)
    left_at = _live(person, QUIET, 100)

    assert (during, left_at, person.segments) == (0, 30, [])


def test_a_person_interrupts_after_the_agent_has_spoken_for_a_while() -> None:
    """800 ms are 40 frames of the agent's voice."""
    person = _person({"say_over_agent": "person.wait", "after_ms": 800})

    _live(person, QUIET, 30)
    _live(person, LOUD, 200)

    assert person.segments[0].start == 30 + 40 - 1


def test_what_the_agent_said_during_the_interruption_is_no_answer_to_it() -> None:
    """The person then waits for new words."""
    person = _person(
        {"say_over_agent": "person.mhm", "after_ms": 200},
        {"wait_for_agent": True, "timeout_s": 100},
        {"hang_up": True},
    )
    _live(person, LOUD, 20)

    waited = _live(person, QUIET, 200)
    _live(person, LOUD, 10)
    left_at = _live(person, QUIET, 200)

    assert waited == 0
    assert left_at == 30


def test_keys_are_pressed_one_after_the_other() -> None:
    """With a fifth of a second in between."""
    person = _person({"press": "1#"})

    digits = [(n, s.digit) for n in range(40) if (s := person.tick(QUIET)).digit]

    assert digits == [(0, "1"), (11, "#")]


def test_a_person_can_be_told_to_do_something_else() -> None:
    """The script is left where it stands."""
    person = _person({"pause_s": 100})
    _live(person, QUIET, 10)

    person.do_instead(({"hang_up": True},))

    assert _live(person, QUIET, 5) == 1


def test_numbers_decide_who_answers() -> None:
    """By the last four digits; anybody else talks; the control API has the last word."""
    people = People()

    kinds = {people.at(f"+1415555{digits}").kind for digits in NUMBER_TABLE}
    people.put("+14155550101", {"kind": "busy"})

    assert kinds == set(KINDS)
    assert people.at("+442079460958").kind == "talks"
    assert people.at("+14155550101").kind == "busy"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "robot"}, "kind"),
        ({"ring": 3}, "ring"),
        ({"ring_s": -1}, "ring_s"),
        ({"ring_s": "3"}, "ring_s"),
        ({"ring_s": float("nan")}, "ring_s"),
        ({"refuse_code": float("inf")}, "refuse_code"),
        ({"answered_by": "dog"}, "answered_by"),
        ({"script": "hello"}, "script"),
        ({"script": [{"say": "person.unheard"}]}, "script[0].say"),
        ({"script": [{"pause_s": 1}, {"shout": 1}]}, "script[1]"),
        ({"script": [{"say": ["person.yes"]}]}, "script[0].say"),
        ({"script": [{"pause_s": "x"}]}, "pause_s"),
        ({"script": [{"pause_s": float("inf")}]}, "pause_s"),
        ({"script": [{"press": "1x"}]}, "script[0].press"),
        ({"script": [{"say": "person.yes", "loud": True}]}, "script[0].loud"),
        ({"script": [{"hang_up": True, "say": "person.yes"}]}, "script[0]"),
        ({"script": ["say"]}, "script[0]"),
    ],
)
def test_a_person_that_makes_no_sense_is_refused(body: dict[str, Any], field: str) -> None:
    """The text begins with the field."""
    with pytest.raises(PersonError) as refused:
        behaviour_from(body)

    assert str(refused.value).startswith(field)


def test_the_clips_are_complete_and_small() -> None:
    """Each speaker at its rate, each text found again, and no long waits in a demonstration."""
    clips = load()

    assert {c.rate_hz for c in clips.values() if c.speaker == "agent"} == {24000}
    assert {c.rate_hz for c in clips.values() if c.speaker == "person"} == {8000}
    assert all(find(c.text.upper(), c.speaker) == c for c in clips.values())
    assert sum(len(c.pcm) for c in clips.values()) < 2_000_000
    demonstration = (
        "agent.greeting", "person.yes_friday", "agent.confirmed", "person.thanks_goodbye",
        "agent.goodbye",
    )  # fmt: skip
    assert sum(clips[name].duration_ms for name in demonstration) < 9_000


def test_mu_law_survives_its_own_codec() -> None:
    """Every code but one means itself; the second zero becomes the first."""
    codes = bytes(range(256))

    assert ulaw.encode(ulaw.decode(codes)) == codes.replace(b"\x7f", b"\xff")


def test_mu_law_agrees_with_the_standard_library() -> None:
    """`audioop` is another author's table."""
    import audioop

    levels = ulaw.decode(bytes(range(256))).astype("<i2").tobytes()

    assert audioop.ulaw2lin(bytes(range(256)), 2) == levels
