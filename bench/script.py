"""What is said on every call, so that both ends know it without talking to each other.

The audio itself carries what is needed to find a position in it after any conversion. The person's
is silence with loud pulses at irregular intervals; each of the agent's replies begins with a loud
head and goes on softly. Times are milliseconds of audio.
"""

from __future__ import annotations

import audioop
import binascii
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count

FRAME_MS = 20
PHONE_BYTES_PER_MS = 8
PCM_BYTES_PER_MS = 48
PCM, PCMU = "audio/pcm", "audio/pcmu"
BYTES_PER_MS = {PCM: PCM_BYTES_PER_MS, PCMU: PHONE_BYTES_PER_MS}

LOUD, SOFT = 16_000, 2_000
# Between the two; a filter's ripple does not lift the soft part over it.
THRESHOLD = 8_000
_TONE_HZ = 1_000

PULSE_FRAMES = 2
HEAD_MS = 20


@dataclass(frozen=True, slots=True)
class Turn:
    """The person speaks, the agent answers; `cut_after_ms` of the answer the person barges in."""

    speech_ms: int
    reply_ms: int
    cut_after_ms: int | None = None


# One reply is heard to its end, one is talked over while it plays, one while it is generated.
TURNS = (Turn(1200, 4000), Turn(800, 5000, 1500), Turn(1000, 5000, 300))
OPENING = Turn(0, 2400)
# The person answers this long after the end of a reply.
PAUSE_MS = 500
# The model generates faster than real time, in deltas of any length.
SPEED = 8
DELTAS_MS = (100, 250, 400, 150, 300, 200)


def turns(first: int) -> Iterator[Turn]:
    """The conversation of a call: calls begin at different turns, so that they do not march."""
    return (TURNS[(first + i) % len(TURNS)] for i in count())


# --- The person's audio -------------------------------------------------------------------------
def _tone(length_ms: int, rate_hz: int, amplitude: int) -> bytes:
    """PCM16; it begins at a peak, so that its start can be told to a fraction of a millisecond."""
    step = 2 * math.pi * _TONE_HZ / rate_hz
    samples = length_ms * rate_hz // 1000
    return array("h", (round(amplitude * math.cos(step * n)) for n in range(samples))).tobytes()


def _base64(audio: bytes) -> str:
    return binascii.b2a_base64(audio, newline=False).decode("ascii")


SILENT_FRAME = _base64(b"\xff" * (FRAME_MS * PHONE_BYTES_PER_MS))
PULSE_FRAME = _base64(audioop.lin2ulaw(_tone(FRAME_MS, 8_000, LOUD), 2))


def pulse_frames(frames: int) -> list[int]:
    """The frames at which a pulse begins: never twice the same distance in a row."""
    starts, at, state = [], 10, 1
    while at < frames:
        starts.append(at)
        # A linear congruential generator: the same on both ends, and in every run.
        state = (state * 1_103_515_245 + 12_345) % 2**31
        at += 20 + state // 2**16 % 20
    return starts


# --- The agent's audio --------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a reply: base64 as the model sends it, its end, and when generation reaches it."""

    audio: str
    end_ms: int
    due_ms: float


@cache
def deltas(reply_ms: int, audio_format: str) -> tuple[Delta, ...]:
    """A whole reply in the deltas in which the model sends it."""
    rate_hz = 24_000 if audio_format == PCM else 8_000
    pcm = _tone(HEAD_MS, rate_hz, LOUD) + _tone(reply_ms - HEAD_MS, rate_hz, SOFT)
    audio = pcm if audio_format == PCM else audioop.lin2ulaw(pcm, 2)
    per_ms = BYTES_PER_MS[audio_format]
    made, start = [], 0
    for i in count():
        end = min(start + DELTAS_MS[i % len(DELTAS_MS)], reply_ms)
        made.append(Delta(_base64(audio[start * per_ms : end * per_ms]), end, start / SPEED))
        start = end
        if end == reply_ms:
            return tuple(made)
    raise AssertionError("unreachable")


class Listener:
    """Finds where loud audio begins in a stream, to the sample."""

    def __init__(self, audio_format: str, *, quiet_ms: int) -> None:
        self._is_ulaw = audio_format == PCMU
        self._quiet = quiet_ms * BYTES_PER_MS[audio_format]
        self._last_loud = -self._quiet - 1
        self.position = 0  # bytes heard
        self.onsets: list[int] = []  # in bytes

    def hear(self, audio: bytes) -> None:
        """The stream's next audio: mu-law, or PCM16 at 24 kHz in whole samples."""
        pcm = audioop.ulaw2lin(audio, 2) if self._is_ulaw else audio
        if audioop.max(pcm, 2) > THRESHOLD:
            self._search(pcm)
        self.position += len(audio)

    def _search(self, pcm: bytes) -> None:
        width = 1 if self._is_ulaw else 2
        for n, sample in enumerate(memoryview(pcm).cast("h")):
            if abs(sample) > THRESHOLD:
                at = self.position + n * width
                if at - self._last_loud > self._quiet:
                    self.onsets.append(at)
                self._last_loud = at
