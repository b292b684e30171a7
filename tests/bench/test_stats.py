"""Quantiles: figures that were measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import ms, quantile


@pytest.mark.parametrize(
    ("samples", "q", "expected"),
    [
        ([5.0], 0.99, 5.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 101)], 0.5, 50.0),
        ([], 0.5, None),
    ],
)
def test_quantiles_are_nearest_ranks(
    samples: list[float], q: float, expected: float | None
) -> None:
    assert quantile(samples, q) == expected


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_a_sample_that_enough_others_do_not_exceed(
    samples: list[float], q: float
) -> None:
    found = quantile(samples, q)

    assert found in samples
    assert found is not None
    assert sum(sample <= found for sample in samples) >= q * len(samples) - 1e-9


def test_seconds_become_milliseconds() -> None:
    assert ms(0.25) == 250.0
    assert ms(None) is None
