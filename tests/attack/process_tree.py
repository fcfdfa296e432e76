"""CPU time and memory of the workers below a process, as the kernel counts them. Linux."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
#: Fields of /proc/PID/stat behind the command's name: CPU time of children that were waited for.
_CHILDREN = slice(13, 15)
#: What to write to clear_refs to forget the peak of resident memory (proc(5)).
_FORGET_PEAK = "5"


class ProcessTree:
    """A process and all below it.

    Args:
        root: process number. It is the parent of the workers: itself it is not counted.
    """

    def __init__(self, root: int) -> None:
        self._root = root

    def workers(self) -> list[int]:
        """Return the numbers of all processes below the root."""
        found, new = list[int](), [self._root]
        while new:
            new = [child for pid in new for child in _children(pid)]
            found += new
        return found

    def cpu(self) -> float:
        """Return the seconds that those below the root have taken, also those that have ended."""
        total = 0.0
        for pid in (self._root, *self.workers()):
            with suppress(OSError):
                words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += sum(map(int, words[_CHILDREN])) * _TICK
                if pid != self._root:
                    # The clock of another process (CPUCLOCK_SCHED): nanoseconds, not ticks.
                    total += time.clock_gettime(~pid << 3 | 2)
        return total

    def resident(self) -> int:
        """Return the bytes that the processes below the root hold now."""
        return sum(_status(pid, "VmRSS") for pid in self.workers())

    def peak(self) -> int:
        """Return the bytes that each of them held at most since `forget_peak`, summed up."""
        return sum(self.peaks())

    def peaks(self) -> list[int]:
        """Return the same for each process."""
        return [_status(pid, "VmHWM") for pid in self.workers()]

    def forget_peak(self) -> None:
        for pid in self.workers():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text(_FORGET_PEAK)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):  # it has ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _status(pid: int, name: str) -> int:
    with suppress(OSError):
        value = Path(f"/proc/{pid}/status").read_text().partition(f"{name}:")[2]
        if value:
            return int(value.split()[0]) * 1024
    return 0
