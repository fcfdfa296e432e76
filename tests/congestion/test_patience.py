"""When a response that does not come is asked for again."""

from __future__ import annotations

import numpy as np
import pytest

from img2ds.congestion.machine import CELL
from img2ds.congestion.patience import REMEMBERED, Patience
from img2ds.congestion.signals import Signal

TICK = 0.1


class Path:
    """Bodies of a path, so many of a kind a second."""

    def __init__(self) -> None:
        self.patience, self.totals, self.now = Patience(), np.zeros(CELL), 0.0

    def run(self, seconds: float, *, fast: float, slow: float, loses: bool) -> bool:
        until, impatient = self.now + seconds, False
        while self.now < until:
            self.now += TICK
            self.totals[Signal.FAST_BODIES] += fast * TICK
            self.totals[Signal.SLOW_BODIES] += slow * TICK
            impatient = self.patience.update(self.now, self.totals.copy(), loses=loses)
        return impatient


def test_a_good_path_has_patience() -> None:
    assert not Path().run(10.0, fast=50, slow=1, loses=False)


def test_a_path_that_loses_packets_has_none_while_others_are_quick() -> None:
    path = Path()
    assert path.run(5.0, fast=50, slow=1, loses=True)
    assert not path.run(5.0, fast=5, slow=5, loses=True)


@pytest.mark.parametrize(("seconds", "impatient"), [(0.5, True), (1.1, False)])
def test_a_full_path_is_remembered_as_long_as_tcp_waits(seconds: float, impatient: bool) -> None:
    path = Path()
    assert not path.run(5.0, fast=1, slow=5, loses=True)
    assert path.run(seconds * REMEMBERED, fast=0, slow=0, loses=False) == impatient
