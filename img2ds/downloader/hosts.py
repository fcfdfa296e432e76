"""Hosts and their rows: who may start, who waits, and what each attempt says of its host.

A row that has to wait waits with its host, not in a slot, so that a list with ten thousand URLs of
one slow host delays no other row. How many rows a host may have is `HostControl`'s business, for
all workers of the machine; when a silent host is asked again is that of `Silences`, for all of
them, too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic

from img2ds.congestion.first_row import FirstRow
from img2ds.congestion.host_control import POLL_INTERVAL, HostControl
from img2ds.congestion.host_refusal import (
    FEW_ROWS,
    MAX_LAST_REFUSALS,
    MAX_REFUSALS,
    Refused,
    is_answer,
    refusal_of,
)
from img2ds.congestion.silence_table import SilenceTable
from img2ds.core.failure import Failure, Reason
from img2ds.downloader.host import Host
from img2ds.downloader.host_agenda import Agenda
from img2ds.downloader.host_row import RowT
from img2ds.downloader.silence import MANY_ROWS, Silences, Silent


class Hosts(Generic[RowT]):
    """Admits rows within the limits of their hosts, and holds the others.

    Args:
        control: the limits of all hosts.
        first_limit: rows active at a host that has not responded yet; 0 for no limit.
        max_waiting: rows in all that may wait because of `first_limit`: rows that wait keep their
            shards open. When more wait, only `control` limits.
        silences: the silent hosts of this machine; None for a worker alone.

    Attributes:
        agenda: says when `take` may return a row.
        asks_alone: returns whether not to wait for other workers' first rows.
    """

    def __init__(
        self,
        control: HostControl,
        first_limit: int = 0,
        max_waiting: int = 0,
        silences: SilenceTable | None = None,
    ) -> None:
        self._control = control
        self._table = control.table
        self._first_limit = first_limit or math.inf
        self._max_waiting = max_waiting
        self._waiting_first = 0  # rows of hosts that are `counted`
        self._hosts: dict[str, Host[RowT]] = {}
        self._silences = Silences(SilenceTable() if silences is None else silences)
        self._any_silent = self._silences.any
        self.agenda: Agenda[Host[RowT]] = Agenda()
        self.asks_alone: Callable[[], bool] = lambda: False

    def admit(self, row: RowT) -> bool:
        """Make `row` active and return True; or keep it until its host has room."""
        now = self._table.clock()
        host = self._hosts.get(row.host) or self._add(row, now)
        crowded = host.counted and self._waiting_first >= self._max_waiting
        if crowded or not host.waiting:
            due = self._due(host, now, crowded)
            if due <= now:
                self._start(host, row, now)
                return True
            self.agenda.add_later(host, due - now)
        self._wait(host, row)
        return False

    def take(self) -> RowT | None:
        """Return a row that waited and is active now; None when no host has room for one.

        A row that has `shares` then is not to be tried: it fails.
        """
        agenda = self.agenda
        if agenda.next_due < math.inf:
            agenda.list_due()
        if not agenda.listed:
            return None
        now = self._table.clock()
        while (host := agenda.pop()) is not None:
            if not host.waiting:
                continue
            shares = self._shares(host)
            due = now if shares else self._due(host, now)
            if due > now:
                self.agenda.add_later(host, due - now)
                continue
            row = host.waiting.popleft()
            self._waiting_first -= host.counted
            if shares:
                self._share(host, row, now)
            else:
                self._start(host, row, now)
            self._look_at(host)
            return row
        return None

    @property
    def waiting(self) -> Iterator[RowT]:
        """The rows that wait."""
        return (row for host in self._hosts.values() for row in host.waiting)

    def withdraw(self, gone: Callable[[RowT], bool]) -> None:
        """Forget the rows that wait and are `gone`."""
        for host in list(self._hosts.values()):
            kept = deque(row for row in host.waiting if not gone(row))
            if len(kept) == len(host.waiting):
                continue
            self._waiting_first -= host.counted * (len(host.waiting) - len(kept))
            host.waiting = kept
            self._table.set_waiting(host.place, len(kept))
            if not kept and not host.active:
                del self._hosts[host.name]

    def leave(self, row: RowT) -> None:
        """Make an active row inactive."""
        host = self._hosts[row.host]
        host.active -= 1
        self._table.leave(host.place)
        if host.waiting:
            self._look_at(host)
        elif not host.active:
            del self._hosts[row.host]

    def record_connection(self, row: RowT) -> None:
        """Note that the host of an active row has accepted a connection: it is there."""
        host = self._hosts[row.host]
        if not host.open:
            host.first_row.end(answered=True)

    def record_response(self, row: RowT) -> None:
        """Note that the host of an active row has responded, with whatever."""
        host = self._hosts[row.host]
        if self._any_silent[0]:
            self._silences.clear(row.host)
        if not host.open:
            host.first_row.end(answered=True)
            self._open(host)
            self._look_at(host)

    def may_keep(self, row: RowT) -> bool:
        """Return whether the connection of an active row may be kept for another one."""
        host = self._hosts[row.host]
        return self._control.may_keep(host.place, bool(host.waiting))

    def record(self, row: RowT, outcome: Failure | None) -> bool:
        """Note how an attempt at an active row ended, with None for an image.

        Call it for attempts that got an answer of any kind from the host itself.

        Returns:
            Whether the host refused the row for a limit. Then it waits with its host again.
        """
        host = self._hosts[row.host]
        self.record_response(row)
        now = self._table.clock()
        refusal = refusal_of(outcome) if outcome is not None else None
        if outcome is None or refusal is None:
            if outcome is None or is_answer(outcome):
                self._control.accept(host.place, row.started, now)
            return False
        few = self._table.active(host.place) + self._table.waiting(host.place) < FEW_ROWS
        if row.refusals + 1 >= (MAX_LAST_REFUSALS if few else MAX_REFUSALS):
            return False  # it is the URL
        again = row.refusals > 0 and (few or self._control.accepted_since(host.place, row.started))
        at_connect = outcome.reason == Reason.CONNECT_REFUSED.value
        refused = Refused(
            refusal, outcome.retry_after, row.started, again, at_connect, row.refusals
        )
        if not self._control.refuse(host.place, refused, now):
            return False
        row.refusals += 1
        # Whether it is the URL or the host, other rows tell better.
        self._give_back(host, row, first=False)
        return True

    def record_silence(self, row: RowT, clear_for: float = math.inf) -> Silent:
        """Note that an active row's host has not answered its connection attempt.

        The caller has made sure that the network is not to blame. A host that was busy when it
        fell silent is asked by one row from then on.

        Args:
            clear_for: seconds for which the network has not been to blame, if not for the whole
                attempt.
        """
        host, now = self._hosts[row.host], self._table.clock()
        row.silences += 1
        self._stop_counting(host)
        host.open = False
        host.first_row.end(answered=False)
        before = self._silences.count(row.host)
        started = max(row.started, now - clear_for)
        many = len(host.waiting) >= MANY_ROWS
        number = self._silences.add(row.host, started, now, many)
        again = number == 1 if number > before else row.silences == 1
        if again:
            self._give_back(host, row, first=True)
        return Silent(number, again)

    def silences(self, row: RowT) -> int:
        """Return how often in a row the host of `row` has not answered lately."""
        return self._silences.count(row.host)

    def _add(self, row: RowT, now: float) -> Host[RowT]:
        name = row.host
        if self._any_silent[0]:
            self._silences.forget_old(name, now)
        first = not self._silences.count(name)
        # A row that comes back has learned what there is to learn from a first one.
        opened = first and (self._first_limit == math.inf or row.started >= 0)
        place = self._table.find(name, now)
        first_row = FirstRow(self._table, place, name)
        # Not `Host[RowT](...)`: that takes four times as long.
        host: Host[RowT] = Host(name, place, first_row, opened, first and not opened)
        host.silences = self._silences.count(name)
        self._hosts[name] = host
        return host

    def _open(self, host: Host[RowT]) -> None:
        self._stop_counting(host)
        host.open = True

    def _stop_counting(self, host: Host[RowT]) -> None:
        if host.counted:
            host.counted = False
            self._waiting_first -= len(host.waiting)

    def _due(self, host: Host[RowT], now: float, crowded: bool = False) -> float:
        """Return when a row of a host may start, on the table's clock; infinity: not yet known."""
        if not host.open:
            silent_until = self._silences.ask_at(host.name, now) if self._any_silent[0] else 0.0
            limit = 1 if silent_until else self._first_limit
            if host.active >= limit and not crowded:
                return math.inf
            if silent_until > now:
                return silent_until
            # One that others know to answer is limited all the same: the next row here finds the
            # first one's connection open, and saves a handshake.
            known = not silent_until and host.first_row.has_answered
            if not known and not crowded and host.first_row.is_others and not self.asks_alone():
                return now + POLL_INTERVAL
        due = self._control.due(host.place, now)
        # Without a row in progress here, nothing tells when another host of its place has room.
        return now + POLL_INTERVAL if due == math.inf and not host.active else due

    def _shares(self, host: Host[RowT]) -> bool:
        """Return whether the next row that waits fails with others."""
        if host.open or not self._any_silent[0]:
            return False
        return host.shares(self._silences.count(host.name))

    def _share(self, host: Host[RowT], row: RowT, now: float) -> None:
        """Make a row active that fails without being tried."""
        host.sharing -= 1
        host.active += 1
        self._table.start(host.place)
        self._table.set_waiting(host.place, len(host.waiting))
        row.started, row.shares = now, host.silences

    def _start(self, host: Host[RowT], row: RowT, now: float) -> None:
        if not host.open:
            host.first_row.ask()
            if self._any_silent[0]:
                self._silences.ask(host.name, now)
        host.active += 1
        row.started = now
        self._control.start(host.place, now)
        self._table.set_waiting(host.place, len(host.waiting))

    def _wait(self, host: Host[RowT], row: RowT, first: bool = False) -> None:
        self._waiting_first += host.counted
        if first:
            host.waiting.appendleft(row)
        else:
            host.waiting.append(row)
        self._table.set_waiting(host.place, len(host.waiting))

    def _give_back(self, host: Host[RowT], row: RowT, first: bool) -> None:
        """Let an active row wait again."""
        host.active -= 1
        self._table.leave(host.place)
        self._wait(host, row, first)
        self._look_at(host)

    def _look_at(self, host: Host[RowT]) -> None:
        if host.waiting:
            self.agenda.add(host)
