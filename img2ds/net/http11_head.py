"""Heads of HTTP/1.1 messages as bytes: requests written, responses read leniently. Pure.

llhttp parses heads and chunks; what it refuses is mended where browsers and urllib would read on.
"""

from __future__ import annotations

import httptools

from img2ds.core.failure import Reason
from img2ds.core.img2dataset_messages import read_phrase
from img2ds.net.error import FetchError
from img2ds.net.request import Request
from img2ds.net.response import ResponseHead

_LENIENT = {
    # Browsers and urllib accept these, too. A client cannot be used for smuggling.
    "lenient_headers": True,
    "lenient_chunked_length": True,
    "lenient_data_after_close": True,
    "lenient_optional_lf_after_cr": True,
    "lenient_optional_cr_before_lf": True,
    "lenient_optional_crlf_after_chunk": True,
    "lenient_spaces_after_chunk_size": True,
}


def write_head(request: Request, headers: bytes) -> bytes:
    """Return the bytes of a GET request.

    Args:
        headers: from `write_headers`.
    """
    relay = request.relay
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n%b%b" % (
        request.target.encode("ascii"),
        request.url.authority.encode("ascii"),
        b"" if relay is None else relay.header,
        headers,
    )


def write_headers(headers: dict[str, str]) -> bytes:
    """Return the end of a request's head: headers that are the same for every URL."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (lines + "\r\n").encode("utf-8")


class _Events:
    """What the parser calls; the names are httptools'. It must not hold the parser: no cycles."""

    __slots__ = ("complete", "head", "on_header", "received")

    def __init__(self) -> None:
        self.head = ResponseHead()
        self.on_header = self.head.add  # without a call in between: it is called for each header
        # One buffer: chunks may be a byte each, and an object each would be fifty times as large.
        self.received = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.received += data

    def on_message_complete(self) -> None:
        self.complete = True


class ParsedHead:
    """The head of a response, and the parser for the chunked body that may follow.

    Args:
        data: the head up to its empty line and no further.

    Attributes:
        keeps_alive: whether the server will take another request on the connection.
    """

    __slots__ = ("_events", "_parser", "head", "keeps_alive")

    def __init__(self, data: bytes) -> None:
        events = self._events = _Events()
        parser = self._parser = httptools.HttpResponseParser(events)
        parser.set_dangerous_leniencies(**_LENIENT)
        parser.feed_data(data)
        head = self.head = events.head
        status = head.status = parser.get_status_code()
        if status != 200:
            head.phrase = _phrase(data)
        connection = head.fields.get(b"connection", b"").lower()
        if parser.get_http_version() == "1.1":
            self.keeps_alive = b"close" not in connection
        else:
            self.keeps_alive = b"keep-alive" in connection

    @property
    def received(self) -> bytearray:
        """The bytes of a chunked body that were fed, without their framing."""
        return self._events.received

    @property
    def complete(self) -> bool:
        """Whether the end of a chunked body was fed."""
        return self._events.complete

    def feed(self, data: bytes) -> None:
        """Parse bytes of a chunked body.

        Raises:
            FetchError: protocol_error.
        """
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise FetchError(Reason.PROTOCOL_ERROR, "broken chunks") from None


def _phrase(head: bytes) -> str:
    """Return what follows the version and the status in the first line of a head."""
    return read_phrase(head.partition(b"\n")[0].partition(b" ")[2].strip().partition(b" ")[2])


def parse_head(data: bytes) -> ParsedHead:
    """Parse the head of a response, which ends with its empty line.

    Raises:
        FetchError: protocol_error.
    """
    try:
        return ParsedHead(data)
    except httptools.HttpParserUpgrade:
        raise FetchError(Reason.PROTOCOL_ERROR, "unrequested protocol switch") from None
    except httptools.HttpParserError:
        try:
            return ParsedHead(mended_head(data))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise FetchError(Reason.PROTOCOL_ERROR, "not an HTTP response") from None


def head_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return the offset behind the empty line that ends a head, 0 when it has not come yet.

    Args:
        start: where to begin; an empty line may be split at the end of what was searched before.
    """
    end = data.find(b"\r\n\r\n", start)
    # RFC 9112 2.2: a lone LF may be taken for a line's end. It is searched only in front of the
    # first CRLF CRLF, since an image may well hold both.
    for marker in (b"\n\n", b"\n\r\n"):
        lone = data.find(marker, start, end + 1 if end >= 0 else len(data))
        if lone >= 0:
            return lone + len(marker)
    return end + 4 if end >= 0 else 0


def mended_head(head: bytes) -> bytes:
    """Return a head that the parser refuses, as browsers and urllib would read it.

    Lines that are not header fields are dropped, and so is a repeated Content-Length (RFC 9110 8.6
    allows that where the values are equal).
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
