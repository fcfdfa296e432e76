"""A worker's side of the network path: its gates, and what it notices of connections and bodies."""

from __future__ import annotations

import math
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import trio

from img2ds.congestion.gate import Gate, Numbers
from img2ds.congestion.machine import Machine
from img2ds.congestion.rounds import LONG_TRIP
from img2ds.congestion.signals import LATE_CONNECT, SLOW_BODY, Limit, Signal

#: Addresses remembered that have answered, about 150 bytes each.
MAX_KNOWN = 4096
#: Seconds in which several failures of one known address count once: a host that refuses, or that
#: died, says nothing of the path.
KNOWN_FAILURE_INTERVAL = 10.0
#: Addresses remembered that did not answer, with the local port that asked.
MAX_SILENT = 4096
#: Where Linux' `struct tcp_info` has tcpi_total_retrans, and how much of it is needed.
_TOTAL_RETRANS, _TCP_INFO_SIZE = 100, 104

#: Seconds after which a connection attempt is overdue: before there was any connection, at least
#: after that, and so many times what others take, which are smoothed by a factor.
FIRST_OVERDUE, OVERDUE_CONNECT, OVERDUE_FACTOR, SMOOTHING = 1.0, 0.3, 3.0, 0.1
#: Seconds after which a SYN is sent again (RFC 6298 2.1), and that its answer may take at least.
RETRANSMITTED_AFTER, MIN_ANSWER = 1.0, 0.5

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """A connection attempt.

    Attributes:
        started: on trio's clock.
        epoch: after which cut of the window its first SYN was sent.
        again: whether an attempt before it was given up.
    """

    started: float
    epoch: float
    again: bool


def _no_room() -> bool:
    return False


