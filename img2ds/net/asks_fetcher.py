"""The paper's HTTP client, asks, behind the same protocol: `--fetcher asks`.

asks builds the requests and h11, below it, parses the answers. Sockets, the address guard,
time limits, byte caps and redirects are the same as the default fetcher's.
"""

from __future__ import annotations

from typing import Any

import h11
import trio
from anyio import EndOfStream
from asks.request_object import RequestProcessor

from img2ds.core.failure import Reason
from img2ds.core.sample import Body
from img2ds.net.budget import Lease
from img2ds.net.connection import Connection
from img2ds.net.error import FetchError
from img2ds.net.exchange import MAX_HEAD
from img2ds.net.proxy import Proxy, blamed
from img2ds.net.redirecting import RedirectingFetcher
from img2ds.net.reply import Head
from img2ds.net.request import request_headers
from img2ds.net.sockets import Deadline, MinRateCheck
from img2ds.net.url import Url

_READ = 65_536
#: h11's hint that a head was longer than it takes (RFC 6585 5).
_HEADER_FIELDS_TOO_LARGE = 431


class AsksFetcher(RedirectingFetcher):
    """A new connection for each request, as asks has it by default."""

    async def get(
        self, url: Url, proxy: Proxy | None, due: Deadline, lease: Lease
    ) -> tuple[Head, Body]:
        """See `RedirectingFetcher.get`."""
        connection = await self.connect(url, proxy, due, lease)
        relay = proxy if proxy is not None and proxy.relays(url) else None
        request = _Request(url, relay, _Socket(connection, due, lease), self)
        try:
            await request.perform()
        except FetchError as error:
            if relay is None or request.sock.in_body:
                raise
            raise blamed(error, silence=False) from None
        finally:
            connection.close()
        return request.head, request.content

    async def aclose(self) -> None:
        """Nothing is kept open."""


class _Socket:
    """A connection with the names asks knows."""

    def __init__(self, connection: Connection, due: Deadline, lease: Lease) -> None:
        self._active = True
        self._connection = connection
        self.due = due
        self._buffer = bytearray(_READ)
        self.lease = lease
        self.in_body = False
        self.received = 0
        self.ended = False

    async def send(self, data: bytes) -> None:
        await self._connection.send(data, self.due)

    async def receive(self) -> bytes:
        """The next bytes; anyio's EndOfStream at the end, as asks expects it."""
        if self.in_body and self.lease.exhausted:
            began = trio.current_time()
            await self.lease.wait()
            self.due.extend(trio.current_time() - began)
        view = memoryview(self._buffer)
        try:
            count = await self._connection.receive_into(view, self.due)
        except OSError:
            if self.in_body:
                raise FetchError(Reason.INCOMPLETE_BODY, "connection reset in the body") from None
            words = "connection reset in the header" if self.received else "connection reset"
            raise FetchError(Reason.CONNECT_RESET, words) from None
        if not count:
            self.ended = True
            raise EndOfStream
        self.received += count
        self.lease.add(count)
        return bytes(view[:count])

    async def aclose(self) -> None:
        self._active = False


class _Request(RequestProcessor):  # type: ignore[misc]
    """asks' request, with the answer read under our caps instead of to its end."""

    def __init__(self, url: Url, relay: Proxy | None, sock: _Socket, fetcher: AsksFetcher) -> None:
        credentials = {}
        if relay is not None and relay.credentials:
            credentials["Proxy-Authorization"] = relay.credentials
        super().__init__(
            None,
            "GET",
            url.text,
            str(url.port),
            headers={
                # As bytes, since h11 takes ASCII alone as text.
                **{k: v.encode() for k, v in request_headers(fetcher.options).items()},
                **credentials,
                "Host": url.authority,
                "Connection": "close",
            },
            encoding="utf-8",
            sock=sock,
        )
        self.head = Head()
        self.content: Body = b""
        self._fetcher = fetcher
        self._target = url.target if relay is None else url.text

    async def perform(self) -> None:
        """Send it and read the answer. Raises FetchError."""
        try:
            await self.make_request()
        except h11.RemoteProtocolError as error:
            raise self._protocol_error(error) from None
        except h11.LocalProtocolError:
            raise FetchError(Reason.BAD_URL, "URL cannot be requested") from None

    def _build_path(self) -> None:
        """The target as it is: asks would encode what browsers leave alone."""
        self.path = self._target

    async def _request_io(self, request: Any, body: Any, connection: Any) -> None:
        await self._send(request, body, connection)
        while True:
            event = await self._recv_event(connection)
            if not isinstance(event, h11.InformationalResponse):
                break
            if self.sock.received > MAX_HEAD:
                raise FetchError(Reason.HEADER_TOO_LARGE)
        head = self.head
        head.status = event.status_code
        for name, value in event.headers:
            if name == b"x-robots-tag":
                head.robots.append(value)
            elif name == b"content-encoding" and name in head.fields:
                head.fields[name] += b"," + value
            else:
                head.fields[name] = value
        if self._fetcher.rules.wants_body(head):
            self.content = await self._body(connection)

    async def _body(self, connection: Any) -> Body:
        limit = self._fetcher.options.max_image_bytes
        self.sock.in_body = True
        length = self.head.content_length()
        if length is not None and length > limit:
            raise FetchError(Reason.TOO_LARGE, "body larger than max_image_bytes")
        received = bytearray()
        pace = MinRateCheck(self.sock.due)
        while True:
            event = await self._recv_event(connection)
            if not isinstance(event, h11.Data):
                return received
            received += event.data
            pace.check(len(received))
            if len(received) > limit:
                raise FetchError(Reason.TOO_LARGE, "body larger than max_image_bytes")

    def _protocol_error(self, error: h11.RemoteProtocolError) -> FetchError:
        """h11 says in words alone what went wrong; how far the socket came says as much."""
        if error.error_status_hint == _HEADER_FIELDS_TOO_LARGE:
            return FetchError(Reason.HEADER_TOO_LARGE)
        if self.sock.ended:
            if self.sock.in_body:
                return FetchError(Reason.INCOMPLETE_BODY, "body shorter than announced")
            words = "in the header" if self.sock.received else "without a reply"
            return FetchError(Reason.CLOSED_BEFORE_REPLY, f"connection closed {words}")
        words = "broken chunks" if self.sock.in_body else "not an HTTP answer"
        return FetchError(Reason.PROTOCOL_ERROR, words)
