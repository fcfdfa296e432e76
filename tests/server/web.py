"""A small HTTP/1.1 server on trio sockets that hands every request to a behaviour.

It binds port 0 on loopback, counts what it sees, and waits by `trio.sleep` alone, so that it
runs in the loop of the client under test, on the virtual clock too.
"""

from __future__ import annotations

import socket
import ssl
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote

import trio

#: Longest request head read, in bytes; more is a mistake in the client under test.
MAX_REQUEST = 65_536
#: SO_LINGER with a time of zero: close() sends a reset and drops what was not sent.
_LINGER_ZERO = struct.pack("ii", 1, 0)

_PHRASES = {
    200: "OK", 204: "No Content", 301: "Moved Permanently", 302: "Found", 303: "See Other",
    304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect", 403: "Forbidden",
    404: "Not Found", 410: "Gone", 429: "Too Many Requests", 500: "Internal Server Error",
    502: "Bad Gateway", 503: "Service Unavailable",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `times` counts requests for this host and target so far, this one included;
    `turn` counts those on this connection. Header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    times: int
    turn: int

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @property
    def host(self) -> str:
        """The Host header as sent, port included."""
        return self.headers.get("host", "")

    def number(self, name: str, default: float) -> float:
        """A number from the query string."""
        values = parse_qs(self.target.partition("?")[2]).get(name)
        return float(values[0]) if values else default

    def text(self, name: str, default: str) -> str:
        """A text from the query string."""
        values = parse_qs(self.target.partition("?")[2]).get(name)
        return values[0] if values else default


class Peer:
    """One accepted connection, seen from the server."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.tcp = stream
        self.stream: trio.abc.Stream = stream
        self._unread = bytearray()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Take the server's part of a TLS handshake.

        Raises:
            trio.BrokenResourceError: the client would not have it.
        """
        stream = trio.SSLStream(self.tcp, context, server_side=True, https_compatible=True)
        await stream.do_handshake()
        self.stream = stream

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read_head(self) -> bytes | None:
        """The next request head with its empty line; None when the client has closed."""
        while (end := self._unread.find(b"\r\n\r\n")) < 0:
            if len(self._unread) > MAX_REQUEST or not (data := await self.stream.receive_some()):
                return None
            self._unread += data
        head = bytes(self._unread[: end + 4])
        del self._unread[: end + 4]
        return head

    def reset(self) -> None:
        """Break the connection off with a TCP reset."""
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.cut()

    def cut(self) -> None:
        """Close the TCP connection at once; under TLS without a close_notify."""
        self.tcp.socket.close()

    async def close(self) -> None:
        """Close in good order."""
        await self.stream.aclose()


def head(status: int = 200, *, version: str = "1.1", **headers: Any) -> bytes:
    """A reply head with exactly these headers; `_` in a name stands for `-`."""
    lines = [f"HTTP/{version} {status} {_PHRASES.get(status, 'Unheard Of')}"]
    lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def reply(
    body: bytes = b"", status: int = 200, content_type: str = "image/jpeg", **headers: Any
) -> bytes:
    """A whole and correct reply."""
    return head(status, content_type=content_type, content_length=len(body), **headers) + body


class Behaviour(ABC):
    """One way to answer. Stateless: what differs between requests comes with the request.

    `path` is where it is found. `reason` is the failure that contracts.md names for a client
    with default options, None where the image is to be had.
    """

    path: ClassVar[str]
    reason: ClassVar[str | None] = None

    @abstractmethod
    async def answer(self, request: Request, peer: Peer) -> bool:
        """Answer on `peer`; True when the connection is good for another request."""


#: What happens right after accept; True when HTTP (or TLS) is to follow.
Greeting = Callable[[Peer], Awaitable[bool]]


@dataclass
class Server:
    """One listening port.

    Args:
        behaviours: by path; a path that is not there gets a 404.
        tls: speak TLS with this context, plain TCP when None.
        greeting: what to do with a connection before anything else.

    `connections` counts accepted ones, `requests` whole request heads, `targets` requests by
    host and target, `open` the connections that are open now.
    """

    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    greeting: Greeting | None = None
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    requests: int = 0
    open: int = 0
    targets: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"{self.host}:{self.port}"

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:PORT`, or https."""
        return f"{self.scheme}://{self.address}"

    async def serve(
        self, *, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled: `server = await nursery.start(Server(...).serve)`."""
        listeners = await trio.open_tcp_listeners(self.port, host=self.host, backlog=1024)
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(trio.serve_listeners, self._accepted, listeners, handler_nursery=nursery)
            )
            task_status.started(self)

    async def _accepted(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        self.open += 1
        peer = Peer(stream)
        try:
            await self._converse(peer)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # the client went away, or the behaviour broke the connection off: normal here
        finally:
            self.open -= 1
            peer.cut()

    async def _converse(self, peer: Peer) -> None:
        if self.greeting is not None and not await self.greeting(peer):
            return
        if self.tls is not None:
            await peer.start_tls(self.tls)
        turn = 0
        while (data := await peer.read_head()) is not None:
            turn += 1
            request = self._request(data, turn)
            if request is None:
                await peer.send(reply(b"", 400, "text/plain", connection="close"))
                break
            if not await self.respond(request, peer):
                break
        await peer.close()

    def _request(self, data: bytes, turn: int) -> Request | None:
        first, *lines = data.decode("latin-1").split("\r\n")[:-2]
        words = first.split(" ")
        if len(words) != 3:
            return None
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        seen = (headers.get("host", ""), words[1])
        self.requests += 1
        self.targets[seen] += 1
        return Request(words[0], words[1], headers, self.targets[seen], turn)

    async def respond(self, request: Request, peer: Peer) -> bool:
        """Choose a behaviour by path and let it answer."""
        behaviour = self.behaviours.get(request.path)
        if behaviour is None:
            await peer.send(reply(b"no such page\n", 404, "text/plain"))
            return True
        return await behaviour.answer(request, peer)
