"""From what both ends wrote down to figures; pure.

Up: a frame has arrived when the model has been given as much audio as the phone had sent with it.
Down: a delta has arrived when the phone has been given all whole frames that it completes. Bytes
are counted, not content; pulses and heads in the audio tell by how much a filter shifts the content
against the count (its delay, which is added), and whether any audio went missing in between.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from bench import script
from bench.records import ModelCall, PhoneCall, Reply

# What counts as the same position: a filter's ripple, half a sample, rounding.
NOISE_MS = 3.0
# A frame may wait for the next delta, and its last sample for a filter this long.
FILTER_MS = 2.0
# Audio that is still on its way when a window ends is not lost.
ON_ITS_WAY_S = 1.0
# Later than this after the barge-in, a clear belongs to something else.
CLEAR_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Window:
    """What is measured: everything sent between `start` and `end`."""

    start: float
    end: float

    def holds(self, at: float) -> bool:
        return self.start <= at < self.end


@dataclass(slots=True)
class Figures:
    """Samples of one call or of many. Latencies in seconds, audio in milliseconds."""

    up: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)
    reply_begins: list[float] = field(default_factory=list)  # a reply's first delta to first audio
    barge_in: list[float] = field(default_factory=list)
    first_audio: list[float] = field(default_factory=list)  # from the stream's start
    up_filter_ms: list[float] = field(default_factory=list)
    down_filter_ms: list[float] = field(default_factory=list)
    lost_up_ms: float = 0.0
    lost_down_ms: float = 0.0
    lost_at_start_ms: float = 0.0
    gaps_ms: float = 0.0
    unstopped: int = 0  # barge-ins that silenced nothing
    faults: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """The figures of another call."""
        for name in self.__slots__:
            # Lists and sums alike.
            setattr(self, name, getattr(self, name) + getattr(other, name))


def measure(phones: dict[str, PhoneCall], models: dict[str, ModelCall], window: Window) -> Figures:
    """All calls of a run."""
    figures = Figures()
    for name, phone in phones.items():
        figures.faults += [f"{name}: {fault}" for fault in phone.faults]
        model = models.get(name)
        if model is None:
            figures.faults.append(f"{name}: no session at the model")
            continue
        figures.faults += [f"{name}: {fault}" for fault in model.faults]
        figures.add(uplink(phone, model, window))
        figures.add(downlink(phone, model, window))
    return figures


# --- Up -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Alignment:
    """From the sent position `from_ms` on, received positions are `missing_ms` smaller."""

    from_ms: float
    missing_ms: float


def uplink(phone: PhoneCall, model: ModelCall, window: Window) -> Figures:
    """The person's audio on its way to the model."""
    figures = Figures()
    per_ms = script.BYTES_PER_MS[model.audio_format]
    pulses = [position / per_ms for position in model.pulses]
    sent = [frame * script.FRAME_MS for frame in script.pulse_frames(len(phone.sent_at))]
    alignments, filter_ms = align(sent, pulses)
    if not alignments:
        figures.faults.append(f"{phone.name}: the audio cannot be recognised")
        return figures
    figures.up_filter_ms.append(filter_ms)
    figures.lost_at_start_ms = alignments[0].missing_ms
    figures.lost_up_ms = sum(
        abs(after.missing_ms - before.missing_ms) for before, after in pairwise(alignments)
    )
    received = [count / per_ms for count in model.appended_bytes]
    for frame, at in enumerate(phone.sent_at):
        if not window.holds(at):
            continue
        end_ms = (frame + 1) * script.FRAME_MS - _missing(alignments, frame * script.FRAME_MS)
        arrived = _arrival(received, model.appended_at, end_ms)
        if arrived is not None:
            figures.up.append(arrived - at + filter_ms / 1000)
        elif at < window.end - ON_ITS_WAY_S:
            figures.lost_up_ms += script.FRAME_MS
    return figures


def align(sent_ms: Sequence[float], received_ms: Sequence[float]) -> tuple[list[Alignment], float]:
    """Which audio went missing before which pulse, and the filter's shift in milliseconds.

    Pulses come at irregular distances: the received ones are recognised by these. Of several
    explanations the one that loses least is taken.
    """
    first = _first_match(sent_ms, received_ms)
    if first is None:
        return [], 0.0
    unknown, at = first
    shift = received_ms[unknown] - sent_ms[at]
    # Whole frames go missing; what is left is the filter's.
    missing = -round(shift / script.FRAME_MS) * float(script.FRAME_MS)
    filter_ms = shift + missing
    alignments = [Alignment(0.0, missing)]
    for before, after in pairwise(received_ms[unknown:]):
        distance = after - before
        last = at
        at += 1
        while at < len(sent_ms) and sent_ms[at] - sent_ms[last] - distance < -10 * NOISE_MS:
            at += 1
        if at >= len(sent_ms):
            break
        slip = sent_ms[at] - sent_ms[last] - distance
        if abs(slip) > NOISE_MS:
            missing += slip
            alignments.append(Alignment(sent_ms[at], missing))
    return alignments, filter_ms


