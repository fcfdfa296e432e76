"""One question about a name, put to the DNS servers: the best one first, others when it is silent.

An exchange ends with an answer, or when nobody answers in time. Answers that come later are handed
on: whoever asks for the name next has it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

import trio

from img2ds.net.alarms import alarms
from img2ds.net.dns import Answer, RecordType, ResponseCode
from img2ds.net.dns_server import PREFERENCE, DnsServer, Inquiry

#: Seconds to wait for AAAA once A is known, or the other way round: some servers drop questions of
#: types they do not know. Ten times RFC 8305's 50 ms; a name is asked for once, for all its URLs.
LATE_ANSWER = 0.5
#: Times that a question is sent again, as it may have been lost.
REPEATS = 2
#: Seconds after which the time limits, which follow the answers of others, are looked at again.
_LOOK_AGAIN = 1.0


class Outcome(Enum):
    FOUND = "found"
    NOT_FOUND = "not found"  #: there is no such name, or it has no address
    FAILED = "failed"  #: SERVFAIL, REFUSED and the like
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"  #: it could not be sent to any server


class Result(NamedTuple):
    """What became of a question.

    Attributes:
        addresses: in the order to try them.
        ttl: seconds that an answer may be kept, as the server says; 0 where it says nothing.
        error: of the last server that could not be reached.
    """

    outcome: Outcome
    addresses: tuple[str, ...] = ()
    ttl: int = 0
    error: OSError | None = None

    @property
    def is_answer(self) -> bool:
        return self.outcome in (Outcome.FOUND, Outcome.NOT_FOUND)


def in_order(servers: Sequence[DnsServer]) -> list[DnsServer]:
    """Return the servers in the order to ask them: those that answer soon and do not fail."""
    if len(servers) == 1:
        return list(servers)
    places = {id(server): place for place, server in enumerate(servers)}
    return sorted(servers, key=lambda s: (s.is_dead, s.cost + PREFERENCE * places[id(s)]))


class Exchange:
    """Asks servers in turn for the addresses of one name.

    Args:
        servers: in the order to ask them.
        on_late: called with an answer that comes after `run` has ended.
        repeat: whether a question that is late is sent once more: it may have been lost.
    """

    def __init__(
        self,
        servers: Sequence[DnsServer],
        name: str,
        kinds: tuple[RecordType, ...],
        on_late: Callable[[Result], None],
        *,
        repeat: bool = True,
    ) -> None:
        self._left = list(servers)
        self._name, self._kinds = name, kinds
        self._on_late = on_late
        self._inquiries: list[Inquiry] = []
        self._repeats = REPEATS if repeat else 0
        self._ended = False
        self._changed = trio.Event()

    async def run(self) -> Result:
        """Ask until there is an answer or no hope for one.

        Raises:
            BadMessage: the name cannot be asked for.
        """
        now = trio.current_time()
        self._ask_next(now)
        for server in [server for server in self._left if server.takes_probe(now)]:
            self._left.remove(server)
            self._ask(server, now)
        clock = alarms()
        # Nothing can have come yet but an error of a server that cannot be reached.
        failed = any(inquiry.error is not None for inquiry in self._inquiries)
        result = self._result(now) if failed else None
        try:
            while result is None:
                self._changed = trio.Event()
                alarm = clock.set(self._next_look(now), self._changed.set)
                try:
                    await self._changed.wait()
                finally:
                    clock.call_off(alarm)
                if any(inquiry.is_truncated for inquiry in self._inquiries):
                    await self._ask_over_tcp()
                now = trio.current_time()
                result = self._result(now)
        finally:
            self._ended = True
            self._inquiries = []  # each knows this exchange: a cycle would wait for the collector
        return result

    def _ask_next(self, now: float) -> None:
        self._ask(self._left.pop(0), now)

    def _ask(self, server: DnsServer, now: float) -> None:
        self._inquiries.append(Inquiry(server, self._name, self._kinds, self._change, now))

    def _change(self, inquiry: Inquiry) -> None:
        self._changed.set()
        if self._ended:
            result = _judge(inquiry, trio.current_time())
            if result is not None and result.is_answer:
                self._on_late(result)

    def _result(self, now: float) -> Result | None:
        """Return the result if there is one; else see to it that there will be."""
        while True:
            ended: list[Result] = []
            pending: list[Inquiry] = []
            for inquiry in self._inquiries:
                result = _judge(inquiry, now)
                if result is None:
                    pending.append(inquiry)
                elif result.is_answer:
                    self._blame_silent(inquiry, now)
                    return result
                else:
                    ended.append(result)
            in_time = [i for i in pending if now < i.sent_at + i.server.time_limit]
            hopeless = all(now >= i.sent_at + i.server.hedge_after for i in in_time)
            if self._left and hopeless:
                self._ask_next(now)
                continue
            if in_time:
                self._repeat(in_time, now)
                return None
            for inquiry in pending:
                if not inquiry.answers:
                    inquiry.server.timed_out()
            return _worst(ended, bool(pending))

    def _blame_silent(self, answered: Inquiry, now: float) -> None:
        for other in self._inquiries:
            slow = now >= other.sent_at + other.server.hedge_after
            if other is not answered and not other.answers and other.error is None and slow:
                other.server.timed_out()

    def _repeat(self, inquiries: list[Inquiry], now: float) -> None:
        """Send questions once more that may have been lost."""
        for inquiry in inquiries:
            if inquiry.repeats < self._repeats and now >= inquiry.repeat_at:
                inquiry.repeats += 1
                inquiry.send(now)

    def _next_look(self, now: float) -> float:
        """Return when something is to be done, if nothing comes until then."""
        times = []
        for inquiry in self._inquiries:
            server = inquiry.server
            if inquiry.answers and any(answer.addresses for answer in inquiry.answers.values()):
                times.append(inquiry.changed_at + LATE_ANSWER)
            times.append(inquiry.sent_at + server.time_limit)
            if self._left:
                times.append(inquiry.sent_at + server.hedge_after)
            if inquiry.repeats < self._repeats:
                times.append(inquiry.repeat_at)
        look = now + _LOOK_AGAIN
        for time in times:
            if now < time < look:
                look = time
        return look

    async def _ask_over_tcp(self) -> None:
        """Ask again where an answer was cut short."""
        for inquiry in self._inquiries:
            if not inquiry.is_complete or inquiry.asked_over_tcp:
                continue
            inquiry.asked_over_tcp = True
            for kind, answer in list(inquiry.answers.items()):
                if answer.truncated:
                    whole = await inquiry.server.ask_over_tcp(inquiry.queries[kind])
                    inquiry.answers[kind] = whole or answer


def _judge(inquiry: Inquiry, now: float) -> Result | None:
    """Return what a server's answers say; None as long as more is to come."""
    if not inquiry.answers and inquiry.error is None:
        return None
    answers = list(inquiry.answers.values())
    found = [a for a in answers if a.addresses and a.code == ResponseCode.NO_ERROR]
    late = bool(found) and now >= inquiry.changed_at + LATE_ANSWER
    if not inquiry.is_complete and not late:
        return Result(Outcome.UNREACHABLE, error=inquiry.error) if inquiry.error else None
    if any(answer.truncated for answer in answers) and not inquiry.asked_over_tcp:
        return None
    if found:
        if len(found) == 1:
            return Result(Outcome.FOUND, found[0].addresses, found[0].ttl)
        addresses = _interleaved([a for answer in found for a in answer.addresses])
        return Result(Outcome.FOUND, addresses, min(answer.ttl for answer in found))
    if all(_says_there_is_none(answer) for answer in answers):
        return Result(Outcome.NOT_FOUND, ttl=min(answer.ttl for answer in answers))
    return Result(Outcome.FAILED)


def _says_there_is_none(answer: Answer) -> bool:
    if answer.truncated:  # and TCP did not work
        return False
    return answer.code in (ResponseCode.NO_ERROR, ResponseCode.NAME_ERROR)


def _worst(ended: list[Result], silent: bool) -> Result:
    if any(result.outcome is Outcome.FAILED for result in ended):
        return Result(Outcome.FAILED)
    return Result(Outcome.TIMED_OUT) if silent else ended[-1]


def _interleaved(addresses: list[str]) -> tuple[str, ...]:
    """Return IPv6 and IPv4 addresses in turn, IPv6 first (RFC 8305 4)."""
    six = [a for a in addresses if ":" in a]
    four = [a for a in addresses if ":" not in a]
    mixed = [a for pair in zip(six, four, strict=False) for a in pair]
    shorter = min(len(six), len(four))
    return (*mixed, *six[shorter:], *four[shorter:])
