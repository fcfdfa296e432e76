"""The value that a share of all rows reaches."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from laion.filter.share import threshold_of

FLOATS = st.floats(width=32, allow_nan=False)


@given(arrays(np.float32, st.integers(1, 60), elements=FLOATS), st.floats(0.01, 1))
def test_it_is_that_of_sorting(values: np.ndarray, share: float) -> None:
    found = threshold_of(share, lambda: [values[:7], values[7:]])
    expected = np.sort(values)[::-1][max(1, ceil(share * len(values))) - 1]
    assert found == expected


def test_nan_is_no_value() -> None:
    values = np.array([np.nan, 1, np.nan, 2, 3, 4], np.float32)
    assert threshold_of(0.5, lambda: [values]) == 3
    assert threshold_of(0.5, lambda: [values[:1]]) is None
    assert threshold_of(0.5, list) is None


@pytest.mark.parametrize("share", [1e-9, 1])
def test_the_ends(share: float) -> None:
    values = np.array([-0.0, -5, 0.25, np.inf, -np.inf], np.float32)
    assert threshold_of(share, lambda: [values]) == (np.inf if share < 1 else -np.inf)
