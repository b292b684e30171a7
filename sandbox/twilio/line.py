"""The telephone line of an answered call: one clock, 50 frames a second, both directions.

At each tick the person lives through one frame and the phone plays one; both go onto the
recordings, and the person's goes out on the stream. The clock does not drift: a late tick is
followed at once by the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sandbox.people import Person
from sandbox.state import Clock
from sandbox.twilio.playback import Playback
from sandbox.twilio.recordings import Recording
from sandbox.twilio.ulaw import FRAME_MS, SILENCE

FRAME_S = FRAME_MS / 1000


class Listener(Protocol):
    """The stream that is open on the line, if there is one."""

    def hear(self, frame: int, audio: bytes) -> None: ...

    def digit(self, key: str) -> None: ...

    def echo(self, name: str) -> None: ...


@dataclass(slots=True)
class Output:
    """Something the phone played: a stream's audio, a sentence of `<Say>`, a file of `<Play>`."""

    source: str
    playback: Playback
    label: str = ""
    """The text of `<Say>`, the address of `<Play>`, the SID of a stream."""
    first_frame: int | None = None
    """For a stream: the frame of the call at which its clock began."""


class Line:
    """Connects a person with whatever the TwiML says."""

    def __init__(self, clock: Clock, person: Person, on_hang_up: Callable[[], None]) -> None:
        self.person = person
        self.frame = 0
        self.outputs: list[Output] = []
        self.recordings: list[Recording] = []
        self._clock = clock
        self._on_hang_up = on_hang_up
        self._output: Output | None = None
        self._listener: Listener | None = None
        self._played = SILENCE
        self._drained: asyncio.Event | None = None

    async def run(self) -> None:
        """Tick for as long as the call lasts (until cancelled, or the person hangs up)."""
        started = self._clock.now()
        while self._tick():
            await self._clock.sleep_until(started + self.frame * FRAME_S)
        self._on_hang_up()

    def open_stream(self, output: Output, listener: Listener) -> None:
        """From the next frame on, the stream hears the person, and the phone plays its queue."""
        output.first_frame = self.frame
        self.outputs.append(output)
        self._output, self._listener = output, listener

    def close_stream(self, listener: Listener) -> None:
        """Play nothing more of this stream."""
        if self._listener is listener:
            self._output = self._listener = None

    async def play(self, source: str, label: str, audio: bytes) -> None:
        """Play audio to its end."""
        output = Output(source, Playback(), label)
        output.playback.media(audio)
        output.playback.mark("end", self.frame)
        drained = self._drained = asyncio.Event()
        self.outputs.append(output)
        self._output = output
        try:
            await drained.wait()
        finally:
            if self._output is output:
                self._output = None
            output.playback.clear(self.frame)

    def _tick(self) -> bool:
        frame, output, listener = self.frame, self._output, self._listener
        due = output.playback.due(frame) if output else []
        if listener is not None:
            for name in due:
                listener.echo(name)
        elif due and self._drained is not None:
            self._drained.set()
        spoken = self.person.tick(self._played)
        if spoken.hangs_up:
            return False
        self._played = output.playback.pull(frame) if output else SILENCE
        for recording in self.recordings:
            recording.add(spoken.audio, self._played)
        self.frame += 1
        if listener is not None:
            if spoken.digit:
                listener.digit(spoken.digit)
            listener.hear(frame, spoken.audio)
        return True

    async def end_of_greeting(self, silence_s: float) -> str:
        """Wait for a machine's beep, or for so much silence after its words."""
        while self.person.beeped_at is None:
            if self.person.silent_frames * FRAME_S >= silence_s:
                return "machine_end_silence"
            await self._clock.sleep(FRAME_S)
        return "machine_end_beep"

    def ledger(
        self, stream: int | None = None, *, from_first_stream: bool = False
    ) -> dict[str, Any]:
        """What was played, marked, dropped and said, in ms.

        With `stream`, only what the n-th stream of the call played (0 is the first), on its
        clock; else what all streams played, on the clock of the first one or of the answer.
        """
        streams = [output for output in self.outputs if output.source == "stream"]
        chosen = streams if stream is None else streams[stream : stream + 1]
        on_stream = chosen and (stream is not None or from_first_stream)
        zero = (chosen[0].first_frame or 0) * FRAME_MS if on_stream else 0
        return {
            "clock": {"zero_ms_after_answer": zero, "now_ms": self.frame * FRAME_MS - zero},
            "streams": [
                {"sid": s.label, "start_ms": (s.first_frame or 0) * FRAME_MS - zero}
                for s in streams
            ],
            "played": [e for s in chosen for e in _with_gaps(s.playback, zero)],
            "marks": [e for s in chosen for e in _marks(s.playback, zero)],
            "clears": [
                {"at_ms": c.at_ms - zero, "dropped_ms": c.dropped_ms}
                for s in chosen
                for c in s.playback.clears
            ],
            "heard_ms_total": sum(s.playback.heard_bytes for s in chosen) / 8,
            "queued_ms": sum(s.playback.queued_ms for s in chosen),
            "agent_segments": [
                {"from_ms": a - zero, "to_ms": b - zero, "source": o.source, "text": o.label}
                for o in self.outputs
                for a, b in o.playback.segments()
            ],
            "person_segments": [
                {
                    "clip": s.clip,
                    "from_ms": s.start * FRAME_MS - zero,
                    "to_ms": s.end * FRAME_MS - zero,
                }
                for s in self.person.segments
            ],
        }


def _with_gaps(playback: Playback, zero: int) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for span in playback.spans:
        start, end = span.start_ms - zero, span.end_ms - zero
        if entries and entries[-1]["end_ms"] < start:
            gap = {"name_or_gap": "gap", "start_ms": entries[-1]["end_ms"], "end_ms": start}
            entries.append(gap)
        entries.append({"name_or_gap": span.name, "start_ms": start, "end_ms": end})
    return entries


def _marks(playback: Playback, zero: int) -> list[dict[str, Any]]:
    return [
        {
            "name": mark.name,
            "sent_ms": mark.sent_ms - zero,
            "echoed_ms": None if mark.echoed_ms is None else mark.echoed_ms - zero,
            "flushed": mark.flushed,
        }
        for mark in playback.marks
    ]