class NetworkPath:
    """Connections and bodies of one worker.

    Attributes:
        connections: the gate of new connections: a row passes it once its host's addresses are
            known, and leaves it when the connection is closed.
        requests: the gate of rows in progress.
        make_room: closes an idle connection; returns whether there was one.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.make_room: Callable[[], bool] = _no_room
        self.connections = Gate(
            machine,
            Numbers(
                Signal.OPEN,
                Signal.WAITING_CONNECT,
                Limit.CONNECTIONS,
                # A SYN that was dropped holds no place on the path.
                less=Signal.OVERDUE,
                rate=Limit.CONNECT_RATE,
            ),
            make_room=lambda: self.make_room(),
        )
        self.requests = Gate(
            machine, Numbers(Signal.REQUESTS, Signal.WAITING_REQUEST, Limit.REQUESTS)
        )
        self._connecting: OrderedDict[object, float] = OrderedDict()  # not overdue, by their start
        self._connect_seconds: float | None = None  # of clean connections, smoothed
        self._bodies: OrderedDict[object, float] = OrderedDict()  # fast so far, by their start
        self._known: OrderedDict[Address, float] = OrderedDict()  # with the last failure counted
        self._silent: OrderedDict[Address, int] = OrderedDict()  # with the port that asked last

    # Connections

    @property
    def drops_syns(self) -> bool:
        """Whether SYNs are lost now."""
        return self.machine.limits[Limit.DROPS] > 0

    @property
    def impatient(self) -> bool:
        """Whether a response that does not come is asked for again: see `Patience`."""
        return self.machine.limits[Limit.IMPATIENT] > 0

    @property
    def two_syns(self) -> float:
        """Seconds in which a host that is there answers a SYN or its retransmission, at most."""
        if self._connect_seconds is None:
            return math.inf
        return RETRANSMITTED_AFTER + max(MIN_ANSWER, OVERDUE_FACTOR * self._connect_seconds)

    @property
    def is_long(self) -> bool:
        """Whether round trips are as long as a satellite's."""
        return self._connect_seconds is not None and self._connect_seconds >= LONG_TRIP

    @property
    def overdue_after(self) -> float:
        """Seconds after which a connection attempt takes much longer than others did."""
        if self._connect_seconds is None:
            return FIRST_OVERDUE
        return max(OVERDUE_CONNECT, OVERDUE_FACTOR * self._connect_seconds)

    def connect_started(self, before: Attempt | None = None) -> Attempt:
        """Note a SYN. Returns what the other methods take.

        Args:
            before: the attempt that was given up for this one.
        """
        self.machine.cell[Signal.CONNECTING] += 1
        epoch = self.machine.limits[Limit.EPOCH] if before is None else before.epoch
        attempt = Attempt(trio.current_time(), epoch, before is not None)
        self._connecting[attempt] = attempt.started
        return attempt

    def connect_ended(self, attempt: Attempt) -> None:
        """Note that an attempt ended, however; then say how."""
        cell = self.machine.cell
        cell[Signal.CONNECTING] -= 1
        if self._connecting.pop(attempt, None) is None:
            cell[Signal.OVERDUE] -= 1

    def connected(self, sock: socket.socket, address: Address, attempt: Attempt) -> None:
        """Note a connection."""
        cell = self.machine.cell
        cell[Signal.ANSWERS] += 1
        self._remember(address)
        if self._silent:
            self._silent.pop(address, None)
        seconds = trio.current_time() - attempt.started
        if attempt.again or (seconds >= LATE_CONNECT and syn_was_retransmitted(sock)):
            if attempt.epoch == self.machine.limits[Limit.EPOCH]:
                cell[Signal.RETRANSMITTED_CONNECTS] += 1
            cell[Signal.ALL_RETRANSMITTED] += 1
        else:
            cell[Signal.CLEAN_CONNECTS] += 1
            cell[Signal.CONNECT_SECONDS] += seconds
            before = seconds if self._connect_seconds is None else self._connect_seconds
            self._connect_seconds = before + SMOOTHING * (seconds - before)

    def established(self) -> Callable[[], None]:
        """Count a connection that has passed the gate. Returns what to call when it is closed."""
        cell = self.machine.cell
        cell[Signal.ESTABLISHED] += 1

        def closed() -> None:
            cell[Signal.ESTABLISHED] -= 1
            self.connections.leave()

        return closed

    def refused(self, address: Address) -> None:
        """Note a connection attempt that was answered with a refusal or a reset."""
        self.machine.cell[Signal.ANSWERS] += 1
        self._count_known_failure(address)

    def timed_out(self, address: Address, port: int) -> None:
        """Note a connection attempt from a local port that was not answered in time."""
        self.machine.cell[Signal.CONNECT_TIMEOUTS] += 1
        self._count_known_failure(address)
        self._silent[address] = port
        if len(self._silent) > MAX_SILENT:
            self._silent.popitem(last=False)

    def take_port(self, address: Address) -> int:
        """Return the local port from which to ask an address that did not answer; 0 for any.

        A router keeps its entry for a SYN without an answer for up to two minutes: an attempt from
        the same port needs no further one.
        """
        return self._silent.pop(address, 0) if self._silent else 0

    def unreachable(self) -> None:
        """Note a connection attempt for which there was no route."""
        self.machine.cell[Signal.UNREACHABLE] += 1

    def known_addresses(self, count: int) -> list[Address]:
        """Return the last addresses that answered, the latest first."""
        latest = reversed(self._known)
        return [address for address, _ in zip(latest, range(count), strict=False)]

    def _remember(self, address: Address) -> None:
        self._known[address] = self._known.pop(address, 0.0)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _count_known_failure(self, address: Address) -> None:
        last = self._known.get(address)
        now = trio.current_time()
        if last is not None and (not last or now - last > KNOWN_FAILURE_INTERVAL):
            self._known[address] = now
            self.machine.cell[Signal.KNOWN_FAILURES] += 1

    def portal_answered(self) -> None:
        """Note a response of a portal."""
        self.machine.cell[Signal.PORTAL_PAGES] += 1

    # Bodies

    def body_started(self) -> object:
        """Note a response whose body begins to arrive. Returns what `body_ended` takes."""
        cell = self.machine.cell
        cell[Signal.ANSWERS] += 1
        cell[Signal.BODIES] += 1
        key = object()
        self._bodies[key] = trio.current_time()
        return key

    def received(self, count: int) -> None:
        """Note bytes of a body."""
        self.machine.cell[Signal.BODY_BYTES] += count

    def body_ended(self, key: object, *, slow: bool) -> None:
        """Note the end of a body, good or not; `slow` when it was given up for its rate."""
        cell = self.machine.cell
        cell[Signal.BODIES] -= 1
        if self._bodies.pop(key, None) is not None:
            cell[Signal.SLOW_BODIES if slow else Signal.FAST_BODIES] += 1

    def tick(self) -> None:
        """Count the bodies that have become slow, and make room for others' connections.

        Call it a few times a second.
        """
        self._yield_idle()
        now, cell = trio.current_time(), self.machine.cell
        cell[Signal.SLOW_BODIES] += _drop_older(self._bodies, now - SLOW_BODY)
        count = _drop_older(self._connecting, now - self.overdue_after)
        cell[Signal.OVERDUE_CONNECTS] += count
        cell[Signal.OVERDUE] += count

    def _yield_idle(self) -> None:
        """Close idle connections when the path is full or rows of any worker wait for it."""
        machine, limits = self.machine, self.machine.limits
        if not machine.cell[Signal.IDLE]:
            return
        count = 0.0
        if limits[Limit.CONNECTIONS]:
            excess = self.connections.taken() - limits[Limit.CONNECTIONS]
            if self.drops_syns:
                # A SYN that was dropped is sent again soon, and closing takes a round trip.
                excess += machine.total(Signal.OVERDUE)
            count = machine.total(Signal.WAITING_CONNECT) + max(excess, 0.0)
        if limits[Limit.IDLE]:
            count = max(count, machine.total(Signal.IDLE) - limits[Limit.IDLE])
        for _ in range(int(count)):
            if not self.make_room():
                break


def _drop_older(items: OrderedDict[object, float], since: float) -> int:
    """Remove items older than `since`; returns how many."""
    count = 0
    while items and items[next(iter(items))] <= since:
        items.popitem(last=False)
        count += 1
    return count


def syn_was_retransmitted(sock: socket.socket) -> bool:
    """Return whether a fresh connection needed more than one SYN; true where nobody knows."""
    if not hasattr(socket, "TCP_INFO"):
        return True
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:
        return True
    if len(info) < _TCP_INFO_SIZE:
        return True
    count: int = struct.unpack_from("I", info, _TOTAL_RETRANS)[0]
    return count > 0