def _first_match(sent_ms: Sequence[float], received_ms: Sequence[float]) -> tuple[int, int] | None:
    """The first received pulse that is recognised, by the two distances after it, and its match."""
    known = {_shape(sent_ms, i): i for i in reversed(range(len(sent_ms) - 2))}
    for i in range(len(received_ms) - 2):
        shape = _shape(received_ms, i)
        for (first, second), at in known.items():
            if abs(first - shape[0]) <= NOISE_MS and abs(second - shape[1]) <= NOISE_MS:
                return i, at
    return None


def _shape(at_ms: Sequence[float], i: int) -> tuple[float, float]:
    return at_ms[i + 1] - at_ms[i], at_ms[i + 2] - at_ms[i + 1]


def _missing(alignments: Sequence[Alignment], at_ms: float) -> float:
    return next(a.missing_ms for a in reversed(alignments) if a.from_ms <= at_ms)


def _arrival(counts: Sequence[float], times: Sequence[float], wanted: float) -> float | None:
    index = bisect_left(counts, wanted - 1e-6)
    return times[index] if index < len(times) else None


# --- Down ---------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Heard:
    """The phone's share of one reply: its head's position, and the media from there on."""

    head: int
    media_at: Sequence[float]
    media_bytes: Sequence[int]

    def content_ms(self) -> list[float]:
        return [(count - self.head) / script.PHONE_BYTES_PER_MS for count in self.media_bytes]


def downlink(phone: PhoneCall, model: ModelCall, window: Window) -> Figures:
    """The agent's audio on its way to the ear, and its silencing."""
    figures = Figures()
    shares = _shares(phone, model.replies)
    opening = shares[0] if shares else None
    filter_ms = 0.0
    if opening is not None:
        figures.first_audio.append(opening.media_at[0] - phone.started_at)
        # The stream begins with the opening: its head stands where the filter put it.
        shift = opening.head / script.PHONE_BYTES_PER_MS
        filter_ms = shift if shift <= FILTER_MS else 0.0
        figures.down_filter_ms.append(filter_ms)
    for reply, share in zip(model.replies, shares, strict=True):
        if not reply.sent_at or not window.holds(reply.sent_at[0]):
            continue
        if share is None:
            figures.lost_down_ms += reply.ends_ms[-1]
            continue
        figures.add(_reply(reply, share, filter_ms, window))
        _silencing(reply, phone, figures)
    return figures


def _shares(phone: PhoneCall, replies: Sequence[Reply]) -> list[Heard | None]:
    """What of the phone's media belongs to which reply: heads lie between the replies' starts."""
    head_at = [phone.media_at[bisect_right(phone.media_bytes, head)] for head in phone.heads]
    starts = [reply.sent_at[0] if reply.sent_at else float("inf") for reply in replies]
    shares: list[Heard | None] = []
    for start, following in pairwise([*starts, float("inf")]):
        index = bisect_left(head_at, start)
        if index >= len(head_at) or head_at[index] >= following:
            shares.append(None)
            continue
        head = phone.heads[index]
        end = phone.heads[index + 1] if index + 1 < len(phone.heads) else float("inf")
        some = slice(bisect_right(phone.media_bytes, head), bisect_right(phone.media_bytes, end))
        shares.append(Heard(head, phone.media_at[some], phone.media_bytes[some]))
    return shares


def _reply(reply: Reply, share: Heard, filter_ms: float, window: Window) -> Figures:
    figures = Figures()
    figures.reply_begins.append(share.media_at[0] - reply.sent_at[0] + filter_ms / 1000)
    content = share.content_ms()
    before_ms = 0
    # What was sent just before the barge-in may have been stopped rightly.
    expected_until = min(reply.cut_at or window.end, window.end) - ON_ITS_WAY_S / 10
    for sent_at, end_ms in zip(reply.sent_at, reply.ends_ms, strict=True):
        is_last = reply.is_whole and end_ms == reply.ends_ms[-1]
        whole_ms = end_ms if is_last else end_ms - end_ms % script.FRAME_MS
        arrived = _arrival(content, share.media_at, whole_ms - FILTER_MS)
        if arrived is not None:
            figures.down.append(arrived - sent_at + filter_ms / 1000)
        elif sent_at < expected_until:
            figures.lost_down_ms += end_ms - before_ms
        before_ms = end_ms
    figures.gaps_ms += _gaps(reply, share)
    return figures


def _gaps(reply: Reply, share: Heard) -> float:
    """Silence inside a reply because its audio came too late, in milliseconds."""
    gaps = 0.0
    played_until = share.media_at[0]
    before = share.head
    for at, count in zip(share.media_at, share.media_bytes, strict=True):
        if reply.cut_at is not None and at >= reply.cut_at:
            break
        if (before - share.head) / script.PHONE_BYTES_PER_MS >= reply.reply_ms - FILTER_MS:
            break  # what follows is padding, or another's
        gaps += max(at - played_until, 0.0) * 1000
        played_until = max(at, played_until) + (count - before) / script.PHONE_BYTES_PER_MS / 1000
        before = count
    return gaps


def _silencing(reply: Reply, phone: PhoneCall, figures: Figures) -> None:
    if reply.cut_at is None:
        return
    index = bisect_left(phone.cleared_at, reply.cut_at)
    if index < len(phone.cleared_at):
        waited = phone.cleared_at[index] - reply.cut_at
        if waited < CLEAR_WITHIN_S:
            figures.barge_in.append(waited)
            return
    figures.unstopped += 1
