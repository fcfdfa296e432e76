"""The value that a share of all rows reaches: exact, in memory that does not grow. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]
_HALF = 16
_SIZE = 1 << _HALF
_SIGN = np.uint32(1 << 31)


def threshold_of(share: float, read: Callable[[], Iterable[Values]]) -> float | None:
    """Return the largest value that at least `share` of all values reach.

    NaN counts as no value. Values are ordered by their 32 bits: one pass finds the upper 16 bits of
    the result, a second one the lower ones.

    Args:
        share: 0 to 1, not 0.
        read: yields all values, float32 [n], in any order; called twice.

    Returns:
        None if there are no values.
    """
    counts = np.zeros(_SIZE, np.int64)
    for values in read():
        counts += np.bincount(_ordered(values) >> _HALF, minlength=_SIZE)
    total = int(counts.sum())
    if not total:
        return None
    wanted = max(1, ceil(share * total))
    upper, wanted = _bin(counts, wanted)
    counts[:] = 0
    for values in read():
        bits = _ordered(values)
        counts += np.bincount(bits[bits >> _HALF == upper] & (_SIZE - 1), minlength=_SIZE)
    lower, _ = _bin(counts, wanted)
    return _value(upper << _HALF | lower)


def _bin(counts: npt.NDArray[np.int64], wanted: int) -> tuple[int, int]:
    """Return the bin in which the count from above reaches `wanted`, and what is wanted of it."""
    above = np.cumsum(counts[::-1])
    place = int(np.searchsorted(above, wanted))
    before = int(above[place - 1]) if place else 0
    return _SIZE - 1 - place, wanted - before


def _ordered(values: Values) -> npt.NDArray[np.uint32]:
    """Return numbers that are ordered as the values are, without those of NaN."""
    plain = values[~np.isnan(values)] + np.float32(0)  # minus zero becomes zero
    bits = plain.view(np.uint32)
    ordered: npt.NDArray[np.uint32] = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return ordered


def _value(number: int) -> float:
    bits = np.array([number], np.uint32)
    values = np.where(bits & _SIGN, bits ^ _SIGN, ~bits).view(np.float32)
    return float(values[0])
