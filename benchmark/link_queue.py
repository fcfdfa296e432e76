"""A link's queue: one rate, a number of bytes that can wait, tail drop."""

from __future__ import annotations

from collections.abc import Sequence


class LinkQueue:
    """Compute when a packet leaves a link, without holding it.

    Args:
        rates: bits a second; with several, the link changes to the next every `period` seconds.
        capacity: bytes that can wait.
        start: when the first rate begins, in seconds.
    """

    def __init__(
        self, rates: Sequence[float], capacity: int, period: float = 3.0, start: float = 0.0
    ) -> None:
        self._rates = rates
        self._capacity = capacity
        self._period = period
        self._start = start
        self._free_at = start

    def leaves(self, now: float, size: int) -> float | None:
        """Return when a packet of `size` bytes has left, or None when the queue is full.

        A packet is sent at the rate of the time when it arrives.
        """
        rate = self._rates[0]
        if len(self._rates) > 1:
            rate = self._rates[int((now - self._start) / self._period) % len(self._rates)]
        wait = self._free_at - now
        if wait < 0:
            self._free_at, wait = now, 0.0
        if wait * rate / 8 + size > self._capacity:
            return None
        self._free_at += size * 8 / rate
        return self._free_at
