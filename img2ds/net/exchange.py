"""One HTTP/1.1 request and its answer on one connection (RFC 9112).

llhttp parses heads and chunks. A body of known length goes from the socket to the buffer it
stays in, past the parser: nobody copies it.
"""

from __future__ import annotations

import httptools
import trio

from img2ds.core.failure import Reason
from img2ds.core.sample import Body
from img2ds.net.budget import Lease
from img2ds.net.connection import Connection
from img2ds.net.error import ClosedEarly, FetchError
from img2ds.net.reply import Head
from img2ds.net.sockets import Deadline, MinRateCheck

#: Longest head accepted, in bytes, with the interim ones before it; browsers allow 256 kB,
#: servers send 1.
MAX_HEAD = 65_536
#: Bytes read at a time where the length is not known, and most counted late by the budget.
READ = 65_536
#: Bytes allocated at first for a body, whatever its Content-Length claims.
FIRST_ALLOCATION = 1 << 20
#: Largest body of an answer of no use that is read to keep its connection, if it is there already.
MAX_DRAIN = 65_536

_LENIENT = {
    # What browsers and urllib let pass too; nobody behind us can be smuggled to.
    "lenient_headers": True,
    "lenient_chunked_length": True,
    "lenient_data_after_close": True,
    "lenient_optional_lf_after_cr": True,
    "lenient_optional_cr_before_lf": True,
    "lenient_optional_crlf_after_chunk": True,
    "lenient_spaces_after_chunk_size": True,
}


class _Events:
    """What the parser calls; names are httptools' own."""

    __slots__ = ("complete", "head", "received")

    def __init__(self) -> None:
        self.head = Head()
        # One buffer: chunks may be a byte each, and an object each would be fifty times as large.
        self.received = bytearray()
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower().rstrip()
        if name == b"x-robots-tag":
            self.head.robots.append(value)
        elif name == b"content-encoding" and name in self.head.fields:
            self.head.fields[name] += b"," + value
        else:
            self.head.fields[name] = value

    def on_body(self, data: bytes) -> None:
        self.received += data

    def on_message_complete(self) -> None:
        self.complete = True


