"""The conversion between the phone's audio and the model's: its figures, and its seams."""

from __future__ import annotations

import audioop
import random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.core.audio import (
    MODEL_HZ,
    PHONE_HZ,
    PhoneDecoder,
    PhoneEncoder,
    downsampler,
    upsampler,
)

Signal = npt.NDArray[np.float64]

SILENCE = b"\xff"
LOUDEST = b"\x80"  # decodes to +32124
PASS_BAND = range(200, 3401, 100)
STOP_BAND = range(4600, 11501, 100)


def tone(hz: float, rate_hz: int, *, seconds: float = 1.0, peak: float = 20_000) -> Signal:
    return peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz + 0.3)


def pcm_of(signal: Signal) -> bytes:
    return np.rint(signal).astype("<i2").tobytes()


def ulaw_of(signal: Signal) -> bytes:
    return audioop.lin2ulaw(pcm_of(signal), 2)


def signal_of(pcm: bytes) -> Signal:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def heard(ulaw: bytes) -> Signal:
    return signal_of(audioop.ulaw2lin(ulaw, 2))


def peak_at(hz: float, signal: Signal, rate_hz: int) -> float:
    """The amplitude of the tone `hz` within `signal`, which holds whole periods of it."""
    turns = np.exp(-2j * np.pi * hz * np.arange(len(signal)) / rate_hz)
    return 2 * abs(float(np.abs(np.mean(signal * turns))))


def snr_db(hz: float, signal: Signal, rate_hz: int) -> float:
    """Power of the tone `hz` against everything else in `signal`."""
    angle = 2 * np.pi * hz * np.arange(len(signal)) / rate_hz
    basis = np.column_stack([np.sin(angle), np.cos(angle), np.ones_like(angle)])
    weights, *_ = np.linalg.lstsq(basis, signal, rcond=None)
    fitted = basis @ weights
    return 10 * float(np.log10(np.sum(fitted**2) / np.sum((signal - fitted) ** 2)))


def db(ratio: float) -> float:
    return 20 * float(np.log10(ratio))


@pytest.mark.parametrize("hz", PASS_BAND)
def test_the_voice_band_reaches_the_model_at_its_level(hz: int) -> None:
    sent = tone(hz, PHONE_HZ, seconds=2)

    got = signal_of(PhoneDecoder().decode(ulaw_of(sent)))

    level = peak_at(hz, got[-MODEL_HZ:], MODEL_HZ) / peak_at(
        hz, heard(ulaw_of(sent))[-PHONE_HZ:], PHONE_HZ
    )
    assert abs(db(level)) <= 0.5


@pytest.mark.parametrize("hz", PASS_BAND)
def test_the_voice_band_reaches_the_phone_at_its_level(hz: int) -> None:
    sent = tone(hz, MODEL_HZ, seconds=2)

    got = heard(PhoneEncoder().encode(pcm_of(sent)))

    assert abs(db(peak_at(hz, got[-PHONE_HZ:], PHONE_HZ) / 20_000)) <= 0.5


@pytest.mark.parametrize("hz", STOP_BAND)
def test_sound_that_a_phone_cannot_carry_does_not_fold_into_the_voice(hz: int) -> None:
    sent = tone(hz, MODEL_HZ, peak=32_000)

    # Measured before the mu-law, whose smallest step would hide the rest.
    got = downsampler().feed(np.rint(sent)).astype(np.float64)[100:]

    assert np.max(np.abs(got)) <= 32_000 / 10 ** (60 / 20)


@pytest.mark.parametrize("hz", PASS_BAND)
def test_the_model_hears_no_images_of_the_voice(hz: int) -> None:
    sent = tone(hz, PHONE_HZ, seconds=2, peak=32_000)

    got = signal_of(PhoneDecoder().decode(ulaw_of(sent)))[-MODEL_HZ:]

    for image_hz in (8_000 - hz, 8_000 + hz):
        assert db(peak_at(hz, got, MODEL_HZ) / peak_at(image_hz, got, MODEL_HZ)) >= 60


@pytest.mark.parametrize("position", range(6))
def test_phone_audio_waits_less_than_two_milliseconds(position: int) -> None:
    decoder = PhoneDecoder()
    click = SILENCE * position + LOUDEST + SILENCE * 40

    got = b"".join(decoder.decode(click[i : i + 1]) for i in range(len(click)))

    waited = int(np.argmax(np.abs(signal_of(got)))) - 3 * position
    assert 0 <= waited / MODEL_HZ <= 0.002


@pytest.mark.parametrize("position", range(6))
def test_model_audio_waits_less_than_two_milliseconds(position: int) -> None:
    encoder = PhoneEncoder()
    click = np.zeros(200)
    click[position] = 32_000

    arrivals = [
        (abs(heard(ulaw)[0]), index)
        for index in range(200)
        if (ulaw := encoder.encode(pcm_of(click[index : index + 1])))
    ]

    waited = max(arrivals)[1] - position
    assert 0 <= waited / MODEL_HZ <= 0.002


@pytest.mark.parametrize("hz", [300, 1000, 1004, 2500, 3400])
def test_a_round_trip_from_the_phone_adds_nothing_audible(hz: int) -> None:
    up, down = upsampler(), downsampler()

    got = down.feed(up.feed(np.rint(tone(hz, PHONE_HZ))).astype(np.float64))

    assert snr_db(hz, got[100:].astype(np.float64), PHONE_HZ) >= 80


