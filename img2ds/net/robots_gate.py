"""Asks each host for its robots.txt once, and says which URLs it allows (RFC 9309).

The request is made by a row, on its way to its image: with the row's slot, time limits and byte
budget, over the same connections, names and guards. Rows of the host that come meanwhile wait for
it, and share its failure, which is theirs as if each had asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import trio

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure, Reason, failure
from img2ds.net.coding import decode_content
from img2ds.net.context import FetchContext
from img2ds.net.error import FetchError
from img2ds.net.request import user_agent
from img2ds.net.response import Response
from img2ds.net.robots_store import RobotsStore
from img2ds.net.robots_txt import MAX_BYTES, Rules, parse_robots
from img2ds.net.url import Url

#: Seconds for which a file holds (RFC 9309 2.4), and for which an error of the server does.
LIFETIME, ERROR_LIFETIME = 86_400.0, 60.0
#: Files that a worker remembers, and the bytes of their rules.
MAX_KNOWN, MAX_KNOWN_BYTES = 4096, 8 << 20
#: Seconds between two looks at whether another worker has the file.
POLL_INTERVAL = 0.1
#: Seconds above an attempt's own for which others wait for it.
_SPARE = 5.0

#: Names that webmasters know us by besides those that the user gives: ours, and that of the tool
#: whose place we take.
_NAMES = ("img2ds", "img2dataset")
#: Failures that are the file's own. Others, of the connection, would be those of the image, too.
_OF_THE_FILE = {
    reason.value
    for reason in (
        Reason.BAD_URL, Reason.UNSUPPORTED_SCHEME, Reason.PROTOCOL_ERROR, Reason.BAD_ENCODING,
        Reason.HEADER_TOO_LARGE, Reason.TOO_LARGE, Reason.BLOCKLISTED_URL, Reason.BLOCKLISTED_HOST,
    )
}  # fmt: skip
#: Failures that are so only where a redirect led to another host.
_OF_A_REDIRECT = {
    reason.value for reason in (Reason.BLOCKED_ADDRESS, Reason.DNS_NOT_FOUND, Reason.TLS_ERROR)
}

_FORBIDDEN = failure(Reason.DISALLOWED_BY_ROBOTS, "robots.txt forbids it")

#: Gets a URL, following redirects.
Ask = Callable[[Url, FetchContext], Awaitable["Response | Failure"]]


class Known(NamedTuple):
    """What is known of a host's robots.txt until a time on trio's clock; no rules: not available.

    `problem` says why it is not.
    """

    rules: Rules | None
    until: float
    problem: str = ""

    def judge(self, url: Url) -> Failure | None:
        """Return why a URL may not be requested; None if it may."""
        if self.rules is None:
            return failure(Reason.ROBOTS_UNAVAILABLE, f"robots.txt: {self.problem}")
        return None if self.rules.allows(url.target) else _FORBIDDEN


@dataclass(slots=True)
class _Asking:
    """A request in progress; `outcome` is None if it was given up."""

    ended: trio.Event = field(default_factory=trio.Event)
    outcome: Known | Failure | None = None


class RobotsGate:
    """What one worker knows of robots.txt files.

    Args:
        ask: gets a file.
        store: what the workers of this machine know; None for a worker alone.
    """

    def __init__(self, options: NetworkOptions, ask: Ask, store: RobotsStore | None) -> None:
        self._ask = ask
        self._store = store or RobotsStore(None)
        self._claim = options.max_time + _SPARE
        self._agents = agents_of(options)
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._bytes = 0
        self._asking: dict[str, _Asking] = {}

    async def judge(self, url: Url, context: FetchContext) -> Failure | None:
        """Return why a URL may not be requested; None if it may.

        A failure to get the file is one of the network, with its own reason.
        """
        if url.target == "/robots.txt":
            return None
        origin = f"{url.scheme}://{url.authority}"
        known = self._remembered(origin) or await self._learn(origin, url, context)
        return known if isinstance(known, Failure) else known.judge(url)

    async def _learn(self, origin: str, url: Url, context: FetchContext) -> Known | Failure:
        while (asking := self._asking.get(origin)) is not None:
            began = trio.current_time()
            await asking.ended.wait()
            context.deadline.extend(trio.current_time() - began)
            if asking.outcome is not None:
                return asking.outcome
        asking = self._asking[origin] = _Asking()
        try:
            asking.outcome = await self._learn_first(origin, url, context)
            return asking.outcome
        finally:
            del self._asking[origin]
            asking.ended.set()

    async def _learn_first(self, origin: str, url: Url, context: FetchContext) -> Known | Failure:
        """Learn from another worker, or from the host."""
        began = trio.current_time()
        store = self._store
        while trio.current_time() - began < self._claim:
            found = store.get(origin)
            if found is not None and found[0]:
                return self._remember(origin, _loaded(*found))
            if found is None and store.claim(origin, self._claim):
                break
            await trio.sleep(POLL_INTERVAL)
        context.deadline.extend(trio.current_time() - began)
        told = False
        try:
            known = await self._request(url, context)
            if isinstance(known, Known):
                store.put(origin, _dumped(known), known.until - trio.current_time())
                self._remember(origin, known)
                told = True
            return known
        finally:
            if not told:
                store.release(origin)

    async def _request(self, url: Url, context: FetchContext) -> Known | Failure:
        own = replace(context, final_host="", page=None)
        response = await self._ask(replace(url, target="/robots.txt"), own)
        context.resolving = max(context.resolving, own.resolving)
        try:
            return self._read(response)
        finally:
            context.lease.release()  # the image has its own bytes

    def _read(self, response: Response | Failure) -> Known | Failure:
        """Return what a response means (RFC 9309 2.3.1)."""
        now = trio.current_time()
        if isinstance(response, Failure):
            reason = response.reason
            if reason == Reason.TOO_MANY_REDIRECTS.value:
                return Known(Rules(), now + LIFETIME)
            if reason in _OF_THE_FILE or (response.via_other_host and reason in _OF_A_REDIRECT):
                return Known(None, now + ERROR_LIFETIME, response.message)
            return replace(response, message=f"robots.txt: {response.message}")
        head, body = response
        if 500 <= head.status < 600:
            return Known(None, now + ERROR_LIFETIME, f"status {head.status}")
        if not 200 <= head.status < 300:
            return Known(Rules(), now + LIFETIME)
        coding = head.fields.get(b"content-encoding")
        try:
            text = body if coding is None else decode_content(body, coding, 8 * MAX_BYTES)
        except FetchError as error:
            return Known(None, now + ERROR_LIFETIME, error.failure.message)
        return Known(parse_robots(bytes(text), self._agents), now + LIFETIME)

    def _remembered(self, origin: str) -> Known | None:
        known = self._known.get(origin)
        if known is None:
            return None
        if known.until <= trio.current_time():
            self._forget(origin)
            return None
        self._known.move_to_end(origin)
        return known

    def _remember(self, origin: str, known: Known) -> Known:
        if origin in self._known:
            self._forget(origin)
        self._known[origin] = known
        self._bytes += _size(known)
        while len(self._known) > MAX_KNOWN or self._bytes > MAX_KNOWN_BYTES:
            self._forget(next(iter(self._known)))
        return known

    def _forget(self, origin: str) -> None:
        self._bytes -= _size(self._known.pop(origin))

    def close(self) -> None:
        """Close what is shared with other workers."""
        self._store.close()


def agents_of(options: NetworkOptions) -> frozenset[str]:
    """Return the product tokens that robots.txt may name us by, in lower case."""
    product = user_agent(options).partition("/")[0].partition(" ")[0]
    token = options.user_agent_token or ""
    return frozenset(name.strip().lower() for name in (*_NAMES, product, token) if name.strip())


def _size(known: Known) -> int:
    return 0 if known.rules is None else known.rules.size


def _dumped(known: Known) -> bytes:
    return f"!{known.problem}".encode() if known.rules is None else b"=" + known.rules.dump()


def _loaded(entry: bytes, seconds: float) -> Known:
    """Return what another worker knows, and for how long."""
    until = trio.current_time() + seconds
    if entry.startswith(b"!"):
        return Known(None, until, entry[1:].decode())
    return Known(Rules.load(entry[1:]), until)