class Exchange:
    """One request on a connection. Call `request`, then `body` or `skip`.

    Args:
        scratch: a buffer of at least MAX_HEAD bytes that all exchanges of a loop share: it is
            filled and emptied between two turns of the loop.
        lease: where body bytes are counted.
    """

    __slots__ = (
        "_connection",
        "_due",
        "_events",
        "_head_bytes",
        "_lease",
        "_parser",
        "_rest",
        "_scratch",
        "reusable",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, due: Deadline, lease: Lease, scratch: bytearray
    ) -> None:
        self._connection = connection
        self._due = due
        self._lease = lease
        self._scratch = scratch
        self._rest = b""  # what came behind the head
        self._head_bytes = 0  # of all heads so far: interim ones may come without end
        self.reusable = False

    async def request(self, data: bytes) -> Head:
        """Send a request and read the head of its final answer.

        Raises:
            ClosedEarly: the connection ended before the first byte.
            FetchError: protocol_error, header_too_large, and what sending and receiving raise.
        """
        await self._connection.send(data, self._due)
        while True:
            head = await self._read_head()
            if head.status >= 200:
                return head

    @property
    def spare(self) -> bytes:
        """What came behind the head, as far as it was read."""
        return self._rest

    async def _read_head(self) -> Head:
        scratch = self._scratch
        view = memoryview(scratch)
        gathered = self._rest
        while True:
            end = _head_end(gathered)
            if end:
                break
            if self._head_bytes + len(gathered) >= MAX_HEAD:
                raise FetchError(Reason.HEADER_TOO_LARGE)
            try:
                count = await self._connection.receive_into(view, self._due)
            except OSError:
                if gathered:
                    raise FetchError(
                        Reason.CONNECT_RESET, "connection reset in the header"
                    ) from None
                raise ClosedEarly(Reason.CONNECT_RESET, "connection reset") from None
            if not count:
                if gathered:
                    raise FetchError(Reason.CLOSED_BEFORE_REPLY, "connection closed in the header")
                raise ClosedEarly(Reason.CLOSED_BEFORE_REPLY, "connection closed without a reply")
            gathered = gathered + view[:count] if gathered else bytes(view[:count])
        self._head_bytes += end
        if self._head_bytes > MAX_HEAD:
            raise FetchError(Reason.HEADER_TOO_LARGE)
        try:
            parser, events = _parsed(gathered[:end])
        except httptools.HttpParserUpgrade:
            raise FetchError(Reason.PROTOCOL_ERROR, "protocol switched unasked") from None
        except httptools.HttpParserError:
            try:
                parser, events = _parsed(mended_head(gathered[:end]))
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                raise FetchError(Reason.PROTOCOL_ERROR, "not an HTTP answer") from None
        head = events.head
        head.status = parser.get_status_code()
        connection = head.fields.get(b"connection", b"").lower()
        if parser.get_http_version() == "1.1":
            self.reusable = b"close" not in connection
        else:
            self.reusable = b"keep-alive" in connection
        self._rest = gathered[end:]
        self._parser = parser
        self._events = events
        return head

    async def body(self, head: Head, max_bytes: int) -> Body:
        """The body, still in its content coding.

        Raises:
            FetchError: too_large, incomplete_body, stalled, too_slow, max_time, protocol_error.
        """
        if head.status in (204, 304):
            return b""
        length = head.content_length()
        if length is not None:
            if length > max_bytes:
                raise FetchError(Reason.TOO_LARGE, "body larger than max_image_bytes")
            return await self._body_of_length(length)
        if head.chunked:
            return await self._chunked_body(max_bytes)
        self.reusable = False
        return await self._body_until_close(max_bytes)

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
        pace = MinRateCheck(self._due)
        while filled < length:
            if filled == len(buffer):
                buffer.extend(bytes(min(length - filled, len(buffer))))
            with memoryview(buffer) as view:
                while filled < len(view):
                    count = await self._receive(view[filled : filled + 4 * READ])
                    if not count:
                        raise FetchError(Reason.INCOMPLETE_BODY, "body shorter than announced")
                    filled += count
                    pace.check(filled)
        return buffer

    async def _chunked_body(self, max_bytes: int) -> Body:
        events, parser = self._events, self._parser
        pace = MinRateCheck(self._due)
        data = self._rest
        view = memoryview(self._scratch)
        counted = len(data)
        self._lease.add(counted)
        while True:
            try:
                parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                raise FetchError(Reason.PROTOCOL_ERROR, "broken chunks") from None
            if len(events.received) > max_bytes:
                raise FetchError(Reason.TOO_LARGE, "body larger than max_image_bytes")
            if events.complete:
                return events.received
            # Chunk sizes and trailers are bytes too: an endless stream of them ends here.
            if counted > 2 * max_bytes + MAX_HEAD:
                raise FetchError(Reason.TOO_LARGE, "body larger than max_image_bytes")
            count = await self._receive(view)
            if not count:
                raise FetchError(Reason.INCOMPLETE_BODY, "body ended before its last chunk")
            data = bytes(view[:count])
            counted += count
            pace.check(counted)

    async def _body_until_close(self, max_bytes: int) -> Body:
        chunks = [self._rest]
        received = len(self._rest)
        self._lease.add(received)
        pace = MinRateCheck(self._due)
        view = memoryview(self._scratch)
        while True:
            if received > max_bytes:
                raise FetchError(Reason.TOO_LARGE, "body larger than max_image_bytes")
            count = await self._receive(view)
            if not count:
                return b"".join(chunks)
            chunks.append(bytes(view[:count]))
            received += count
            pace.check(received)

    async def _receive(self, view: memoryview) -> int:
        """Read within the budget; time spent waiting for it is not the server's."""
        if self._lease.exhausted:
            began = trio.current_time()
            await self._lease.wait()
            self._due.extend(trio.current_time() - began)
        try:
            count = await self._connection.receive_into(view, self._due)
        except OSError:
            raise FetchError(Reason.INCOMPLETE_BODY, "connection reset in the body") from None
        self._lease.add(count)
        return count

    def skip(self, head: Head) -> None:
        """Be done with a body nobody wants; keeps the connection only where that costs nothing."""
        length = head.content_length()
        if head.status in (204, 304):
            length = 0
        if length is None or length > MAX_DRAIN:
            self.reusable = False
            return
        missing = length - len(self._rest)
        while missing > 0:
            data = self._connection.receive_now(missing)
            if not data:
                self.reusable = False
                return
            missing -= len(data)
        self.reusable = self.reusable and missing == 0


def _head_end(data: bytes) -> int:
    """The offset behind the empty line that ends a head, 0 when it has not come yet."""
    end = data.find(b"\r\n\r\n")
    # RFC 9112 2.2: a lone LF may be taken for a line's end. Looked for in front of the other kind,
    # since a picture may well hold both.
    for marker in (b"\n\n", b"\n\r\n"):
        lone = data.find(marker, 0, end + 1 if end >= 0 else len(data))
        if lone >= 0:
            return lone + len(marker)
    return end + 4 if end >= 0 else 0


def _parsed(head: bytes) -> tuple[httptools.HttpResponseParser, _Events]:
    events = _Events()
    parser = httptools.HttpResponseParser(events)
    parser.set_dangerous_leniencies(**_LENIENT)
    parser.feed_data(head)
    return parser, events


def mended_head(head: bytes) -> bytes:
    """A head that the parser refuses, as browsers and urllib would read it.

    Lines that are no header fields go, and so does a Content-Length that is said twice
    (RFC 9110 8.6 allows that where the values are equal).
    """
    first, *lines = head.split(b"\n")
    kept: list[bytes] = [first]
    lengths: set[bytes] = set()
    for line in lines:
        name, colon, value = line.partition(b":")
        if line.strip() and not colon and not line.startswith((b" ", b"\t")):
            continue
        if name.strip().lower() == b"content-length":
            if value.strip() in lengths:
                continue
            lengths.add(value.strip())
        kept.append(line)
    return b"\n".join(kept)