@pytest.mark.parametrize("hz", [300, 1000, 1004, 2500, 3400])
def test_a_round_trip_from_the_model_adds_nothing_audible(hz: int) -> None:
    up, down = upsampler(), downsampler()

    got = up.feed(down.feed(np.rint(tone(hz, MODEL_HZ))).astype(np.float64))

    assert snr_db(hz, got[300:].astype(np.float64), MODEL_HZ) >= 80


@pytest.mark.parametrize("hz", [300, 1004, 2503, 3391])
def test_with_the_phones_own_coding_a_tone_keeps_its_quality(hz: int) -> None:
    sent = tone(hz, MODEL_HZ, peak=30_000)

    got = signal_of(PhoneDecoder().decode(PhoneEncoder().encode(pcm_of(sent))))

    assert snr_db(hz, got[300:], MODEL_HZ) >= 38


def split(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in pieces of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        pieces.append(data[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    return pieces


NOISE = random.Random(3).randbytes(6_000)  # noqa: S311
SIZES = st.lists(st.integers(1, 700), min_size=1, max_size=12)


@given(SIZES)
@settings(deadline=None)
def test_any_split_of_phone_audio_gives_the_same_bytes(sizes: list[int]) -> None:
    whole = PhoneDecoder().decode(NOISE)

    decoder = PhoneDecoder()
    parts = [decoder.decode(piece) for piece in split(NOISE, sizes)]

    assert b"".join(parts) == whole
    assert len(whole) == 6 * len(NOISE)


@given(SIZES)
@settings(deadline=None)
def test_any_split_of_model_audio_gives_the_same_bytes(sizes: list[int]) -> None:
    whole = PhoneEncoder()
    expected = whole.encode(NOISE) + whole.flush()

    encoder = PhoneEncoder()
    parts = [encoder.encode(piece) for piece in split(NOISE, sizes)]

    assert b"".join([*parts, encoder.flush()]) == expected


def test_an_hour_of_audio_neither_drifts_nor_decays() -> None:
    second = ulaw_of(tone(440, PHONE_HZ))
    decoder, encoder = PhoneDecoder(), PhoneEncoder()
    sizes = random.Random(5)  # noqa: S311

    sent = heard_bytes = 0
    last = b""
    while sent < 3600 * PHONE_HZ:
        size = min(sizes.randint(1, 24_000), 3600 * PHONE_HZ - sent)
        start = sent % PHONE_HZ
        piece = (second * 4)[start : start + size]
        ulaw = encoder.encode(decoder.decode(piece))
        sent, heard_bytes, last = sent + len(piece), heard_bytes + len(ulaw), (last + ulaw)[-8000:]

    fresh_decoder, fresh_encoder = PhoneDecoder(), PhoneEncoder()
    two_seconds = fresh_encoder.encode(fresh_decoder.decode(second * 2))
    assert heard_bytes == sent == 3600 * PHONE_HZ
    assert last == two_seconds[-8000:]


def test_no_click_at_the_border_of_two_frames() -> None:
    sent = ulaw_of(tone(300, PHONE_HZ, peak=30_000))
    decoder = PhoneDecoder()

    got = signal_of(b"".join(decoder.decode(frame) for frame in split(sent, [160])))[480:]

    steepest = 30_000 * 2 * np.pi * 300 / MODEL_HZ
    # The coarsest mu-law step is 1024: half of it may come on top, twice, over three samples.
    assert np.max(np.abs(np.diff(got))) <= steepest + 1024 / 2


def test_the_end_of_an_item_is_not_cut_off() -> None:
    encoder = PhoneEncoder()
    click_at_the_end = np.zeros(480)
    click_at_the_end[-1] = 32_000

    body = encoder.encode(pcm_of(click_at_the_end))
    tail = encoder.flush()

    assert np.max(np.abs(heard(body))) < 500
    assert np.max(np.abs(heard(tail))) > 9_000
    assert len(tail) <= 22


def test_an_item_after_a_flush_sounds_as_if_it_were_the_first() -> None:
    item = pcm_of(tone(700, MODEL_HZ, seconds=0.1))
    encoder = PhoneEncoder()

    first = encoder.encode(item + b"\x01") + encoder.flush()
    second = encoder.encode(item + b"\x01") + encoder.flush()

    assert first == second


def test_a_flush_of_nothing_is_nothing() -> None:
    encoder = PhoneEncoder()

    encoder.encode(bytes(960))

    assert encoder.flush() == b""
    assert encoder.flush() == b""


def test_reset_forgets_what_went_before() -> None:
    decoder, encoder = PhoneDecoder(), PhoneEncoder()
    decoder.decode(LOUDEST * 50)
    encoder.encode(b"\xff\x7f" * 50 + b"\x12")

    decoder.reset()
    encoder.reset()

    assert decoder.decode(SILENCE * 160) == bytes(960)
    assert encoder.encode(bytes(960)) == SILENCE * 160


def test_the_loudest_sound_is_limited_and_never_wraps_around() -> None:
    square = np.where(np.arange(2400) % 80 < 40, 32_767.0, -32_768.0)

    got = heard(PhoneEncoder().encode(pcm_of(square)))[30:]

    agree = np.sign(got) == np.sign(square[::3][30 - 10 : -10])
    assert np.mean(agree) > 0.85
    assert np.max(np.abs(got)) <= 32_124


def test_empty_input_gives_empty_output() -> None:
    assert PhoneDecoder().decode(b"") == b""
    assert PhoneEncoder().encode(b"") == b""
