"""The leader's work: reads the machine's totals, updates the controllers, writes the limits.

Every worker has one, for the worker that leads may end before the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from img2ds.congestion.attribution import MIN_CLEAR, is_clear
from img2ds.congestion.bound import Bound, find_bound
from img2ds.congestion.dns_control import DnsControl
from img2ds.congestion.history import History
from img2ds.congestion.link_control import LinkControl
from img2ds.congestion.machine import Floats
from img2ds.congestion.outage import PORTAL_ROWS, Outage, OutageControl, Wants
from img2ds.congestion.path import NetworkPath
from img2ds.congestion.path_control import PathControl
from img2ds.congestion.patience import Patience
from img2ds.congestion.signals import Limit, Signal
from img2ds.report.condition import Condition

#: Seconds between two looks at the totals.
INTERVAL = 0.1
#: Seconds between two canaries.
CANARY_INTERVAL = 0.5

_RATES = {
    "connections_per_second": Limit.CONNECT_RATE,
    "dns_questions_per_second": Limit.DNS_RATE,
}
#: Asks the network whether it is there. Returns whether anything answered, and whether a host was
#: asked, not a name server.
Probe = Callable[[], Awaitable[tuple[bool, bool]]]
#: Connects to a host that is known to answer, so that others' silence can be compared with it.
Canary = Callable[[], Awaitable[None]]


class Controller:
    """Keeps the limits of the machine, if this worker leads, and the history of its totals.

    Args:
        requests: rows that one worker can have in progress.
        probe: called to find out whether the network is there.
        canary: called while nobody can tell whether the path or the hosts are silent.

    Attributes:
        path: of this worker.
    """

    def __init__(
        self, path: NetworkPath, requests: int, probe: Probe, canary: Canary | None = None
    ) -> None:
        self.path = path
        self._machine = path.machine
        self._requests = requests
        self._probe = probe
        self._canary = canary
        self._next_canary = 0.0
        self._history = History()
        self._connections = PathControl(math.inf)
        self._link = LinkControl(math.inf)
        self._dns = DnsControl()
        self._outage = OutageControl()
        self._patience = Patience()
        self._led = False
        if self._machine.leads():
            self._take_over()
            self._write()

    @property
    def outage(self) -> Outage:
        """What is out now."""
        return Outage(int(self._machine.limits[Limit.OUTAGE_KIND]))

    @property
    def outage_seconds(self) -> float:
        """How long the present outage has lasted; 0 without one."""
        since = self._machine.limits[Limit.OUTAGE_SINCE]
        return max(time.time() - since, 0.0) if since else 0.0

    def was_out(self, started: float) -> bool:
        """Return whether the network was out at any time since `started`, on trio's clock."""
        age = trio.current_time() - started
        ended = self._machine.limits[Limit.LAST_OUTAGE_END]
        return self.outage is not Outage.NONE or time.time() - ended < age

    def growth_since(self, started: float) -> Floats:
        """Return how the totals grew since `started`, on trio's clock."""
        return self._history.since(started, self._machine.totals())

    def clear_for(self, seconds: float) -> float:
        """Return for how many of the last `seconds` SYNs have certainly arrived; 0 for none."""
        now, totals = trio.current_time(), self._machine.totals()
        return next(
            (
                float(last)
                for last in range(int(seconds), MIN_CLEAR - 1, -1)
                if is_clear(self._history.since(now - last, totals))
            ),
            0.0,
        )

    @property
    def condition(self) -> Condition:
        """What bounds the run on this machine now, or what is out there."""
        limits = self._machine.limits
        since = limits[Limit.OUTAGE_SINCE]
        if since:
            when = time.strftime("%H:%M:%S", time.localtime(since))
            return Condition("outage", f"{self.outage.words} since {when}; waiting", waits=True)
        bound = Bound(int(limits[Limit.BOUND_BY]))
        return Condition(bound.kind, bound.words(limits[Limit.BOUND_AT]))

    @property
    def figures(self) -> dict[str, Any]:
        """The limits that are in force now, for a shard's statistics; empty on a good network."""
        limits, condition = self._machine.limits, self.condition
        figures: dict[str, Any] = {"bound_by": condition.text} if condition.text else {}
        if limits[Limit.DROPS]:
            figures["connections"] = round(limits[Limit.CONNECTIONS])
        for name, limit in _RATES.items():
            if limits[limit]:
                figures[name] = round(limits[limit], 1)
        return figures

    @property
    def leads(self) -> bool:
        """Whether this worker is the one that speaks for the machine."""
        return self._machine.leads()

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._tick(nursery)
                await trio.sleep(INTERVAL)

    async def _tick(self, nursery: trio.Nursery) -> None:
        machine, now = self._machine, trio.current_time()
        machine.sweep()
        self.path.tick()
        totals = machine.totals()
        self._history.add(now, totals)
        if not machine.leads():
            return
        self._take_over()
        ceiling = float(self._requests * machine.count_alive())
        self._connections.ceiling = 2 * ceiling
        self._link.ceiling = ceiling
        self._connections.update(now, totals)
        self._link.update(now, totals)
        self._dns.update(now, totals)
        before = self._outage.outage
        if self._outage.update(now, totals) is Wants.PROBE:
            while self.path.make_room():  # idle connections may be what fills the path
                pass
            answered, asked_host = await self._probe()
            self._outage.probed(trio.current_time(), answered, machine.totals(), asked_host)
        self._note_outage(before)
        self._write()
        loses = self._connections.lossy or self._link.limited
        machine.limits[Limit.IMPATIENT] = self._patience.update(now, totals, loses=loses)
        self._send_canary(now, totals, nursery)
        bound, figure = find_bound(
            totals, self._connections, self._link, self._dns, self._outage.outage
        )
        machine.limits[Limit.BOUND_BY], machine.limits[Limit.BOUND_AT] = bound, figure

    def _take_over(self) -> None:
        """Begin with the limits that another worker has found, if one led before."""
        limits = self._machine.limits
        if not self._led and limits[Limit.DNS]:
            window = limits[Limit.CONNECTIONS] or math.inf
            rate = limits[Limit.CONNECT_RATE] or math.inf
            limited = limits[Limit.DROPS] > 0
            self._connections.adopt(window, rate, limits[Limit.EPOCH], limited=limited)
            if limits[Limit.REQUESTS] >= 0:
                self._link.adopt(limits[Limit.REQUESTS] or math.inf)
            self._dns.adopt(limits[Limit.DNS], limits[Limit.DNS_RATE])
        self._led = True

    def _send_canary(self, now: float, totals: Floats, nursery: trio.Nursery) -> None:
        """Compare with a known host while the path drops SYNs and some are not answered."""
        unclear = self.path.drops_syns and totals[Signal.OVERDUE] > 0
        if self._canary and unclear and self.outage is Outage.NONE and now >= self._next_canary:
            self._next_canary = now + CANARY_INTERVAL
            nursery.start_soon(self._canary)

    def _note_outage(self, before: Outage) -> None:
        outage, limits = self._outage.outage, self._machine.limits
        if outage is before:
            return
        limits[Limit.OUTAGE_KIND] = outage
        if outage is Outage.NONE:
            limits[Limit.OUTAGE_SINCE] = 0.0
            limits[Limit.LAST_OUTAGE_END] = time.time()
            self._connections.restart()
            self._link.restart()
            self._dns.restart()
        elif before is Outage.NONE:
            limits[Limit.OUTAGE_SINCE] = time.time()

    def _write(self) -> None:
        limits = self._machine.limits
        connections, link, dns = self._connections, self._link, self._dns
        limits[Limit.EPOCH] = connections.epoch
        limits[Limit.CONNECTIONS] = _limit(connections.window, connections.ceiling)
        limits[Limit.DROPS] = float(connections.limited or connections.lossy)
        limits[Limit.IDLE] = connections.idle
        limits[Limit.CONNECT_RATE] = _limit(connections.rate, math.inf)
        limits[Limit.REQUESTS] = _limit(link.window, link.ceiling)
        limits[Limit.DNS] = dns.window
        limits[Limit.DNS_RATE] = dns.rate
        if self._outage.outage is Outage.PORTAL:
            limits[Limit.REQUESTS] = PORTAL_ROWS
        elif self._outage.outage is not Outage.NONE:
            # Nothing starts but the probe, which passes no gate.
            limits[Limit.REQUESTS] = -1.0


def _limit(value: float, ceiling: float) -> float:
    """Return a window as a limit: 0 for none, where it has reached its ceiling."""
    return 0.0 if value >= ceiling else value
