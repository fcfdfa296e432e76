"""HTTP/1.1 on one connection: requests and their responses, one after another (RFC 9112)."""

from __future__ import annotations

from collections.abc import Callable

from img2ds.congestion.path import NetworkPath
from img2ds.core.failure import Reason
from img2ds.core.sample import Body
from img2ds.net.context import FetchContext
from img2ds.net.error import FetchError
from img2ds.net.http11_exchange import Exchange
from img2ds.net.http11_head import write_head
from img2ds.net.proxies import blamed, says_keep_alive
from img2ds.net.request import Request
from img2ds.net.response import Response, ResponseHead
from img2ds.net.stream import ByteStream

_SLOW = frozenset((Reason.STALLED.value, Reason.TOO_SLOW.value, Reason.MAX_TIME.value))
_EVICTED = "slow, while others waited for the memory that it held"


class Http11Connection:
    """A connection that handles one request at a time; a `pool.HttpConnection`.

    Args:
        headers: what follows the Host header in every request, from `write_headers`.
        max_bytes: the largest body.
        scratch: a buffer of at least MAX_HEAD bytes that all connections of a loop share: it is
            filled and emptied between two turns of the loop.
        path: is told of heads and bodies.
    """

    __slots__ = (
        "_headers", "_max_bytes", "_path", "_scratch", "_stream", "idle_since", "reusable", "used",
    )  # fmt: skip

    def __init__(
        self,
        stream: ByteStream,
        headers: bytes,
        max_bytes: int,
        scratch: bytearray,
        path: NetworkPath,
    ) -> None:
        self._path = path
        self._stream = stream
        self._headers = headers
        self._max_bytes = max_bytes
        self._scratch = scratch
        self.used = False
        self.reusable = False
        self.idle_since = 0.0

    async def handle(
        self, request: Request, context: FetchContext, wants_body: Callable[[ResponseHead], bool]
    ) -> Response:
        """See `HttpConnection.handle`."""
        relay = request.relay
        path = self._path
        exchange = Exchange(self._stream, context, self._scratch, path.received)
        try:
            head = await exchange.request(write_head(request, self._headers))
        except FetchError as error:
            raise (error if relay is None else blamed(error, silence=False)) from None
        context.on_response()
        key = path.body_started()
        body: Body = b""
        slow = False
        context.lease.evict = self._stream.shut_down
        try:
            if wants_body(head):
                body = await exchange.body(head, self._max_bytes, request.cut_at)
            else:
                exchange.skip(head)
            if context.lease.evicted:  # the end of the read looks like that of the body
                raise FetchError(Reason.TOO_SLOW, _EVICTED)
        except FetchError as error:
            slow = context.lease.evicted or error.failure.reason in _SLOW
            if context.lease.evicted:
                raise FetchError(Reason.TOO_SLOW, _EVICTED) from None
            raise
        finally:
            context.lease.evict = None
            path.body_ended(key, slow=slow)
        self.reusable = exchange.reusable and (relay is None or says_keep_alive(head))
        return Response(head, body)

    def is_idle(self) -> bool:
        """See `HttpConnection.is_idle`."""
        return self._stream.receive_now(1) is None

    def close(self) -> None:
        self._stream.close()
