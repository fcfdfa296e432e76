"""The numbers that the workers of a machine share: counters, gauges and limits.

Each worker writes counters and gauges in a cell of its own; whoever leads writes the limits.
"""

from __future__ import annotations

from enum import IntEnum, auto


class Signal(IntEnum):
    """A number in a worker's cell. Counters only grow; gauges, from `OPEN` on, say what is now."""

    CLEAN_CONNECTS = 0  #: connections that needed one SYN
    CONNECT_SECONDS = auto()  #: seconds that these took in all
    RETRANSMITTED_CONNECTS = auto()  #: those that needed more, begun since the last cut
    ALL_RETRANSMITTED = auto()  #: those that needed more
    OVERDUE_CONNECTS = auto()  #: attempts that took much longer than others, answered or not
    CONNECT_TIMEOUTS = auto()  #: attempts that were not answered in time
    KNOWN_FAILURES = auto()  #: addresses that had answered, and now did not or refused
    UNREACHABLE = auto()  #: attempts without a route to the host
    ANSWERS = auto()  #: SYN-ACKs, refusals and heads of responses
    FAST_BODIES = auto()  #: bodies that arrived within `SLOW_BODY` seconds
    SLOW_BODIES = auto()  #: bodies that did not, or stalled
    BODY_BYTES = auto()  #: bytes of bodies
    DNS_ANSWERED = auto()  #: questions with an answer: addresses, or "no such name"
    DNS_FAILED = auto()  #: questions that a server answered with SERVFAIL or REFUSED
    DNS_TIMEOUTS = auto()  #: questions that no server answered in time
    DNS_UNREACHABLE = auto()  #: questions that could not be sent
    DNS_SECONDS = auto()  #: seconds that answered questions took in all
    PORTAL_PAGES = auto()  #: responses that are a portal's, see `portal`

    OPEN = auto()  #: sockets of connections: connecting, in use, idle
    CONNECTING = auto()  #: those that wait for a SYN-ACK
    ESTABLISHED = auto()  #: those that are connected
    OVERDUE = auto()  #: those of `CONNECTING` that wait for much longer than others did
    IDLE = auto()  #: those that are kept alive
    REQUESTS = auto()  #: rows in progress
    BODIES = auto()  #: bodies that are arriving
    DNS_IN_FLIGHT = auto()  #: questions without an answer yet
    WAITING_CONNECT = auto()  #: rows that may not connect yet
    WAITING_REQUEST = auto()  #: rows that may not start yet
    WAITING_DNS = auto()  #: questions that may not be asked yet
    WAITING_HOST = auto()  #: rows that wait for their host


class Limit(IntEnum):
    """A number that the leader writes for all workers of the machine; 0 where there is no limit."""

    CONNECTIONS = 0  #: most sockets of connections
    IDLE = auto()  #: most connections that are kept alive
    DROPS = auto()  #: 1 when SYNs are lost
    CONNECT_RATE = auto()  #: most new connections a second
    REQUESTS = auto()  #: most rows in progress
    DNS = auto()  #: most questions in flight
    DNS_RATE = auto()  #: most questions a second
    IMPATIENT = auto()  #: 1 when a response that is late was lost, for others come in time
    EPOCH = auto()  #: counts the cuts of `CONNECTIONS`: what began before one says nothing of it
    OUTAGE_SINCE = auto()  #: when an outage began, in Unix time; 0 without one
    OUTAGE_KIND = auto()  #: a value of `outage.Outage`
    LAST_OUTAGE_END = auto()  #: on the monotonic clock
    BOUND_BY = auto()  #: a value of `bound.Bound`: what bounds the run now
    BOUND_AT = auto()  #: the figure that goes with it


#: Seconds after which a connection attempt may have been sent again (RFC 6298 2.1: after one), and
#: more than the longest round trips but a satellite's.
LATE_CONNECT = 0.9
#: Seconds after which a body is slow, whatever its size.
SLOW_BODY = 3.0
