"""One DNS server as this process knows it: how long it takes, how often it fails, its sockets."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import trio

from img2ds.net.dns import Answer, BadMessage, RecordType, ResponseCode, decode_answer
from img2ds.net.dns_socket import DnsSockets, Message

#: Seconds of a question without an answer, at least: packets are late for a second now and then.
MIN_TIME_LIMIT = 1.0
#: Seconds before a question is sent once more, at least.
REPEAT_AFTER = 0.3
#: Seconds before another server is asked too, as long as this one has not answered anything.
HEAD_START = 0.25
#: Questions in a row without an answer after which a server is dead, and how often it is tried.
DEAD_AFTER, PROBE_INTERVAL = 3, 10.0
#: Seconds that a server may cost more than the next one of the list.
PREFERENCE = 0.05
#: Seconds that a failure costs.
FAILURE_COST = 2.0
#: Part by which the longest answer time is forgotten with each answer.
_FORGET = 0.005


class DnsServer:
    """A server, its answer times (smoothed as in RFC 6298) and its failures.

    Args:
        first_limit: seconds of a question's time limit until an answer was measured.
        max_limit: seconds of a time limit at most.

    Attributes:
        silent: questions in a row without an answer.
        time_limit: seconds after which a question has no answer: twice the longest answer time
            lately. While a cold server's answers come in, that stays ahead of them, whose mean
            says too little.
        repeat_after: seconds after which a question may have been lost, so that it is sent once
            more.
        hedge_after: seconds after which another server is asked as well.
    """

    def __init__(
        self, address: tuple[str, int], random: Random, first_limit: float, max_limit: float
    ) -> None:
        self.address = address
        self.sockets = DnsSockets(address, random)
        self.silent = 0
        self._smoothed: float | None = None
        self._deviation = 0.0
        self._longest = 0.0
        self._failing = 0.0
        self._max_limit = max_limit
        self._next_probe = 0.0
        self.time_limit = self.repeat_after = min(first_limit, max_limit)
        self.hedge_after = HEAD_START

    @property
    def is_dead(self) -> bool:
        return self.silent >= DEAD_AFTER

    @property
    def cost(self) -> float:
        """Seconds that a question costs here, with its share of failures."""
        return (self._smoothed or 0.0) + FAILURE_COST * self._failing

    def takes_probe(self, now: float) -> bool:
        """Return whether it is time to ask a dead server whether it is back."""
        if not self.is_dead or now < self._next_probe:
            return False
        self._next_probe = now + PROBE_INTERVAL
        return True

    def answered(self, seconds: float, *, failed: bool) -> None:
        """Note an answer, or a failure that the server answered with."""
        self.silent = 0
        self._failing += 0.1 * (failed - self._failing)
        if failed:
            return  # it did not look anything up
        if self._smoothed is None:
            self._smoothed, self._deviation = seconds, seconds / 2
        else:
            self._deviation += (abs(seconds - self._smoothed) - self._deviation) / 4
            self._smoothed += (seconds - self._smoothed) / 8
        self._longest = max(seconds, self._longest * (1.0 - _FORGET))
        self.time_limit = min(max(2.0 * self._longest, MIN_TIME_LIMIT), self._max_limit)
        late = 4.0 * self._deviation
        self.repeat_after = min(
            max(1.5 * self._smoothed + late, REPEAT_AFTER), 0.75 * self._max_limit
        )
        self.hedge_after = max(self._smoothed + late, HEAD_START)

    def timed_out(self) -> None:
        """Note a question without an answer."""
        self.silent += 1
        if self.silent == DEAD_AFTER:
            self._next_probe = trio.current_time() + PROBE_INTERVAL

    async def ask_over_tcp(self, query: bytes) -> Answer | None:
        """Ask the same question over TCP (RFC 7766). Returns None when that does not work."""
        with trio.move_on_after(self._max_limit):
            try:
                stream = await trio.open_tcp_stream(*self.address)
            except OSError:
                return None
            async with stream:
                received = b""
                try:
                    await stream.send_all(len(query).to_bytes(2, "big") + query)
                    while len(received) < 2 or len(received) < 2 + int.from_bytes(
                        received[:2], "big"
                    ):
                        data = await stream.receive_some(65_537)
                        if not data:
                            return None
                        received += data
                    return decode_answer(received[2:], query)
                except (trio.BrokenResourceError, BadMessage):
                    return None
        return None


class Inquiry:
    """One name asked of one server: a message for each record type.

    Args:
        on_change: called when an answer or an error has come, however late.

    Attributes:
        answers: by record type, as they have come.
        error: why the server cannot be reached.
        sent_at: when it was sent first.
        changed_at: when the last answer came.
        asked_over_tcp: whether truncated answers were asked for again.
        repeats: times that it was sent again.
    """

    def __init__(
        self,
        server: DnsServer,
        name: str,
        kinds: tuple[RecordType, ...],
        on_change: Callable[[Inquiry], None],
        now: float,
    ) -> None:
        self.server = server
        self.answers: dict[RecordType, Answer] = {}
        self.queries: dict[RecordType, bytes] = {}
        self.error: OSError | None = None
        self.sent_at = self.changed_at = now
        self.asked_over_tcp = False
        self.repeats = 0
        self._name, self._kinds = name, kinds
        self._on_change = on_change
        self.send(now)

    @property
    def is_complete(self) -> bool:
        return len(self.answers) == len(self._kinds)

    @property
    def is_truncated(self) -> bool:
        """Whether there is an answer that was cut short, and all are there."""
        return self.is_complete and any(answer.truncated for answer in self.answers.values())

    @property
    def repeat_at(self) -> float:
        """When it is to be sent again without an answer."""
        return self.sent_at + (self.repeats + 1) * self.server.repeat_after

    def send(self, now: float) -> None:
        """Send the messages that have no answer yet, or once more.

        Raises:
            BadMessage: the name cannot be asked for.
        """
        for kind in self._kinds:
            if kind not in self.answers:
                message = Message(self._name, kind, self._receiver(kind), self._fail, now)
                try:
                    self.server.sockets.send(message)
                except OSError as error:
                    self.error = error
                    return
                self.queries[kind] = message.query

    def _receiver(self, kind: RecordType) -> Callable[[Answer, float], None]:
        def receive(answer: Answer, seconds: float) -> None:
            server = self.server
            if kind in self.answers and self.answers[kind].code == ResponseCode.NO_ERROR:
                return
            if server.sockets.edns and answer.code in (
                ResponseCode.FORMAT_ERROR,
                ResponseCode.NOT_IMPLEMENTED,
            ):
                server.sockets.edns = False  # too old for it (RFC 6891 7)
                self.send(trio.current_time())
                return
            good = answer.code in (ResponseCode.NO_ERROR, ResponseCode.NAME_ERROR)
            server.answered(seconds, failed=not good)
            self.answers[kind] = answer
            self.error = None
            self.changed_at = trio.current_time()
            self._on_change(self)

        return receive

    def _fail(self, error: OSError) -> None:
        if not self.is_complete:
            self.error = error
            self._on_change(self)
