"""What one client may take: searches a minute, and requests at once."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from laion.web.batch_queue import Overloaded
from laion.web.client_address import client_key
from laion.web.error_response import error_response

#: Clients whose use is remembered; the least recently active is forgotten first.
MAX_CLIENTS = 10_000

#: Paths of searches.
SEARCHES = ("/api/search", "/knn-service")

#: Cost of a request that is not a search, in searches.
_OTHER_COST = 0.02


class RateLimit:
    """Limits the searches of each client with a token bucket of one minute's searches.

    Args:
        per_minute: searches; 0 for no limit.
        clock: the time in seconds.
    """

    def __init__(
        self, app: ASGIApp, per_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._capacity = float(per_minute)
        self._clock = clock
        #: For each client the tokens left, and when that was counted.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._capacity:
            cost = 1.0 if scope["path"] in SEARCHES else _OTHER_COST
            wait = self.take(client_key(scope), cost)
            if wait:
                response = error_response(429, f"too many searches: try again in {wait} s", wait)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def take(self, client: str, cost: float) -> int:
        """Take `cost` tokens. Returns 0, or if there are too few, the seconds until there are."""
        now = self._clock()
        tokens, since = self._buckets.pop(client, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - since) * self._capacity / 60)
        is_enough = tokens >= cost
        self._buckets[client] = (tokens - cost if is_enough else tokens, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if is_enough else math.ceil((cost - tokens) * 60 / self._capacity)


class ClientSlots:
    """A bounded number of things at once, for all clients and for each.

    Args:
        total, each: things at once.
        things: what they are, in messages.
    """

    def __init__(self, total: float, each: float, things: str) -> None:
        self._total = total
        self._each = each
        self._things = things
        self._held: Counter[str] = Counter()
        self._count = 0

    def take(self, client: str) -> bool:
        """Take a slot, to be released. Returns False if there is none."""
        if self._count >= self._total or self._held[client] >= self._each:
            return False
        self._count += 1
        self._held[client] += 1
        return True

    def release(self, client: str) -> None:
        """Give a slot back."""
        self._count -= 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]

    @contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Hold a slot. Raises Overloaded: there is none."""
        if not self.take(client):
            raise Overloaded(self.refusal)
        try:
            yield
        finally:
            self.release(client)

    @property
    def refusal(self) -> str:
        """What a client is told that gets no slot."""
        return f"too many {self._things} at once"


class RequestsAtOnce:
    """Limits the requests in progress of each client, also where all share a proxy's connections.

    Args:
        each: requests at once.
    """

    def __init__(self, app: ASGIApp, each: int) -> None:
        self._app = app
        self._slots = ClientSlots(math.inf, each, "requests of one client")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = client_key(scope)
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif not self._slots.take(client):
            await error_response(503, self._slots.refusal, retry_after=1)(scope, receive, send)
        else:
            try:
                await self._app(scope, receive, send)
            finally:
                self._slots.release(client)
