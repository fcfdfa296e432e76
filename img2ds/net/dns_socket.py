"""UDP sockets to one DNS server: many questions share one, and late answers still arrive.

Each port from which a question goes takes an entry of a home router's table for half a minute, so
that a port for each question fills it. A few ports, renewed now and then, an unpredictable number
and the case of the name's letters keep answers from being forged (RFC 5452, dns0x20).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import trio

from img2ds.net.dns import Answer, BadMessage, RecordType, decode_answer, encode_query, mix_case
from img2ds.net.dns_config import address_family

#: Sockets to a server, and questions after which one is replaced.
SOCKETS, RENEW_AFTER = 4, 400
#: Seconds for which an answer is waited for at most.
LISTEN_TIME = 30.0
#: linux/in.h, linux/in6.h: report that the server's host or network cannot be reached.
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ERROR_QUEUE = 0x2000  # MSG_ERRQUEUE


@dataclass(slots=True, eq=False)
class Message:
    """A question on its way.

    Attributes:
        on_answer: called once, with the answer and the seconds that it took, however late.
        on_error: called when the server cannot be reached; an answer may still come.
        sent_at: on trio's clock.
    """

    name: str
    kind: RecordType
    on_answer: Callable[[Answer, float], None]
    on_error: Callable[[OSError], None]
    sent_at: float
    query: bytes = b""


class DnsSockets:
    """The sockets to one server. Use from one trio run; they close when that ends.

    Args:
        edns: whether messages say that large answers are welcome; may be changed.
    """

    def __init__(self, address: tuple[str, int], random: Random) -> None:
        self.edns = True
        self._address = address
        self._random = random
        self._open: list[_Socket] = []
        #: Whether the server keeps the case of names: known once it did.
        self._keeps_case = False

    def send(self, message: Message) -> None:
        """Ask a question, whose `sent_at` is set.

        Raises:
            OSError: it cannot be sent.
            BadMessage: the name cannot be asked for.
        """
        # One draw: each is a system call.
        bits = self._random.getrandbits(8 * len(message.name) + 24)
        chosen = self._choose(bits & 0xFF)
        name = mix_case(message.name, bits >> 24)
        number = chosen.free_number(bits >> 8 & 0xFFFF)
        message.query = encode_query(number, name, message.kind, edns=self.edns)
        chosen.send(number, message)

    def accepts(self, answer: Answer) -> bool:
        """Return whether an answer's name has the right case."""
        self._keeps_case = self._keeps_case or answer.exact
        return answer.exact or not self._keeps_case

    def close(self) -> None:
        """Close the sockets; nothing is answered any more."""
        for one in self._open:
            one.close()
        self._open.clear()

    def _choose(self, bits: int) -> _Socket:
        if len(self._open) < SOCKETS:
            self._open.append(_Socket(self._address, self.accepts, self._random))
            return self._open[-1]
        place = bits % SOCKETS
        if self._open[place].sent >= RENEW_AFTER or self._open[place].closed:
            self._open[place].retire()
            self._open[place] = _Socket(self._address, self.accepts, self._random)
        return self._open[place]


class _Socket:
    """One connected socket, its reader, and the questions whose answers it waits for."""

    def __init__(
        self, address: tuple[str, int], accepts: Callable[[Answer], bool], random: Random
    ) -> None:
        self._accepts = accepts
        self._random = random
        self._waiting: dict[int, Message] = {}
        self._scope = trio.CancelScope()
        self._next_sweep = 0.0
        self.sent = 0
        self.closed = False
        family = address_family(address[0])
        assert family is not None
        self._sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            with suppress(OSError):
                if family is socket.AF_INET:
                    self._sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
                else:
                    self._sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            self._sock.connect(address)
        except BaseException:
            self._sock.close()
            raise
        trio.lowlevel.spawn_system_task(self._read)

    def free_number(self, number: int) -> int:
        """Return a message number that no question has: a random one, if that is free."""
        while number in self._waiting:
            number = self._random.getrandbits(16)
        return number

    def send(self, number: int, message: Message) -> None:
        """Send a question. Raises OSError."""
        self._sweep(message.sent_at)
        self.sent += 1
        with suppress(BlockingIOError):  # as if it were lost
            try:
                self._sock.send(message.query)
            except BlockingIOError:
                pass
            except OSError as error:
                # May be what became of an earlier question; who waits for that one hears of it.
                self._drop_errors()
                self._fail(error)
                self._sock.send(message.query)
        self._waiting[number] = message

    def retire(self) -> None:
        """Close once the last answers have had their time."""
        self._scope.deadline = trio.current_time() + LISTEN_TIME

    def close(self) -> None:
        """Close now."""
        self.closed = True
        self._scope.cancel()
        self._sock.close()

    def _sweep(self, now: float) -> None:
        """Forget questions that are not answered any more."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + LISTEN_TIME / 4
        old = [n for n, m in self._waiting.items() if m.sent_at < now - LISTEN_TIME]
        for number in old:
            del self._waiting[number]

    async def _read(self) -> None:
        with self._sock, self._scope:
            while not self.closed:
                try:
                    data = self._sock.recv(65_535)
                except BlockingIOError:
                    try:
                        await trio.lowlevel.wait_readable(self._sock)
                    except (trio.ClosedResourceError, OSError, ValueError):
                        break
                    continue
                except OSError as error:
                    self._drop_errors()
                    self._fail(error)
                    await trio.lowlevel.checkpoint()
                    continue
                self._take(data)
        self.closed = True

    def _take(self, data: bytes) -> None:
        number = int.from_bytes(data[:2], "big")
        message = self._waiting.get(number)
        if message is None:
            return  # late, forged, or answered twice
        try:
            answer = decode_answer(data, message.query)
        except BadMessage:
            return
        if self._accepts(answer):
            del self._waiting[number]
            message.on_answer(answer, trio.current_time() - message.sent_at)

    def _fail(self, error: OSError) -> None:
        for message in list(self._waiting.values()):
            message.on_error(error)

    def _drop_errors(self) -> None:
        """Take what the kernel reports twice, or the socket would stay readable."""
        with suppress(OSError):
            while True:
                self._sock.recvmsg(0, 512, _ERROR_QUEUE)
