"""A user-space IP router between two namespaces, with the limits of a world's `Path`.

Every packet is a `bytes` object as it was read; only a few bytes of its headers are looked at.
`Router` holds the rules and takes the time as an argument; `Forwarder` moves packets between the
two TUN devices. `python -m benchmark.router` runs until it is terminated, and then writes what it
saw as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from random import Random

from benchmark import tun
from benchmark.icmp import host_unreachable
from benchmark.link_queue import LinkQueue
from benchmark.nat_table import CLIENT, SERVER, NatTable
from benchmark.network_list import kind_of
from benchmark.network_settings import Link, Outage, Path
from benchmark.network_worlds import WORLDS
from benchmark.token_bucket import TokenBucket

_TCP, _UDP = 6, 17
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
#: First byte of an IPv4 header without options; Linux sends no other for TCP and UDP.
_PLAIN_IPV4 = 0x45
_KINDS = [kind_of(byte) for byte in range(256)]


class Direction:
    """One direction: random loss, a link's queue, the time of flight."""

    def __init__(self, link: Link | None, delay: float, loss: float, start: float) -> None:
        self._link = None
        if link is not None:
            rates = [mbit * 1e6 for mbit in (link.mbit, *link.then)]
            self._link = LinkQueue(rates, link.queue, link.period, start)
        self._delay, self._loss = delay, loss
        self._random = Random(7).random
        #: Packets and when they arrive, in order.
        self.flying: deque[tuple[float, bytes]] = deque()
        self.dropped = 0
        self.sent_bytes = 0

    def send(self, packet: bytes, now: float) -> None:
        """Let a packet fly, or drop it."""
        leaves: float | None = now
        if self._loss and self._random() < self._loss:
            leaves = None
        elif self._link is not None:
            leaves = self._link.leaves(now, len(packet))
        if leaves is None:
            self.dropped += 1
        else:
            self.sent_bytes += len(packet)
            self.flying.append((leaves + self._delay, packet))

    def deliver(self, device: int, now: float) -> None:
        """Write what has arrived to `device`; a device that is down swallows it."""
        flying = self.flying
        while flying and flying[0][0] <= now:
            with suppress(OSError):
                os.write(device, flying.popleft()[1])


class Blackout:
    """The state of a world's `Outage`: when it begins and ends."""

    def __init__(self, outage: Outage | None, after: int, start: float) -> None:
        self._outage = outage
        #: Connections after which it begins.
        self._after = after
        self.begins = start if outage is not None and outage.at_start else float("inf")

    def count(self, connections: int, now: float) -> None:
        """Begin when `connections` have been opened."""
        if self._outage is not None and connections >= self._after:
            self.begins = min(self.begins, now)

    def kind(self, now: float) -> str | None:
        """Return what kind of outage there is now."""
        if self._outage is None or not self.begins <= now < self.begins + self._outage.seconds:
            return None
        return self._outage.kind


