"""When things happen, with a clock of our own: pace, bursts, waits and limits."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from sandbox.openai.audio import PCM, PCMU, duration_ms
from sandbox.openai.behaviour import Behaviour
from sandbox.openai.effects import Effect, HangUp, Send
from sandbox.openai.replies import Pace, reply_of
from sandbox.openai.session import Session
from sandbox.openai.state import State
from tests.sandbox.openai.talk import silence, tone

Event = dict[str, Any]
TEXT = "A sentence of forty characters or there."
TEXT_MS = 65 * len(TEXT)


class Played:
    """A session whose time passes only when told; keeps (second, event) of all it sends."""

    def __init__(self, *responses: Event, **behaviour: Any) -> None:
        state = State()
        state.script({"responses": list(responses)})
        self.now = 100.0
        self.heard: list[tuple[float, Event]] = []
        self.hung_up_at: float | None = None
        self.session = Session(
            id="sess_test",
            model="gpt-realtime-2.1",
            mind=state,
            behaviour=Behaviour(**behaviour),
            now=self.now,
            unix_now=1_000_000,
        )
        self._keep(self.now, self.session.open(self.now))

    def send(self, type: str, **members: Any) -> None:
        """Send an event now."""
        text = json.dumps({"type": type, **members})
        self._keep(self.now, self.session.receive_text(text, self.now))

    def append(self, audio: bytes) -> None:
        """Send audio now."""
        self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    def wait(self, seconds: float) -> None:
        """Let time pass, waking the session whenever it wants to be woken."""
        end = self.now + seconds
        while (due := self.session.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self._keep(self.now, self.session.tick(self.now))
        self.now = end

    def when(self, type: str) -> list[float]:
        """Seconds since the beginning at which events of this type were sent."""
        return [round(at - 100.0, 3) for at, e in self.heard if e["type"] == type]

    def _keep(self, at: float, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.heard.append((at, effect.event))
            elif isinstance(effect, HangUp):
                self.hung_up_at = at


def test_first_sound_comes_after_the_time_that_was_set() -> None:
    played = Played({"say": TEXT, "first_byte_ms": 700})

    played.send("response.create")
    played.wait(5)

    assert played.when("response.created") == [0.0]
    assert played.when("response.output_item.added") == [0.7]
    assert played.when("response.output_audio.delta")[0] == 0.7


@pytest.mark.parametrize("pace", [1.0, 5.0, 20.0])
def test_audio_is_sent_so_many_times_faster_than_it_plays(pace: float) -> None:
    """[D12] The last piece has come when the whole would take its length divided by the pace."""
    played = Played({"say": TEXT, "first_byte_ms": 0, "pace": pace, "burst_ms": 10})

    played.send("response.create")
    played.wait(10)

    (done,) = played.when("response.done")
    assert TEXT_MS / 1000 / pace - 0.45 <= done <= TEXT_MS / 1000 / pace


def test_pieces_come_in_bursts() -> None:
    played = Played({"say": TEXT, "first_byte_ms": 0, "pace": 4.0, "burst_ms": 200})

    played.send("response.create")
    played.wait(10)

    times = played.when("response.output_audio.delta")
    assert sorted(set(times)) == [0.0, 0.2, 0.4, 0.6]
    assert len(times) > 8


def test_no_more_audio_has_left_at_any_moment_than_the_pace_allows() -> None:
    played = Played({"say": TEXT, "first_byte_ms": 0, "pace": 2.0, "delta_ms": [40, 60]})

    played.send("response.create")
    played.wait(10)

    sent_ms = 0.0
    for at, event in played.heard:
        if event["type"] == "response.output_audio.delta":
            assert sent_ms <= (at - 100.0 + 0.1) * 2000
            sent_ms += duration_ms(len(base64.b64decode(event["delta"])), PCM)
    assert sent_ms == TEXT_MS


def test_late_tick_sends_everything_that_was_due() -> None:
    """A busy machine loses time, not events."""
    played = Played({"say": TEXT})
    played.send("response.create")

    played.now += 60
    played._keep(played.now, played.session.tick(played.now))

    assert len(played.when("response.done")) == 1
    assert len(played.when("rate_limits.updated")) == 1


def test_response_can_pause_and_go_on() -> None:
    """[D6] A stall with an end."""
    stall = {"after_ms": 500, "for_ms": 4000}
    played = Played({"say": TEXT, "first_byte_ms": 0, "pace": 10.0, "stall": stall})

    played.send("response.create")
    played.wait(20)

    times = played.when("response.output_audio.delta")
    assert max(b - a for a, b in pairwise(times)) >= 4.0
    assert played.heard[-2][1]["response"]["status"] == "completed"


def test_rate_limits_come_43_ms_after_the_response() -> None:
    played = Played({"say": TEXT})

    played.send("response.create")
    played.wait(10)

    (done,), (limits,) = played.when("response.done"), played.when("rate_limits.updated")
    assert limits - done == pytest.approx(0.043)


def _on_the_phone(played: Played, **detection: Any) -> None:
    audio = {
        "input": {
            "format": {"type": PCMU},
            "turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000, **detection},
        }
    }
    played.send("session.update", session={"type": "realtime", "audio": audio})


def _first(played: Played) -> float:
    return played.when("input_audio_buffer.timeout_triggered")[0]


def test_idle_timeout_counts_from_the_end_of_playback() -> None:
    """Not from `response.done`, which comes long before."""
    played = Played({"say": TEXT, "first_byte_ms": 0, "pace": 10.0})
    _on_the_phone(played)

    played.send("response.create")
    played.wait(30)

    (done, *_) = played.when("response.done")
    assert _first(played) == pytest.approx(done + TEXT_MS / 1000 + 5.0)


def test_speech_stops_the_idle_clock() -> None:
    played = Played({"say": TEXT}, {"say": TEXT})
    _on_the_phone(played, create_response=False)
    played.send("response.create")
    played.wait(5)

    played.append(tone(500) + silence(800))
    played.wait(60)

    assert played.when("input_audio_buffer.timeout_triggered") == []


@pytest.mark.parametrize("interrupts", [True, False])
def test_nobody_is_asked_whether_they_are_there_while_they_speak(interrupts: bool) -> None:
    """Also when their speech cut a response, or outlasted one."""
    played = Played({"say": TEXT, "pace": 2.0})
    _on_the_phone(played, create_response=False, interrupt_response=interrupts)
    played.send("response.create")
    played.wait(1)

    played.append(tone(500))
    played.wait(30)
    played.append(silence(800))
    played.wait(30)

    assert played.when("input_audio_buffer.speech_stopped") == [31.0]
    assert played.when("input_audio_buffer.timeout_triggered") == []


@pytest.mark.parametrize(
    "prepare",
    [
        lambda played: None,
        lambda played: played.send("response.create"),
    ],
    ids=["idle", "speaking"],
)
def test_session_ends_when_its_time_is_up(prepare: Callable[[Played], None]) -> None:
    """[D7] Whatever it is doing."""
    played = Played({"say": TEXT, "pace": 0.01}, session_s=60.0)

    prepare(played)
    played.wait(100)

    assert played.hung_up_at == 160.0
    assert played.heard[-1][1]["error"]["code"] == "session_expired"
    assert played.session.deadline is None


def test_nothing_is_answered_after_the_end() -> None:
    played = Played(session_s=60.0)
    played.wait(100)
    count = len(played.heard)

    played.send("response.create")

    assert len(played.heard) == count


def test_detector_needs_no_clock() -> None:
    """Audio that arrives all at once is judged by its own length."""
    played = Played()
    _on_the_phone(played)

    played.append(tone(500) + silence(800))

    assert len(played.when("input_audio_buffer.committed")) == 1


def test_ids_of_a_session_are_never_repeated() -> None:
    played = Played()

    played.send("response.create")
    played.wait(10)

    ids = [e["event_id"] for _, e in played.heard]
    assert len(ids) == len(set(ids))


def test_scripted_pace_builds_on_the_usual_one() -> None:
    usual = Pace(pace=3.0, first_byte_ms=100)

    reply = reply_of({"say": "Hi", "first_byte_ms": 900}, usual)

    assert (reply.pace.pace, reply.pace.first_byte_ms) == (3.0, 900)
