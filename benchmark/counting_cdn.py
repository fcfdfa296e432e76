"""A CDN's rules against clients that ask too fast, without I/O."""

from __future__ import annotations

from benchmark.network_settings import Cdn
from benchmark.token_bucket import TokenBucket

#: Seconds of requests beyond the rate until a client is banned, and of the ban.
BAN_AFTER, BAN = 5.0, 60.0
#: A client that pauses this long has stopped.
PAUSE = 1.0
#: Seconds that Retry-After tells.
RETRY_AFTER = 2


class CountingCdn:
    """Decide what one client's connections and requests get. Callers pass the time in seconds."""

    def __init__(self, settings: Cdn) -> None:
        self._settings = settings
        # The burst of half a second.
        self._bucket = TokenBucket(settings.rate, settings.rate / 2) if settings.rate else None
        self._open = 0
        #: When the client began to exceed the rate, and when it did so last.
        self._since = self._last = float("-inf")
        self._banned_until = float("-inf")

    def connect(self, now: float) -> bool:
        """Return whether a connection is accepted, and count it if it is."""
        parallel = self._settings.parallel
        if parallel is not None and self._open >= parallel:
            return False
        if self._settings.ban == "reset" and now < self._banned_until:
            return False
        self._open += 1
        return True

    def disconnect(self) -> None:
        """Count the end of an accepted connection."""
        self._open -= 1

    def request(self, now: float) -> int:
        """Return the status of the response to a request; 0 for a reset."""
        if now < self._banned_until:
            return 0 if self._settings.ban == "reset" else 403
        if self._bucket is None or self._bucket.take(now):
            return 200
        if now - self._last > PAUSE:
            self._since = now
        self._last = now
        if self._settings.ban is not None and now - self._since >= BAN_AFTER:
            self._banned_until = now + BAN
        return self._settings.status

    @property
    def retry_after(self) -> int | None:
        """Seconds for the Retry-After header of a refusal."""
        return RETRY_AFTER if self._settings.retry_after else None
