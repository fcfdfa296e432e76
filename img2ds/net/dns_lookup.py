"""The look-up of one host, for all rows that wait for it.

It goes on when the rows give up, and asks again as long as it is not the name that is to blame.
Most names are answered at once: for these, `ask_at_once` saves a task and its surroundings.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

import trio

from img2ds.congestion.gate import Gate
from img2ds.congestion.machine import Machine
from img2ds.congestion.signals import Limit, Signal
from img2ds.core.failure import Reason
from img2ds.core.img2dataset_messages import NO_NAME_SERVER, not_connected, system_error
from img2ds.net.dns import BadMessage, RecordType
from img2ds.net.dns_canary import Canary
from img2ds.net.dns_config import DnsConfig
from img2ds.net.dns_exchange import Exchange, Outcome, Result, in_order
from img2ds.net.dns_fault import FailureShare, Suspicion
from img2ds.net.dns_server import DnsServer
from img2ds.net.error import FetchError

#: Seconds before a question is repeated that a server refused, at first and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 1.0
#: A name is given up after so many times `timeout`, whosever fault it is.
MAX_TIMEOUTS = 3.0

_COUNTED = {
    Outcome.FAILED: Signal.DNS_FAILED,
    Outcome.TIMED_OUT: Signal.DNS_TIMEOUTS,
    Outcome.UNREACHABLE: Signal.DNS_UNREACHABLE,
}
_ERRORS = {
    Outcome.FAILED: (Reason.DNS_FAILURE, "name server failed"),
    Outcome.TIMED_OUT: (Reason.DNS_TIMEOUT, "name server did not answer"),
    Outcome.UNREACHABLE: (Reason.DNS_FAILURE, "name server not reachable"),
}
_NO_DESCRIPTORS = not_connected(system_error(errno.EMFILE))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the look-ups of a process share.

    Attributes:
        timeout: seconds that a name without an answer takes, when others are answered.
        slots: questions in flight in this process.
        gate: questions in flight on this machine.
        canary: tells how the servers are when the names do not.
        turns: counts the questions, for servers that are asked in turn.
    """

    config: DnsConfig
    servers: list[DnsServer]
    kinds: tuple[RecordType, ...]
    timeout: float
    machine: Machine
    slots: trio.Semaphore
    gate: Gate
    share: FailureShare
    canary: Canary
    random: Random
    turns: Iterator[int] = field(default_factory=count)


