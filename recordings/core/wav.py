"""WAV files as Twilio makes them: RIFF, PCM, 16 bit, whose sizes may be wrong.

Source: Twilio, Recordings, "Fetch a recording's media file"; the RIFF format of Microsoft and IBM.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

SAMPLE_BYTES = 2
PEAK_STEPS = 1200
_PCM = 1
_EXTENSIBLE = 0xFFFE
_MOST_CHUNKS = 64
_BLOCK_FRAMES = 1 << 16
_FULL_SCALE = 32768

Samples = npt.NDArray[np.int16]


class NotWav(ValueError):
    """The bytes are no WAV file that can be played; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Wav:
    """What a WAV file holds: `frames` of `channels` samples each, from byte `data_at` on."""

    channels: int
    rate_hz: int
    data_at: int
    frames: int
    # What the header says of the data's length in bytes; wrong in files written as a stream.
    declared_bytes: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * SAMPLE_BYTES

    @property
    def data_bytes(self) -> int:
        return self.frames * self.frame_bytes

    @property
    def duration_ms(self) -> int:
        return self.frames * 1000 // self.rate_hz

    @property
    def is_cut_off(self) -> bool:
        """Whether the header promises more than there is, with a length that is meant."""
        is_meant = 0 < self.declared_bytes < 0x7FFF0000
        return is_meant and self.declared_bytes > self.data_bytes + self.frame_bytes - 1


def read(file: BinaryIO) -> Wav:
    """Read the header of a WAV file; its data reach to the end of the file, whatever it says.

    Raises:
        NotWav: it is something else, or in a coding that we do not play.
    """
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(12)
    if len(start) < 12 or start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise NotWav(f"not a WAV file: it begins with {_describe(start)}")
    coding: tuple[int, int] | None = None
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            raise NotWav("a WAV file without audio")
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            return _with_data(file, coding, length, size)
        if name == b"fmt ":
            coding = _read_format(file.read(min(length, 64)))
            length -= min(length, 64)
        file.seek(length + (length & 1), 1)
    raise NotWav("a WAV file with too many parts")


def mend_sizes(file: BinaryIO, wav: Wav) -> None:
    """Write the true sizes into the header, so that every player shows the true duration."""
    if wav.declared_bytes == wav.data_bytes:
        return
    end = wav.data_at + wav.data_bytes
    file.seek(4)
    file.write(struct.pack("<I", end - 8))
    file.seek(wav.data_at - 4)
    file.write(struct.pack("<I", wav.data_bytes))
    file.truncate(end)


def swap_channels(file: BinaryIO, wav: Wav) -> None:
    """Exchange left and right, in place.

    Raises:
        ValueError: there are not two channels.
    """
    if wav.channels != 2:
        raise ValueError("only two channels can be swapped")
    for at, block in _blocks(file, wav):
        file.seek(at)
        file.write(np.ascontiguousarray(block[:, ::-1]).tobytes())


def split(file: BinaryIO, wav: Wav) -> list[Samples]:
    """The samples of each channel."""
    blocks = [block for _, block in _blocks(file, wav)]
    if not blocks:
        return [np.zeros(0, np.int16) for _ in range(wav.channels)]
    together = np.concatenate(blocks)
    return [together[:, channel] for channel in range(wav.channels)]


def peaks(file: BinaryIO, wav: Wav, *, steps: int = PEAK_STEPS) -> list[list[int]]:
    """For each channel, the loudest sample of each step: 0 is silence, 100 is full scale.

    There are at most `steps`, all of the same length but the last. Nothing but true silence is 0.
    """
    step = step_frames(wav, steps=steps)
    loudest = np.zeros((-(-wav.frames // step), wav.channels), np.int32)
    frame = 0
    for _, block in _blocks(file, wav):
        index = (frame + np.arange(len(block))) // step
        starts = np.flatnonzero(np.diff(index, prepend=-1))
        highest = np.maximum.reduceat(np.abs(block.astype(np.int32)), starts)
        np.maximum.at(loudest, index[starts], highest)
        frame += len(block)
    # Rounded up: what can be heard can be seen.
    scaled = -(-loudest * 100 // _FULL_SCALE)
    return [[int(value) for value in scaled[:, channel]] for channel in range(wav.channels)]


def step_frames(wav: Wav, *, steps: int = PEAK_STEPS) -> int:
    """How many frames each step of `peaks` covers."""
    return max(1, -(-wav.frames // steps))


def loudest(file: BinaryIO, wav: Wav) -> int:
    """The largest magnitude of any sample, 0 to 32768."""
    return max(
        (int(np.max(np.abs(block.astype(np.int32)))) for _, block in _blocks(file, wav)), default=0
    )


def _blocks(file: BinaryIO, wav: Wav) -> Iterator[tuple[int, Samples]]:
    """The audio in blocks of frames, with the place in the file at which each begins."""
    at, end = wav.data_at, wav.data_at + wav.data_bytes
    while at < end:
        file.seek(at)
        data = file.read(min(_BLOCK_FRAMES * wav.frame_bytes, end - at))
        if len(data) % wav.frame_bytes or not data:
            raise NotWav("the file changed while it was read")
        yield at, np.frombuffer(data, "<i2").reshape(-1, wav.channels)
        at += len(data)


def _with_data(file: BinaryIO, coding: tuple[int, int] | None, declared: int, size: int) -> Wav:
    if coding is None:
        raise NotWav("a WAV file that does not say how its audio is coded")
    channels, rate_hz = coding
    data_at = file.tell()
    length = size - data_at
    if 0 < declared < length and _holds_chunks(file, data_at + declared + (declared & 1), size):
        length = declared
    frames = length // (channels * SAMPLE_BYTES)
    if frames == 0:
        raise NotWav("a WAV file without audio")
    return Wav(channels, rate_hz, data_at, frames, declared)


def _holds_chunks(file: BinaryIO, at: int, size: int) -> bool:
    """Whether whole chunks fill the file from `at` on: then the data did end there."""
    for _ in range(_MOST_CHUNKS):
        if at == size:
            return True
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or not all(32 <= byte < 127 for byte in head[:4]):
            return False
        length = int.from_bytes(head[4:], "little")
        at += 8 + length + (length & 1)
    return False


def _read_format(chunk: bytes) -> tuple[int, int]:
    if len(chunk) < 16:
        raise NotWav("a WAV file that does not say how its audio is coded")
    coding, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if coding == _EXTENSIBLE and len(chunk) >= 26:
        coding = int.from_bytes(chunk[24:26], "little")
    if coding != _PCM or bits != 8 * SAMPLE_BYTES:
        raise NotWav(f"a WAV file in a coding that is not 16 bit PCM ({coding}, {bits} bit)")
    if not 1 <= channels <= 2:
        raise NotWav(f"a WAV file with {channels} channels")
    if rate_hz == 0:
        raise NotWav("a WAV file without a sample rate")
    return channels, rate_hz


def _describe(start: bytes) -> str:
    if not start:
        return "nothing: it is empty"
    if start[:3] == b"ID3" or (len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0):
        return "MP3 audio"
    text = start.lstrip()
    if text[:1] == b"<":
        return "HTML or XML"
    if text[:1] in (b"{", b"["):
        return "JSON"
    return "unknown data"
