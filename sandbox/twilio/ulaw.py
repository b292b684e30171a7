"""Mu-law (G.711) to signed 16-bit samples and back, by tables.

The product has a codec of its own; sharing one would share its mistakes.

Source: ITU-T G.711, table 2a.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATE_HZ = 8000
FRAME_BYTES = 160
FRAME_MS = 20
SILENCE = b"\xff" * FRAME_BYTES

Samples = npt.NDArray[np.int16]


def _expand(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return 0x84 - magnitude if code & 0x80 else magnitude - 0x84


_DECODE = np.array([_expand(code) for code in range(256)], dtype=np.int16)


def _nearest_codes() -> npt.NDArray[np.uint8]:
    levels = _DECODE.astype(np.int32)
    order = np.argsort(levels, kind="stable")
    middles = (levels[order][1:] + levels[order][:-1]) / 2
    places = np.searchsorted(middles, np.arange(-32768, 32768))
    codes = order[places].astype(np.uint8)
    # Both 0x7F and 0xFF stand for zero; a silent line sends 0xFF.
    codes[32768 + 0] = 0xFF
    return codes


_ENCODE = _nearest_codes()


def decode(ulaw: bytes) -> Samples:
    return _DECODE[np.frombuffer(ulaw, dtype=np.uint8)]


def encode(samples: Samples) -> bytes:
    return _ENCODE[samples.astype(np.int32) + 32768].tobytes()


def level(ulaw: bytes) -> float:
    """Root mean square of a piece of audio, 0 to 32768."""
    samples = decode(ulaw).astype(np.float32)
    return float(np.sqrt(np.mean(samples * samples))) if samples.size else 0.0


def from_pcm(pcm: bytes, rate_hz: int) -> bytes:
    """Mono s16le at any rate to mu-law at 8 kHz."""
    samples = np.frombuffer(pcm[: len(pcm) & ~1], dtype="<i2").astype(np.float32)
    if rate_hz != RATE_HZ and samples.size:
        samples = _resample(samples, rate_hz)
    return encode(np.clip(np.round(samples), -32768, 32767).astype(np.int16))


def _resample(samples: npt.NDArray[np.float32], rate_hz: int) -> npt.NDArray[np.float32]:
    if rate_hz > RATE_HZ:
        taps = 63
        at = np.arange(taps) - taps // 2
        cut = 0.92 * RATE_HZ / rate_hz
        low_pass = np.sinc(at * cut) * np.hamming(taps)
        samples = np.convolve(samples, low_pass / low_pass.sum(), "same").astype(np.float32)
    count = len(samples) * RATE_HZ // rate_hz
    where = np.arange(count) * (rate_hz / RATE_HZ)
    resampled: npt.NDArray[np.float32] = np.interp(where, np.arange(len(samples)), samples).astype(
        np.float32
    )
    return resampled


def frames(ulaw: bytes) -> list[bytes]:
    """Cut audio into whole frames; the last one is filled up with silence."""
    return [
        ulaw[i : i + FRAME_BYTES].ljust(FRAME_BYTES, b"\xff")
        for i in range(0, len(ulaw), FRAME_BYTES)
    ]
