"""The paper's HTTP client, asks, as a `Client`: `--fetcher asks`.

asks builds the requests and h11, below it, parses the responses. Sockets, the address guard, time
limits, byte caps and redirects are the same as with the default client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h11
import trio
from anyio import EndOfStream
from asks.request_object import RequestProcessor

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Reason
from img2ds.core.img2dataset_messages import NO_RESPONSE, RESET, incomplete, read_phrase
from img2ds.core.sample import Body
from img2ds.net.connector import Connector
from img2ds.net.context import FetchContext
from img2ds.net.deadline import MinRateCheck
from img2ds.net.error import FetchError
from img2ds.net.http11_exchange import MAX_HEAD, READS_A_TURN, check_framing
from img2ds.net.proxies import blamed
from img2ds.net.request import Request, request_headers
from img2ds.net.response import Response, ResponseHead
from img2ds.net.stream import ByteStream

_READ = 65_536
#: h11's hint that a head was longer than it takes (RFC 6585 5).
_HEADER_FIELDS_TOO_LARGE = 431


class AsksClient:
    """A client that opens a new connection for each request, as asks does by default."""

    def __init__(self, connector: Connector, options: NetworkOptions) -> None:
        self._connector = connector
        self._options = options

    async def send(
        self, request: Request, context: FetchContext, wants_body: Callable[[ResponseHead], bool]
    ) -> Response:
        """See `Client.send`."""
        stream = await self._connector.connect(request, context)
        exchange = _Exchange(request, _Socket(stream, context), wants_body, self._options)
        try:
            await exchange.perform()
        except FetchError as error:
            if request.relay is None or exchange.sock.in_body:
                raise
            raise blamed(error, silence=False) from None
        finally:
            stream.close()
        return Response(exchange.head, exchange.content)

    async def aclose(self) -> None:
        """See `Client.aclose`: nothing is kept open."""


class _Socket:
    """A stream with the names that asks knows."""

    def __init__(self, stream: ByteStream, context: FetchContext) -> None:
        self._active = True
        self._stream = stream
        self._buffer = bytearray(_READ)
        self.context = context
        self.in_body = False
        self.received = self._reads = 0
        self.ended = False

    async def send(self, data: bytes) -> None:
        await self._stream.send(data, self.context.deadline)

    async def receive(self) -> bytes:
        """Return the next bytes; raises anyio's EndOfStream at the end, as asks expects it."""
        lease, deadline = self.context.lease, self.context.deadline
        if self.in_body and lease.exhausted:
            started = trio.current_time()
            await lease.wait()
            deadline.extend(trio.current_time() - started)
        view = memoryview(self._buffer)
        try:
            count = await self._stream.receive_into(view, deadline)
        except OSError:
            if self.in_body:
                message = "connection reset in the body"
                raise FetchError(Reason.INCOMPLETE_BODY, message, RESET) from None
            message = "connection reset in the header" if self.received else "connection reset"
            raise FetchError(Reason.CONNECT_RESET, message, RESET) from None
        if not count:
            self.ended = True
            raise EndOfStream
        self.received += count
        lease.add(count)
        self._reads += 1
        if not self._reads % READS_A_TURN:  # let other rows run
            await trio.lowlevel.checkpoint()
        return bytes(view[:count])

    async def aclose(self) -> None:
        self._active = False


class _Exchange(RequestProcessor):  # type: ignore[misc]
    """asks' request, with the response read under our caps instead of to its end."""

    def __init__(
        self,
        request: Request,
        sock: _Socket,
        wants_body: Callable[[ResponseHead], bool],
        options: NetworkOptions,
    ) -> None:
        relay = request.relay
        credentials = {}
        if relay is not None and relay.credentials:
            credentials["Proxy-Authorization"] = relay.credentials
        super().__init__(
            None,
            "GET",
            request.url.text,
            str(request.url.port),
            headers={
                # As bytes, since h11 takes only ASCII as text.
                **{name: value.encode() for name, value in request_headers(options).items()},
                **credentials,
                "Host": request.url.authority,
                "Connection": "close",
            },
            encoding="utf-8",
            sock=sock,
        )
        self.head = ResponseHead()
        self.content: Body = b""
        self._received = bytearray()
        self._wants_body = wants_body
        self._max_bytes = options.max_image_bytes
        self._target = request.target
        self._cut_at = request.cut_at

    async def perform(self) -> None:
        """Send the request and read its response. Raises FetchError."""
        try:
            await self.make_request()
        except h11.RemoteProtocolError as error:
            raise self._protocol_error(error) from None
        except h11.LocalProtocolError:
            raise FetchError(Reason.BAD_URL, "URL cannot be requested") from None

    def _build_path(self) -> None:
        """Keep the target as it is: asks would encode characters that browsers leave alone."""
        self.path = self._target

    async def _request_io(self, request: Any, body: Any, connection: Any) -> None:
        await self._send(request, body, connection)
        while True:
            event = await self._recv_event(connection)
            if not isinstance(event, h11.InformationalResponse):
                break
            if self.sock.received > MAX_HEAD:
                raise FetchError(Reason.HEADER_TOO_LARGE)
        self.sock.context.on_response()
        self.head.status = event.status_code
        self.head.phrase = read_phrase(event.reason)
        for name, value in event.headers:
            self.head.add(name, value)
        if self._wants_body(self.head):
            self.content = await self._body(connection)

    def _incomplete(self) -> str:
        length, received = self.head.content_length(), len(self._received)
        return incomplete(received, None if length is None else length - received)

    async def _body(self, connection: Any) -> Body:
        self.sock.in_body = True
        length = self.head.content_length()
        cut_at = self._cut_at
        if cut_at is None and length is not None and length > self._max_bytes:
            raise FetchError(Reason.TOO_LARGE, "body larger than max_image_bytes")
        received = self._received
        rate = MinRateCheck(self.sock.context.deadline)
        while True:
            event = await self._recv_event(connection)
            if not isinstance(event, h11.Data):
                return received
            received += event.data
            if cut_at is not None and len(received) > cut_at:
                return received[:cut_at]
            rate.check(len(received))
            if self.head.chunked:
                check_framing(self.sock.received, len(received))
            if cut_at is None and len(received) > self._max_bytes:
                raise FetchError(Reason.TOO_LARGE, "body larger than max_image_bytes")

    def _protocol_error(self, error: h11.RemoteProtocolError) -> FetchError:
        """Map an error of h11, which has only a text, by how far the response came."""
        if error.error_status_hint == _HEADER_FIELDS_TOO_LARGE:
            return FetchError(Reason.HEADER_TOO_LARGE)
        if self.sock.ended:
            if self.sock.in_body:
                return FetchError(
                    Reason.INCOMPLETE_BODY, "body shorter than announced", self._incomplete()
                )
            when = "in the header" if self.sock.received else "without a reply"
            said = None if self.sock.received else NO_RESPONSE
            return FetchError(Reason.CLOSED_BEFORE_REPLY, f"connection closed {when}", said)
        message = "broken chunks" if self.sock.in_body else "not an HTTP response"
        return FetchError(Reason.PROTOCOL_ERROR, message)
