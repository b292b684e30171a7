"""The figures of one run as one line of the table; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Self

from bench.measure import Figures
from bench.stats import ms, quantile

# A call to which more than this is added is not a good call any more.
LIMIT_MS = 20.0
# A server that leaves nothing of its core unused cannot take another call.
FULL = 0.97


@dataclass(frozen=True, slots=True)
class Spread:
    """A latency's distribution, in milliseconds."""

    p50: float | None = None
    p99: float | None = None
    worst: float | None = None

    @classmethod
    def of(cls, samples: list[float]) -> Self:
        """From samples in seconds."""
        worst = max(samples, default=None)
        return cls(ms(quantile(samples, 0.5)), ms(quantile(samples, 0.99)), ms(worst))


@dataclass(frozen=True, slots=True)
class ClientUse:
    """Proof that a load client was not what was measured: its core's share, and how late it was."""

    busy: float
    late: Spread


@dataclass(frozen=True, slots=True)
class Row:
    """One subject under so many calls."""

    key: str
    calls: int
    cpu_s: float  # per call and minute
    busy: float  # share of the server's core
    up: Spread
    down: Spread
    barge_in: Spread
    first_audio: Spread
    rss_mb: float  # per call
    up_filter_ms: float | None
    down_filter_ms: float | None
    lost_ms: float
    lost_at_start_ms: float
    gaps_ms: float
    unstopped: int
    waited: float  # share of the time in which others held the server's core
    phone: ClientUse
    model: ClientUse
    faults: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Nothing was lost, and nobody was cut off."""
        return self.lost_ms == 0 and self.lost_at_start_ms == 0 and not self.faults

    @property
    def is_good(self) -> bool:
        """Sound, and quick enough: it counts for the capacity."""
        slow = [s.p99 is None or s.p99 >= LIMIT_MS for s in (self.up, self.down)]
        return self.is_sound and not any(slow)

    @property
    def is_hopeless(self) -> bool:
        """More calls would tell nothing."""
        return self.busy >= FULL or bool(self.faults)


def row(
    key: str,
    calls: int,
    figures: Figures,
    *,
    paces: bool,
    busy: float,
    rss_mb: float,
    waited: float,
    phone: ClientUse,
    model: ClientUse,
) -> Row:
    """The line for a run; a server that paces is judged by the first audio of each reply."""
    return Row(
        key=key,
        calls=calls,
        cpu_s=busy * 60 / calls,
        busy=busy,
        up=Spread.of(figures.up),
        down=Spread.of(figures.reply_begins if paces else figures.down),
        barge_in=Spread.of(figures.barge_in),
        first_audio=Spread.of(figures.first_audio),
        rss_mb=rss_mb,
        up_filter_ms=_mean(figures.up_filter_ms),
        down_filter_ms=_mean(figures.down_filter_ms),
        lost_ms=round(figures.lost_up_ms + figures.lost_down_ms),
        lost_at_start_ms=round(figures.lost_at_start_ms),
        gaps_ms=round(figures.gaps_ms),
        unstopped=figures.unstopped,
        waited=waited,
        phone=phone,
        model=model,
        faults=figures.faults,
    )


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def capacity(rows: list[Row]) -> int:
    """The most calls under which a subject, and with fewer calls always, was good."""
    most = 0
    for each in sorted(rows, key=lambda row: row.calls):
        if not each.is_good:
            break
        most = each.calls
    return most
