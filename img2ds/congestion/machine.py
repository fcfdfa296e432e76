"""The numbers that the workers of one run on one machine share.

Each worker writes its own cell and reads everybody's; one of them, who holds a lock, writes the
limits. So nobody waits for anybody, a worker that is killed leaves nothing locked, and it works
the same under every distributor. The operating system drops a dead worker's locks; the leader then
clears its gauges.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from img2ds.congestion.shared_file import SharedFile
from img2ds.congestion.signals import Signal

#: Workers of one run on one machine at most; further ones share the last cell.
MAX_WORKERS = 256
#: Numbers a cell and numbers of the header, each a double. The last of a cell is 1 for a worker
#: that lives, -1 for one that died, 0 where there was none.
CELL, HEADER = 64, 64
_STATE = CELL - 1
_LEADER = MAX_WORKERS  # the place of the leader's lock: behind those of the cells
#: Seconds between two searches for new and for dead workers.
SWEEP_INTERVAL = 1.0

Floats = npt.NDArray[np.float64]


class Machine:
    """The shared numbers, as one worker sees them.

    Args:
        token: the same for all workers of a run, see `shared_file`; None for a worker alone.

    Attributes:
        token: as given.
        cell: this worker's numbers, by `Signal`; only this worker writes them.
        limits: by `Limit`; only the leader writes them.
        when_dead: called with the index of each worker that the leader finds dead.
    """

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self._file = SharedFile(token, "machine", 8 * (HEADER + MAX_WORKERS * CELL))
        everything = np.frombuffer(self._file.memory, np.float64)
        self.limits = memoryview(self._file.memory)[: 8 * HEADER].cast("d")
        self._cells: Floats = everything[HEADER:].reshape(MAX_WORKERS, CELL)
        self._numbers = memoryview(self._file.memory)[8 * HEADER :].cast("d")
        self._index = self._take_cell()
        self.cell = memoryview(self._cells[self._index]).cast("B").cast("d")
        self._used = self._index + 1
        self.when_dead: list[Callable[[int], None]] = []
        self._leads = False
        self._next_sweep = 0.0

    def totals(self) -> Floats:
        """Return the sums over all workers, by `Signal`."""
        totals: Floats = self._cells[: self._used].sum(axis=0)
        return totals

    def total(self, signal: int) -> float:
        """Return one sum over all workers, of a `Signal`."""
        return sum(self._numbers[signal : self._used * CELL : CELL])

    def count_active(self, signal: int) -> int:
        """Return for how many workers `signal` is above zero."""
        return int(np.count_nonzero(self._cells[: self._used, signal] > 0))

    def count_alive(self) -> int:
        """Return how many workers there are."""
        return int(np.count_nonzero(self._cells[: self._used, _STATE] > 0))

    def leads(self) -> bool:
        """Return whether this worker leads: the first that asks does, until it ends."""
        self._leads = self._leads or self._file.try_lock(_LEADER)
        return self._leads

    @property
    def index(self) -> int:
        """This worker's index among those of the machine."""
        return self._index

    def sweep(self) -> None:
        """Look for new workers now and then; the leader clears the gauges of dead ones, too."""
        now = time.monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_INTERVAL
        states = self._cells[:, _STATE]
        started = np.flatnonzero(states)
        self._used = int(started[-1]) + 1
        if not self._leads:
            return
        for index in np.flatnonzero(states > 0).tolist():
            if index != self._index and self._file.try_lock(index):
                self._cells[index, Signal.OPEN : _STATE] = 0.0
                self._cells[index, _STATE] = -1.0
                self._file.unlock(index)
                for clear in self.when_dead:
                    clear(index)

    def close(self) -> None:
        """Give up the cell."""
        self._cells[self._index, Signal.OPEN : _STATE] = 0.0
        self._cells[self._index, _STATE] = -1.0
        self._file.close()

    def _take_cell(self) -> int:
        index = next((i for i in range(MAX_WORKERS) if self._file.try_lock(i)), MAX_WORKERS - 1)
        self._cells[index, Signal.OPEN : _STATE] = 0.0
        self._cells[index, _STATE] = 1.0
        return index
