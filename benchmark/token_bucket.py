"""A token bucket: so many events a second, with a burst."""

from __future__ import annotations


class TokenBucket:
    """Allow `rate` events a second and `burst` at once. Callers pass the time in seconds."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens = burst
        self._last: float | None = None

    def take(self, now: float) -> bool:
        """Return whether an event is allowed now, and count it if it is."""
        if self._last is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate)
        self._last = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
