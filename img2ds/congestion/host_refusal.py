"""Which failures may be a host's limit, not the fault of the URL or of the network."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from img2ds.core.failure import Failure, Reason, http_reason

#: Refusals of one row at most, and those where fewer than so many rows of the host are left.
MAX_REFUSALS, MAX_LAST_REFUSALS, FEW_ROWS = 8, 3, 10


class Refusal(Enum):
    """What a host did in place of a response to the request itself."""

    RATE = "too many requests"  #: RFC 6585 4
    BUSY = "unavailable"  #: RFC 9110 15.6.4: overload, or a dead backend
    FORBIDDEN = "forbidden"  #: the URL, or a ban
    RESET = "reset"  #: too many connections, or a ban


class Refused(NamedTuple):
    """A refusal of one row.

    Attributes:
        retry_after: seconds that the host asked to wait.
        started: when the row started.
        again: whether the row was refused before, and its URL is more likely the cause than the
            host, which accepted others meanwhile, or has few left.
        at_connect: whether the connection was refused: nothing listens there, unless the host has
            accepted others.
        before: how often the row was refused before.
    """

    refusal: Refusal
    retry_after: float | None
    started: float
    again: bool = False
    at_connect: bool = False
    before: int = 0

    @property
    def is_vague(self) -> bool:
        """Whether it is a 503 without a time: overload, or a dead backend."""
        return self.refusal is Refusal.BUSY and self.retry_after is None

    @property
    def is_silent(self) -> bool:
        """Whether it does not say that there were too many requests, whatever its time."""
        return self.refusal is Refusal.RESET or self.is_vague


_REFUSALS = {
    "http_429": Refusal.RATE,
    "http_503": Refusal.BUSY,
    "http_403": Refusal.FORBIDDEN,
    Reason.CONNECT_RESET.value: Refusal.RESET,
    Reason.CONNECT_REFUSED.value: Refusal.RESET,
    Reason.CLOSED_BEFORE_REPLY.value: Refusal.RESET,
}


#: Failures before a response, or for the lack of one; and those of a server in distress, which say
#: nothing of how many requests it bears.
_NO_ANSWER = frozenset({
    Reason.BAD_URL.value, Reason.UNSUPPORTED_SCHEME.value, Reason.BLOCKED_ADDRESS.value,
    Reason.DNS_NOT_FOUND.value, Reason.DNS_TIMEOUT.value, Reason.DNS_FAILURE.value,
    Reason.CONNECT_TIMEOUT.value, Reason.PROXY_ERROR.value, Reason.TLS_ERROR.value,
    Reason.STALLED.value, Reason.TOO_SLOW.value, Reason.MAX_TIME.value,
    Reason.NO_DESCRIPTORS.value, Reason.INTERNAL_ERROR.value,
    Reason.BLOCKLISTED_URL.value, Reason.BLOCKLISTED_HOST.value,
    Reason.DISALLOWED_BY_ROBOTS.value, Reason.ROBOTS_UNAVAILABLE.value,
    *(http_reason(code) for code in (500, 502, 504, *range(520, 528))),
})  # fmt: skip


def is_answer(failure: Failure) -> bool:
    """Return whether a failure that is no refusal shows that the host takes requests."""
    return failure.reason not in _NO_ANSWER and not failure.via_other_host


def refusal_of(failure: Failure) -> Refusal | None:
    """Return which refusal a failure may be, None for none, or for another host's."""
    return None if failure.via_other_host else _REFUSALS.get(failure.reason)
