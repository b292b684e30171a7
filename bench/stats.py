"""Quantiles of samples."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(samples: Sequence[float], q: float) -> float | None:
    """The smallest sample that is not exceeded by a share `q` of all; None if there are none."""
    if not samples:
        return None
    ordered = sorted(samples)
    # Nearest rank: a figure that was really measured, never one between two.
    rank = -int(-q * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]


def ms(seconds: float | None) -> float | None:
    """Seconds in milliseconds."""
    return None if seconds is None else seconds * 1000
