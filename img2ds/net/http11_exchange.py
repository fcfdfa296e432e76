"""One HTTP/1.1 request on a stream, and its response, read within limits (RFC 9112).

A body of known length goes from the socket to the buffer it stays in, past the parser: nobody
copies it.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from img2ds.core.failure import Reason
from img2ds.core.img2dataset_messages import NO_RESPONSE, RESET, incomplete
from img2ds.core.sample import Body
from img2ds.net.context import FetchContext
from img2ds.net.deadline import MinRateCheck
from img2ds.net.error import ClosedEarly, FetchError
from img2ds.net.http11_head import ParsedHead, head_end, parse_head
from img2ds.net.response import ResponseHead
from img2ds.net.stream import ByteStream

#: Longest head accepted, in bytes, with the interim ones before it; browsers allow 256 kB,
#: servers send 1.
MAX_HEAD = 65_536
#: Bytes read at a time where the length is not known, and most counted late by the budget.
READ = 65_536
#: Reads of one row in a row, of 256 kB at most each.
READS_A_TURN = 32
#: Bytes allocated at first for a body, whatever its Content-Length claims.
FIRST_ALLOCATION = 1 << 18
#: Bytes of chunk sizes and trailers that may come besides a body, and the share of the body:
#: a chunk of a byte costs as much as one of 64 kB.
FREE_FRAMING, FRAMING_SHARE = 1 << 20, 2
#: Largest unwanted body that is read to keep its connection, if it has arrived already.
MAX_DRAIN = 65_536

_TOO_LARGE = "body larger than max_image_bytes"


def _ignore(count: int) -> None:
    pass


def check_framing(arrived: int, received: int) -> None:
    """Check that a chunked body is not next to nothing but framing.

    Args:
        arrived: bytes so far.
        received: those of them that are of the body.

    Raises:
        FetchError: protocol_error.
    """
    if arrived - received > FREE_FRAMING + received // FRAMING_SHARE:
        raise FetchError(Reason.PROTOCOL_ERROR, "body in tiny chunks")


class Exchange:
    """One request on a stream and its response. Call `request`, then `body` or `skip`.

    Args:
        scratch: see `Http11Connection`.
        received: called with the number of bytes of a body that arrived.

    Attributes:
        reusable: whether another request may follow on the stream.
    """

    __slots__ = (
        "_deadline", "_head_bytes", "_lease", "_parsed", "_reads", "_received", "_rest",
        "_scratch", "_stream", "reusable",
    )  # fmt: skip

    def __init__(
        self,
        stream: ByteStream,
        context: FetchContext,
        scratch: bytearray,
        received: Callable[[int], None] = _ignore,
    ) -> None:
        self._received = received
        self._stream = stream
        self._deadline = context.deadline
        self._lease = context.lease
        self._scratch = scratch
        self._parsed: ParsedHead
        self._rest = b""  # what came behind the head
        self._reads = 0
        self._head_bytes = 0  # of all heads so far: interim ones may come without end
        self.reusable = False

    async def request(self, data: bytes) -> ResponseHead:
        """Send a request and read the head of its final response.

        Raises:
            ClosedEarly: the connection ended before the first byte.
            FetchError: protocol_error, header_too_large, and what sending and receiving raise.
        """
        await self._stream.send(data, self._deadline)
        while True:
            await self._read_head()
            if self._parsed.head.status >= 200:
                return self._parsed.head

    @property
    def spare(self) -> bytes:
        """What came behind the head, as far as it was read."""
        return self._rest

    async def _read_head(self) -> None:
        view = memoryview(self._scratch)
        gathered: bytes | bytearray = self._rest
        searched = 0  # up to where there is no end
        while True:
            end = head_end(gathered, searched)
            if end:
                break
            searched = max(0, len(gathered) - 3)
            if self._head_bytes + len(gathered) >= MAX_HEAD:
                raise FetchError(Reason.HEADER_TOO_LARGE)
            if self._has_had_its_turn():
                await trio.lowlevel.checkpoint()
            try:
                count = await self._stream.receive_into(view, self._deadline)
            except OSError:
                if gathered:
                    raise FetchError(
                        Reason.CONNECT_RESET, "connection reset in the header", RESET
                    ) from None
                raise ClosedEarly(Reason.CONNECT_RESET, "connection reset", RESET) from None
            if not count:
                if gathered:
                    raise FetchError(Reason.CLOSED_BEFORE_REPLY, "connection closed in the header")
                raise ClosedEarly(
                    Reason.CLOSED_BEFORE_REPLY, "connection closed without a reply", NO_RESPONSE
                )
            if not gathered:  # nearly always all of the head
                gathered = bytes(view[:count])
                continue
            if isinstance(gathered, bytes):
                gathered = bytearray(gathered)
            gathered += view[:count]
        self._head_bytes += end
        if self._head_bytes > MAX_HEAD:
            raise FetchError(Reason.HEADER_TOO_LARGE)
        self._parsed = parse_head(bytes(gathered[:end]))
        self.reusable = self._parsed.keeps_alive
        self._rest = bytes(gathered[end:])

    async def body(self, head: ResponseHead, max_bytes: int, cut_at: int | None = None) -> Body:
        """Receive the body, still in its content coding.

        Args:
            cut_at: bytes that are wanted, however many there are; None for all.

        Raises:
            FetchError: too_large, incomplete_body, stalled, too_slow, max_time, protocol_error.
        """
        if head.status in (204, 304):
            return b""
        limit = max_bytes if cut_at is None else cut_at
        length = head.content_length()
        if length is not None:
            if length > limit:
                if cut_at is None:
                    raise FetchError(Reason.TOO_LARGE, _TOO_LARGE)
                self.reusable, length = False, limit
                self._rest = self._rest[:limit]
            return await self._body_of_length(length)
        chunked = head.chunked
        if not chunked:
            self.reusable = False
        body = await (self._chunked_body(limit) if chunked else self._body_until_close(limit))
        if len(body) > limit:
            if cut_at is None:
                raise FetchError(Reason.TOO_LARGE, _TOO_LARGE)
            self.reusable = False
            return body[:limit]
        return body

    async def _body_of_length(self, length: int) -> Body:
        rest = self._rest
        if len(rest) >= length:
            self.reusable = self.reusable and len(rest) == length
            self._lease.add(length)
            return rest[:length]
        buffer = bytearray(min(length, FIRST_ALLOCATION))
        filled = len(rest)
        buffer[:filled] = rest
        self._lease.add(filled)
        rate = MinRateCheck(self._deadline)
        while filled < length:
            if filled == len(buffer):
                more = max(FIRST_ALLOCATION, len(buffer) // 4)  # is not counted yet
                buffer.extend(bytes(min(length - filled, more)))
            with memoryview(buffer) as view:
                while filled < len(view):
                    count = await self._receive(view[filled : filled + 4 * READ])
                    if not count:
                        said = incomplete(filled, length - filled)
                        raise FetchError(
                            Reason.INCOMPLETE_BODY, "body shorter than announced", said
                        )
                    filled += count
                    if filled < length:  # however long it took
                        rate.check(filled)
        return buffer

    async def _chunked_body(self, limit: int) -> bytearray:
        """Receive a body, or as much of it as is above the limit."""
        parsed = self._parsed
        rate = MinRateCheck(self._deadline)
        data = self._rest
        view = memoryview(self._scratch)
        counted = len(data)
        self._lease.add(counted)
        while True:
            parsed.feed(data)
            if parsed.complete or len(parsed.received) > limit:
                return parsed.received
            check_framing(counted, len(parsed.received))
            count = await self._receive(view)
            if not count:
                said = incomplete(len(parsed.received))
                raise FetchError(Reason.INCOMPLETE_BODY, "body ended before its last chunk", said)
            data = bytes(view[:count])
            counted += count
            rate.check(counted)

    async def _body_until_close(self, limit: int) -> bytearray:
        """Receive a body, or as much of it as is above the limit."""
        # One buffer: pieces may be a byte each, and an object each would be fifty times as large.
        gathered = bytearray(self._rest)
        self._lease.add(len(gathered))
        rate = MinRateCheck(self._deadline)
        view = memoryview(self._scratch)
        while True:
            if len(gathered) > limit:
                return gathered
            count = await self._receive(view)
            if not count:
                return gathered
            gathered += view[:count]
            rate.check(len(gathered))

    def _has_had_its_turn(self) -> bool:
        """Return whether other rows may run now: what has arrived is read without waiting."""
        self._reads += 1
        return not self._reads % READS_A_TURN

    async def _receive(self, view: memoryview) -> int:
        """Read within the budget; time spent waiting for it is not the server's."""
        if self._lease.exhausted:
            started = trio.current_time()
            await self._lease.wait()
            self._deadline.extend(trio.current_time() - started)
        if self._has_had_its_turn():
            await trio.lowlevel.checkpoint()
        try:
            count = await self._stream.receive_into(view, self._deadline)
        except OSError:
            raise FetchError(
                Reason.INCOMPLETE_BODY, "connection reset in the body", RESET
            ) from None
        self._lease.add(count)
        self._received(count)
        return count

    def skip(self, head: ResponseHead) -> None:
        """Discard an unwanted body; keeps the connection only where that costs nothing."""
        length = head.content_length()
        if head.status in (204, 304):
            length = 0
        if length is None or length > MAX_DRAIN:
            self.reusable = False
            return
        missing = length - len(self._rest)
        while missing > 0:
            data = self._stream.receive_now(missing)
            if not data:
                self.reusable = False
                return
            missing -= len(data)
        self.reusable = self.reusable and missing == 0
