"""The three audio formats of the API, and the way between them.

Sound inside the sandbox is float32 in -1..1, mono; `pcm` means 24 kHz, the companded formats
8 kHz. Source: ITU-T G.711; OpenAI, Realtime guide, "audio formats".
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]

PCM, PCMU, PCMA = "audio/pcm", "audio/pcmu", "audio/pcma"
MODEL_HZ, PHONE_HZ = 24_000, 8_000
RATE_HZ = {PCM: MODEL_HZ, PCMU: PHONE_HZ, PCMA: PHONE_HZ}
BYTES_PER_MS = {PCM: 48, PCMU: 8, PCMA: 8}

_FULL_SCALE = 32768.0
_TAPS = 95


def duration_ms(size: int, format: str) -> float:
    """How long `size` bytes of this format sound."""
    return size / BYTES_PER_MS[format]


def decode(data: bytes, format: str) -> Sound:
    """Bytes on the wire to sound at the format's own rate."""
    if format == PCM:
        samples = np.frombuffer(data[: len(data) & ~1], dtype="<i2")
    else:
        table = _ulaw_table() if format == PCMU else _alaw_table()
        samples = table[np.frombuffer(data, dtype=np.uint8)]
    return samples.astype(np.float32) / np.float32(_FULL_SCALE)


def encode(sound: Sound, format: str) -> bytes:
    """Sound at the format's own rate to bytes on the wire."""
    samples = np.clip(np.rint(sound * _FULL_SCALE), -32768, 32767).astype(np.int16)
    if format == PCM:
        return bytes(samples.astype("<i2"))
    table = _compander(format)
    return bytes(table[samples.view(np.uint16)])


def to_rate(sound: Sound, from_hz: int, to_hz: int) -> Sound:
    """Change the rate by a factor of three, or leave it alone."""
    if from_hz == to_hz:
        return sound
    if (from_hz, to_hz) == (MODEL_HZ, PHONE_HZ):
        return _filtered(sound)[::3].copy()
    if (from_hz, to_hz) == (PHONE_HZ, MODEL_HZ):
        raised = np.zeros(len(sound) * 3, dtype=np.float32)
        raised[::3] = sound * 3
        return _filtered(raised)
    raise ValueError(f"cannot change {from_hz} Hz to {to_hz} Hz; only 8000 and 24000 are spoken")


def stretch(sound: Sound, speed: float) -> Sound:
    """Play `speed` times as fast; the pitch goes with it, which no machine minds."""
    if speed == 1.0 or not len(sound):
        return sound
    wanted = np.arange(0, len(sound) - 1, speed)
    stretched: Sound = np.interp(wanted, np.arange(len(sound)), sound).astype(np.float32)
    return stretched


def _filtered(sound: Sound) -> Sound:
    if not len(sound):
        return sound
    return np.convolve(sound, _low_pass(), mode="same")[: len(sound)].astype(np.float32)


@lru_cache(maxsize=1)
def _low_pass() -> Sound:
    """3.6 kHz of 24 kHz, windowed sinc: keeps the telephone's band, drops what would alias."""
    n = np.arange(_TAPS) - (_TAPS - 1) / 2
    cutoff = 3_600 / MODEL_HZ
    taps = 2 * cutoff * np.sinc(2 * cutoff * n) * np.blackman(_TAPS)
    low_pass: Sound = (taps / taps.sum()).astype(np.float32)
    return low_pass


@lru_cache(maxsize=1)
def _ulaw_table() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    exponent = ((code >> 4) & 7).astype(np.int32)
    magnitude = ((((code & 15).astype(np.int32) << 3) + 0x84) << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


@lru_cache(maxsize=1)
def _alaw_table() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((code >> 4) & 7).astype(np.int32)
    low = (code & 15).astype(np.int32) << 4
    magnitude = np.where(exponent == 0, low + 8, (low + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


@lru_cache(maxsize=2)
def _compander(format: str) -> NDArray[np.uint8]:
    """For each 16-bit sample (as unsigned index) the code whose value lies nearest."""
    table = (_ulaw_table() if format == PCMU else _alaw_table()).astype(np.int32)
    # Mu-law has two zeros; the API and Twilio write silence as 0xFF, so 0x7F is never made.
    usable = np.array([c for c in range(256) if format == PCMA or c != 0x7F], dtype=np.int32)
    order = np.argsort(table[usable], kind="stable")
    codes, levels = usable[order], table[usable][order]
    samples = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    borders = (levels[1:] + levels[:-1]) / 2
    return codes[np.searchsorted(borders, samples)].astype(np.uint8)