class Router:
    """Decide which packets pass, and count.

    Args:
        path: the limits.
        rows: rows of the list; an outage begins after a fifth of them.
        now: the time in seconds.

    Attributes:
        up: from the tool to the servers.
        down: from the servers to the tool.
    """

    def __init__(self, path: Path, rows: int, now: float) -> None:
        self.up = Direction(path.up, path.rtt / 2, path.loss, now)
        self.down = Direction(path.down, path.rtt / 2, path.loss, now)
        self.blackout = Blackout(path.outage, rows // 5, now)
        self.table = NatTable(path.nat.entries, path.nat.linger) if path.nat else None
        self._counts_udp = path.nat is not None and path.nat.counts_udp
        self._syns = None
        if path.syn_rate:
            # The burst of a tenth of a second: home routers have shallow buckets.
            self._syns = TokenBucket(path.syn_rate, max(1.0, path.syn_rate / 10))
        self._syn_loss, self._wake_after = path.syn_loss, path.wake_after
        self._random = Random(8).random
        #: When a waking host received its first SYN.
        self._called: dict[bytes, float] = {}
        self.first_packet: float | None = None
        self.syns = self.syns_refused = 0

    def from_tool(self, packet: bytes, now: float) -> None:
        """Take a packet from the tool."""
        if packet[0] != _PLAIN_IPV4:
            return
        if self.first_packet is None:
            self.first_packet = now
        outage = self.blackout.kind(now)
        if outage is not None:
            if outage == "unreachable":
                self.down.flying.append((now, host_unreachable(packet)))
            return
        protocol = packet[9]
        if protocol == _TCP:
            flags = packet[33]
            if flags & (_SYN | _ACK) == _SYN:
                if not self._syn_passes(packet, now):
                    return
            elif self.table is not None and flags & (_FIN | _RST):
                self._note_end(packet[16:24], CLIENT, flags, now)
        elif (
            protocol == _UDP and self._counts_udp and self.table is not None
            and not self.table.udp(packet[16:24], now)
        ):  # fmt: skip
            return
        self.up.send(packet, now)

    def from_web(self, packet: bytes, now: float) -> None:
        """Take a packet from the servers."""
        if packet[0] != _PLAIN_IPV4 or self.blackout.kind(now) is not None:
            return
        if self.table is not None and packet[9] == _TCP:
            flags = packet[33]
            if flags & (_SYN | _FIN | _RST):
                # The flow's key as the tool's packets have it: server, tool's port, server's port.
                key = packet[12:16] + packet[22:24] + packet[20:22]
                if flags & _SYN:
                    self.table.answered(key)
                else:
                    self._note_end(key, SERVER, flags, now)
        self.down.send(packet, now)

    def _syn_passes(self, packet: bytes, now: float) -> bool:
        self.syns += 1
        self.blackout.count(self.syns, now)
        if (self._syns is not None and not self._syns.take(now)) or (
            self.table is not None and not self.table.syn(packet[16:24], now)
        ):
            self.syns_refused += 1
            return False
        if self._syn_loss and self._random() < self._syn_loss:
            return False
        kind = _KINDS[packet[18]]
        if kind == "waking":
            return now >= self._called.setdefault(packet[16:20], now) + self._wake_after
        return kind != "dead"

    def _note_end(self, key: bytes, side: int, flags: int, now: float) -> None:
        assert self.table is not None
        if flags & _RST:
            self.table.reset(key, now)
        else:
            self.table.fin(key, side, now)


class Forwarder:
    """Move packets between the two devices, for ever.

    Args:
        down: whether the tool's device is down at the start.
    """

    def __init__(self, router: Router, tool: int, web: int, *, down: bool) -> None:
        self._router = router
        self._tool, self._web = tool, web
        self._down = down

    def run(self) -> None:
        """Forward until an exception ends it."""
        router, tool, web = self._router, self._tool, self._web
        poll = select.epoll()
        poll.register(tool, select.EPOLLIN)
        poll.register(web, select.EPOLLIN)
        while True:
            for device, _ in poll.poll(self._timeout()):
                self._read(device, router.from_tool if device == tool else router.from_web)
            now = time.monotonic()
            router.up.deliver(web, now)
            router.down.deliver(tool, now)
            down = router.blackout.kind(now) == "down"
            if down != self._down:
                tun.set_tool_device(up=not down)
                self._down = down

    def _timeout(self) -> float:
        now = time.monotonic()
        # A tenth of a second, so that an outage ends in time.
        next_ = now + 0.1
        for direction in (self._router.up, self._router.down):
            if direction.flying:
                next_ = min(next_, direction.flying[0][0])
        return max(0.0, next_ - now)

    def _read(self, device: int, take: Callable[[bytes, float], None]) -> None:
        now = time.monotonic()
        # Bounded, so that neither direction starves the other.
        for _ in range(64):
            try:
                packet = os.read(device, 2048)
            except OSError:  # empty, or down
                return
            take(packet, now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("rows", type=int)
    parser.add_argument("keeper", type=int, help="a process in the tool's network namespace")
    parser.add_argument("report", help="file for what was seen")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    world = WORLDS[options.world]
    outage = world.path.outage
    down = outage is not None and outage.kind == "down" and outage.at_start
    web = tun.open_web_side()
    tool = tun.open_tool_side(options.keeper, ipv6=world.names.ipv6, up=not down)
    router = Router(world.path, options.rows, time.monotonic())
    print("ready", flush=True)
    try:
        Forwarder(router, tool, web, down=down).run()
    finally:
        with open(options.report, "w") as file:
            json.dump(
                {
                    "first_packet": router.first_packet, "syns": router.syns,
                    "syns_refused": router.syns_refused,
                    "most_entries": None if router.table is None else router.table.most,
                    "down_bytes": router.down.sent_bytes, "down_dropped": router.down.dropped,
                    "up_bytes": router.up.sent_bytes, "up_dropped": router.up.dropped,
                },
                file,
            )  # fmt: skip


if __name__ == "__main__":
    main()
