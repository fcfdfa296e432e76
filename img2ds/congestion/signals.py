"""The numbers that the workers of a machine share: counters, gauges and limits.

Each worker writes counters and gauges in a cell of its own; whoever leads writes the limits.

These are plain ints, not enums: a row looks up some hundred of them, and Python 3.11 takes a
quarter of a microsecond for each member of an enum.
"""

from __future__ import annotations


class Signal:
    """A number in a worker's cell. Counters only grow; gauges, from `OPEN` on, say what is now."""

    CLEAN_CONNECTS = 0  #: connections that needed one SYN
    CONNECT_SECONDS = 1  #: seconds that these took in all
    RETRANSMITTED_CONNECTS = 2  #: those that needed more, begun since the last cut
    ALL_RETRANSMITTED = 3  #: those that needed more
    OVERDUE_CONNECTS = 4  #: attempts that took much longer than others, answered or not
    CONNECT_TIMEOUTS = 5  #: attempts that were not answered in time
    KNOWN_FAILURES = 6  #: addresses that had answered, and now did not or refused
    UNREACHABLE = 7  #: attempts without a route to the host
    ANSWERS = 8  #: SYN-ACKs, refusals and heads of responses
    FAST_BODIES = 9  #: bodies that arrived within `SLOW_BODY` seconds
    SLOW_BODIES = 10  #: bodies that did not, or stalled
    BODY_BYTES = 11  #: bytes of bodies
    DNS_ANSWERED = 12  #: questions with an answer: addresses, or "no such name"
    DNS_FAILED = 13  #: questions that a server answered with SERVFAIL or REFUSED
    DNS_TIMEOUTS = 14  #: questions that no server answered in time
    DNS_UNREACHABLE = 15  #: questions that could not be sent
    DNS_SECONDS = 16  #: seconds that answered questions took in all
    PORTAL_PAGES = 17  #: responses that are a portal's, see `portal`

    OPEN = 18  #: sockets of connections: connecting, in use, idle
    CONNECTING = 19  #: those that wait for a SYN-ACK
    ESTABLISHED = 20  #: those that are connected
    OVERDUE = 21  #: those of `CONNECTING` that wait for much longer than others did
    IDLE = 22  #: those that are kept alive
    REQUESTS = 23  #: rows in progress
    BODIES = 24  #: bodies that are arriving
    DNS_IN_FLIGHT = 25  #: questions without an answer yet
    WAITING_CONNECT = 26  #: rows that may not connect yet
    WAITING_REQUEST = 27  #: rows that may not start yet
    WAITING_DNS = 28  #: questions that may not be asked yet
    WAITING_HOST = 29  #: rows that wait for their host


class Limit:
    """A number that the leader writes for all workers of the machine; 0 where there is no limit."""

    CONNECTIONS = 0  #: most sockets of connections
    IDLE = 1  #: most connections that are kept alive
    DROPS = 2  #: 1 when SYNs are lost
    CONNECT_RATE = 3  #: most new connections a second
    REQUESTS = 4  #: most rows in progress
    DNS = 5  #: most questions in flight
    DNS_RATE = 6  #: most questions a second
    IMPATIENT = 7  #: 1 when a response that is late was lost, for others come in time
    EPOCH = 8  #: counts the cuts of `CONNECTIONS`: what began before one says nothing of it
    OUTAGE_SINCE = 9  #: when an outage began, in Unix time; 0 without one
    OUTAGE_KIND = 10  #: a value of `outage.Outage`
    LAST_OUTAGE_END = 11  #: on the monotonic clock
    BOUND_BY = 12  #: a value of `bound.Bound`: what bounds the run now
    BOUND_AT = 13  #: the figure that goes with it


#: Seconds after which a connection attempt may have been sent again (RFC 6298 2.1: after one), and
#: more than the longest round trips but a satellite's.
LATE_CONNECT = 0.9
#: Seconds after which a body is slow, whatever its size.
SLOW_BODY = 3.0
