"""Mu-law at 8 kHz to PCM16 at 24 kHz and back, as a stream: any split gives the same bytes.

The ratio is exactly 3, so one low-pass of 66 taps at 24 kHz serves both ways: upwards it fills the
gaps between samples, downwards it keeps what lies above 4 kHz from folding into the voice. It is
symmetric (no phase distortion), flat within 0.15 dB up to 3.4 kHz, more than 80 dB down from
4.6 kHz, and delays by 1.4 ms.

Its taps are integers and the sums stay below 2**53, so float64 adds them up without rounding: the
order in which the linear algebra library does so cannot change a bit of the result.
"""

from __future__ import annotations

import audioop

import numpy as np
import numpy.typing as npt

PHONE_HZ = 8_000
MODEL_HZ = 24_000

_Samples = npt.NDArray[np.float64]

# The first half of a Parks-McClellan low-pass (pass 0-3400 Hz, stop 4600-12000 Hz, weights 1:300)
# in units of 2**-20, scaled so that the ripple lies evenly around 0 dB.
# fmt: off
_HALF = (
    -142, -232, 91, 1222, 2981, 4273, 3641, 636, -3109, -4544, -1729,
    3726, 7031, 4098, -3955, -10317, -7852, 3498, 14508, 13569, -1860, -19914,
    -22412, -1862, 27481, 37404, 10006, -40520, -69744, -32618, 78991, 221003, 319861,
)
# fmt: on
_TAPS = np.array((*_HALF, *reversed(_HALF)), dtype=np.float64)
_SCALE = 2.0**-20

# All 256 mu-law codes, decoded.
_LINEAR: _Samples = np.frombuffer(audioop.ulaw2lin(bytes(range(256)), 2), "=i2").astype(np.float64)

# Multiply-adds per product: the library would spread a larger one over threads, which would cost
# the neighbouring calls more than it saves this one.
_LARGEST_PRODUCT = 200_000


def _upwards(block: int) -> _Samples:
    """Columns: 3 * `block` outputs. Rows: the `block` inputs that complete them, and 21 before."""
    per_phase = len(_TAPS) // 3
    matrix = np.zeros((block + per_phase - 1, 3 * block))
    for n in range(block):
        for phase in range(3):
            # Two of three inputs at 24 kHz would be zero; gain 3 makes up for them.
            matrix[n : n + per_phase, 3 * n + phase] = 3 * _TAPS[phase::3][::-1]
    return matrix


def _downwards(block: int) -> _Samples:
    """Columns: `block` outputs. Rows: the 3 * `block` inputs that complete them, and 63 before."""
    matrix = np.zeros((3 * block + len(_TAPS) - 3, block))
    for n in range(block):
        matrix[3 * n : 3 * n + len(_TAPS), n] = _TAPS[::-1]
    return matrix


# The block sizes are those that measured fastest.
_UP = _upwards(8)
_DOWN = _downwards(12)


class LowPass:
    """The low-pass as a stream: each `unit` of inputs (1 up, 3 down) yields 3 outputs up, 1 down.

    A whole run is one matrix product: each row holds one block of inputs and its past.
    """

    def __init__(self, matrix: _Samples, *, unit: int) -> None:
        self._matrix = matrix
        self._unit = unit
        self._yield = 3 // unit
        self._block: int = matrix.shape[1] // self._yield * unit  # inputs per row
        self._past: int = matrix.shape[0] - self._block
        self._rows_at_once = _LARGEST_PRODUCT // matrix.size
        self.reset()

    def reset(self) -> None:
        """Forget what went before: the next sample follows silence."""
        self._tail: _Samples = np.zeros(self._past)

    @property
    def past(self) -> int:
        """How many inputs the next output still depends on."""
        return self._past

    @property
    def is_silent(self) -> bool:
        """Whether nothing that went in can still come out."""
        return len(self._tail) == self._past and not self._tail.any()

    def feed(self, samples: _Samples) -> npt.NDArray[np.int16]:
        """The outputs of each unit that `samples` completes."""
        held = len(self._tail)
        units = (held - self._past + len(samples)) // self._unit
        used = units * self._unit
        rows = -(-used // self._block)
        window = np.zeros(max(self._past + rows * self._block, held + len(samples)))
        window[:held] = self._tail
        window[held : held + len(samples)] = samples
        self._tail = window[used : held + len(samples)].copy()
        return self._products(window, rows)[: units * self._yield]

    def _products(self, window: _Samples, rows: int) -> npt.NDArray[np.int16]:
        width, out = self._matrix.shape
        step = window.itemsize
        blocks: _Samples = np.ndarray(
            (rows, width), np.float64, window, 0, (self._block * step, step)
        )
        sums = np.empty((rows, out))
        for first in range(0, rows, self._rows_at_once):
            some = slice(first, first + self._rows_at_once)
            # Without the copy the rows overlap, and NumPy would not use the library's product.
            np.matmul(blocks[some].copy(), self._matrix, out=sums[some])
        sums *= _SCALE
        np.rint(sums, out=sums)
        np.maximum(sums, -32768, out=sums)
        np.minimum(sums, 32767, out=sums)
        return sums.astype(np.int16).ravel()


def upsampler() -> LowPass:
    """From 8 to 24 kHz."""
    return LowPass(_UP, unit=1)


def downsampler() -> LowPass:
    """From 24 to 8 kHz."""
    return LowPass(_DOWN, unit=3)


class PhoneDecoder:
    """Phone audio (mu-law, 8 kHz) to model audio (PCM16 little-endian, 24 kHz).

    Source: Twilio, Media Streams, "media.payload"; OpenAI, Realtime, "audio/pcm".
    """

    def __init__(self) -> None:
        self._filter = upsampler()

    def decode(self, ulaw: bytes) -> bytes:
        """Return 6 bytes for each byte of `ulaw`, whatever its length."""
        pcm = self._filter.feed(_LINEAR[np.frombuffer(ulaw, np.uint8)])
        return pcm.astype("<i2", copy=False).tobytes()

    def reset(self) -> None:
        """Forget what went before: the next byte follows silence."""
        self._filter.reset()


class PhoneEncoder:
    """Model audio (PCM16 little-endian, 24 kHz) to phone audio (mu-law, 8 kHz)."""

    def __init__(self) -> None:
        self._filter = downsampler()
        self._odd = b""

    def encode(self, pcm: bytes) -> bytes:
        """Return one byte for every 6 bytes of `pcm` (any length, even odd) that are complete."""
        pcm = self._odd + pcm
        whole = len(pcm) & ~1
        self._odd = pcm[whole:]
        samples = np.frombuffer(pcm[:whole], "<i2").astype(np.float64)
        return audioop.lin2ulaw(self._filter.feed(samples).tobytes(), 2)

    def flush(self) -> bytes:
        """Return what is still in the filter, and start anew: for the end of an item.

        At most 22 bytes (2.75 ms); none if nothing but silence went in. Half a sample is dropped.
        """
        if self._filter.is_silent:
            self.reset()
            return b""
        rest = self._filter.past + 2  # 2 zeros complete any unit that was begun
        ulaw = audioop.lin2ulaw(self._filter.feed(np.zeros(rest)).tobytes(), 2)
        self.reset()
        return ulaw

    def reset(self) -> None:
        """Forget what went before, half a sample included: the next byte follows silence."""
        self._filter.reset()
        self._odd = b""
