"""The numbers that the workers of a machine share: counters, gauges and limits.

Each worker writes counters and gauges in a cell of its own; whoever leads writes the limits.
"""

from __future__ import annotations

from enum import IntEnum, auto


class Signal(IntEnum):
    """A number in a worker's cell. Counters only grow; gauges, from `OPEN` on, say what is now."""

    CLEAN_CONNECTS = 0  #: connections that needed one SYN
    RETRANSMITTED_CONNECTS = auto()  #: connections that needed more than one SYN
    LATE_CONNECTS = auto()  #: attempts without an answer after `LATE_CONNECT` seconds
    CONNECT_TIMEOUTS = auto()  #: attempts that were given up
    KNOWN_TIMEOUTS = auto()  #: those of them to hosts that had answered before
    UNREACHABLE = auto()  #: attempts without a route to the host
    ANSWERS = auto()  #: anything that came from a server: a SYN-ACK, an RST, a response
    RESPONSES = auto()  #: heads of responses
    FAST_BODIES = auto()  #: bodies that arrived within `SLOW_BODY` seconds
    SLOW_BODIES = auto()  #: bodies that did not, or stalled
    BODY_BYTES = auto()  #: bytes of bodies
    BODY_SECONDS = auto()  #: seconds that ended bodies took in all
    DNS_ANSWERED = auto()  #: questions with an answer: addresses, or "no such name"
    DNS_FAILED = auto()  #: questions that a server answered with SERVFAIL or REFUSED
    DNS_TIMEOUTS = auto()  #: questions that no server answered in time
    DNS_UNREACHABLE = auto()  #: questions that could not be sent
    DNS_SECONDS = auto()  #: seconds that answered questions took in all
    REDIRECTED_AWAY = auto()  #: responses that may be a portal's, see `portal`

    OPEN = auto()  #: sockets of connections: connecting, in use, idle
    CONNECTING = auto()  #: those that wait for a SYN-ACK
    IDLE = auto()  #: those that are kept alive
    REQUESTS = auto()  #: rows in progress
    BODIES = auto()  #: bodies that are arriving
    DNS_IN_FLIGHT = auto()  #: questions without an answer yet
    WAITING_CONNECT = auto()  #: rows that may not connect yet
    WAITING_REQUEST = auto()  #: rows that may not start yet
    WAITING_DNS = auto()  #: questions that may not be asked yet


class Limit(IntEnum):
    """A number that the leader writes for all workers of the machine; 0 where there is no limit."""

    CONNECTIONS = 0  #: most sockets of connections
    CONNECT_RATE = auto()  #: most new connections a second
    REQUESTS = auto()  #: most rows in progress
    DNS = auto()  #: most questions in flight
    DNS_RATE = auto()  #: most questions a second
    EPOCH = auto()  #: counts the cuts of `CONNECTIONS`: what started before one says nothing of it
    PAUSED_SINCE = auto()  #: when an outage began, in seconds since the epoch; 0 without one
    PAUSE = auto()  #: what is out: a value of `outage.Pause`
    BOUND_BY = auto()  #: what bounds the run: a value of `controller.Bound`
    BEAT = auto()  #: when the leader last wrote, in seconds of the monotonic clock


#: Seconds after which a connection attempt without an answer is late: before a first
#: retransmission (RFC 6298 2.1), and more than any terrestrial round trip.
LATE_CONNECT = 0.9
#: Seconds after which a body is slow, whatever its size.
SLOW_BODY = 3.0
