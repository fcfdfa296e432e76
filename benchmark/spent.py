"""Time spent on a number of things: on the clock, and of all processes' CPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds for `count` images."""

    count: int
    wall: float
    cpu: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.count / self.wall

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU an image."""
        return 1000 * self.cpu / self.count


def timed(work: Callable[[], int]) -> Spent:
    """`work` gives the number of images it did. Processes it waited for count as well."""
    before, began = os.times(), time.perf_counter()
    count = work()
    wall, after = time.perf_counter() - began, os.times()
    return Spent(count, wall, sum(after[:4]) - sum(before[:4]))


def middle(spent: list[Spent], value: Callable[[Spent], float]) -> float:
    return float(np.median([value(one) for one in spent]))