class LookUp:
    """The look-up of one host.

    Args:
        once: whether one question is enough: the name has failed lately.
        on_answer: called with each answer, also with one that comes after the end.

    Attributes:
        done: set in the end, when there is a `result` or an `error`.
        to_blame: whether the error is the name's own.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        host: str,
        on_answer: Callable[[str, Result], None],
        *,
        once: bool = False,
    ) -> None:
        self.host = host
        self.done = trio.Event()
        self.result: Result | None = None
        self.error: Exception | None = None
        self.to_blame = False
        self._all = surroundings
        self._on_answer = on_answer
        self._once = once
        self._scope = trio.CancelScope()
        #: What `ask_at_once` was told, and when it asked.
        self._first: tuple[Result, float] | None = None
        self._waited = self._last_wait = 0.0
        self._waiting_since: float | None = None

    @property
    def waited(self) -> float:
        """Seconds spent so far until a question could be asked: not the name's."""
        if self._waiting_since is None:
            return self._waited
        return self._waited + trio.current_time() - self._waiting_since

    @property
    def waits(self) -> bool:
        """Whether no question may be asked yet."""
        return self._waiting_since is not None

    def settle(self, result: Result) -> None:
        """End with an answer that came another way."""
        self.result = result
        self._scope.cancel()

    async def ask_at_once(self) -> bool:
        """Ask the first question, if it may be asked now. Returns whether that was the end.

        Else call `run`, and also where this is cancelled.
        """
        shared = self._all
        names = shared.config.candidates(self.host)
        if len(names) > 1 or not _try_enter(shared):
            return False
        began = trio.current_time()
        try:
            result = await self._exchange(names[0], began)
        except BadMessage:
            return False  # `run` finds the same
        finally:
            _leave(shared)
        if not result.is_answer:
            self._first = result, began
            return False
        shared.share.add(trio.current_time(), 1.0, failed=False)
        self.result = result
        self._on_answer(self.host, result)
        self.done.set()
        return True

    async def run(self) -> None:
        """Find the addresses. Raises nothing: errors are for those who wait."""
        try:
            with self._scope:
                for name in self._all.config.candidates(self.host):
                    result = await self._ask_until_settled(name)
                    if result.outcome is Outcome.FOUND:
                        break
                self.result = result
                self._on_answer(self.host, result)
        except BadMessage:
            self.result = Result(Outcome.NOT_FOUND)
            self._on_answer(self.host, self.result)
        except Exception as error:  # a task of trio's own must not end with one
            self.error = error
        finally:
            self.done.set()

    async def _ask_until_settled(self, name: str) -> Result:
        """Return an answer. Raises FetchError: dns_failure, dns_timeout or no_descriptors."""
        suspicion = Suspicion(self._all.share)
        spent, pause = 0.0, FIRST_PAUSE
        while True:
            began = trio.current_time()
            if self._first is not None:
                (result, began), self._first = self._first, None
            else:
                if suspicion.failures:
                    self._all.canary.ask_if_quiet()
                result = await self._ask(name)
            now = trio.current_time()
            if result.is_answer:
                suspicion.note_answer(now)
                return result
            if result.error is not None and result.error.errno in (errno.EMFILE, errno.ENFILE):
                raise FetchError(Reason.NO_DESCRIPTORS, "too many open files", _NO_DESCRIPTORS)
            if not self._once:  # of a name that is known to fail, it says nothing
                suspicion.note_failure(now)
            silent = result.outcome is Outcome.TIMED_OUT
            if not silent:
                await trio.sleep(pause * self._all.random.uniform(0.75, 1.25))
                pause = min(2 * pause, LONGEST_PAUSE)
            spent += trio.current_time() - began - self._last_wait
            to_blame = suspicion.weigh(trio.current_time())
            enough = suspicion.failures >= self._all.config.attempts
            if silent and spent < self._all.timeout - 1e-3:
                enough = False
            self.to_blame = self._once or (to_blame and enough)
            if self.to_blame or spent >= MAX_TIMEOUTS * self._all.timeout:
                error = FetchError(*_ERRORS[result.outcome], NO_NAME_SERVER)
                error.failure = replace(error.failure, shared=not self.to_blame)
                raise error

    async def _ask(self, name: str) -> Result:
        """Ask one question, when it may be asked."""
        shared = self._all
        before = self._waited
        self._waiting_since = trio.current_time()
        try:
            await shared.slots.acquire()
            try:
                await shared.gate.enter()
            except BaseException:
                shared.slots.release()
                raise
            try:
                self._stop_waiting()
                return await self._exchange(name, trio.current_time())
            finally:
                _leave(shared)
        finally:
            self._stop_waiting()
            self._last_wait = self._waited - before

    def _stop_waiting(self) -> None:
        if self._waiting_since is not None:
            self._waited += trio.current_time() - self._waiting_since
            self._waiting_since = None

    async def _exchange(self, name: str, began: float) -> Result:
        """Ask one question, and count it."""
        cell = self._all.machine.cell
        result = await exchange(self._all, name, self._take_late).run()
        if result.is_answer:
            cell[Signal.DNS_ANSWERED] += 1
            cell[Signal.DNS_SECONDS] += trio.current_time() - began
        else:
            cell[_COUNTED[result.outcome]] += 1
        return result

    def _take_late(self, result: Result) -> None:
        """Take the answer to a question that was given up."""
        if result.outcome is Outcome.FOUND or len(self._all.config.candidates(self.host)) == 1:
            self._on_answer(self.host, result)
            if not self.done.is_set():
                self.settle(result)


def exchange(shared: Surroundings, name: str, on_late: Callable[[Result], None]) -> Exchange:
    """Return the exchange that asks one question.

    Args:
        on_late: called with an answer that comes after the end.
    """
    servers = in_order(shared.servers)
    if shared.config.rotate:
        alive = [server for server in shared.servers if not server.is_dead]
        turn = next(shared.turns) % max(len(alive), 1)
        servers = alive[turn:] + alive[:turn] + servers[len(alive) :]
    # Servers that are asked at a limited rate are silent because they are asked too much.
    repeat = not shared.machine.limits[Limit.DNS_RATE]
    return Exchange(servers, name, shared.kinds, on_late, repeat=repeat)


def _try_enter(shared: Surroundings) -> bool:
    """Take room for a question, of this process and of the machine, if there is some now."""
    try:
        shared.slots.acquire_nowait()
    except trio.WouldBlock:
        return False
    if shared.gate.try_enter():
        return True
    shared.slots.release()
    return False


def _leave(shared: Surroundings) -> None:
    shared.gate.leave()
    shared.slots.release()
