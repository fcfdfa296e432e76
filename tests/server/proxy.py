"""A small HTTP proxy in front of servers of the same loop, and proxies that misbehave.

It needs no DNS: every host is one of its servers, by port. A request for a URL is answered by the
server's own behaviour, as if it had been relayed; a tunnel is a real one, byte for byte.
"""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import trio

from tests.server.web import Peer, Request, Server, head, reply

#: One way to answer any request to a proxy; True when the connection is good for another one.
Misbehaviour = Callable[[Request, Peer], Awaitable[bool]]


class ProxyServer(Server):
    """A proxy before `servers`, by the port that URLs say; to be filled in.

    Args:
        tls: speak TLS to clients.
        login: `USER:PASSWORD` without which it answers 407.
        misbehaviour: answers in its place.

    `asked` lists what was asked for, URLs and HOST:PORT of tunnels; `heads` has the requests.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        login: str | None = None,
        misbehaviour: Misbehaviour | None = None,
    ) -> None:
        super().__init__(tls=tls)
        self.servers: Mapping[int, Server] = {}
        self.login = login
        self.misbehaviour = misbehaviour
        self.asked: list[str] = []
        self.heads: list[Request] = []

    async def respond(self, request: Request, peer: Peer) -> bool:
        self.asked.append(request.target)
        self.heads.append(request)
        if self.misbehaviour is not None:
            return await self.misbehaviour(request, peer)
        if self.login is not None and not self._knows(request):
            challenge = reply(b"who are you?", 407, proxy_authenticate='Basic realm="test"')
            await peer.send(challenge)
            return True
        if request.method == "CONNECT":
            server = self.servers[int(request.target.rpartition(":")[2])]
            return await tunnel(server, peer)
        scheme, _, rest = request.target.partition("://")
        assert scheme == "http", f"{request.target} is no URL for a proxy"
        authority, slash, path = rest.partition("/")
        assert authority == request.host
        server = self.servers[int(authority.rpartition("]")[2].partition(":")[2] or 80)]
        server.requests += 1
        server.targets[authority, slash + path] += 1
        times = server.targets[authority, slash + path]
        # The turns of a connection are the proxy's; a server behind it sees none of them.
        return await server.respond(replace(request, target=slash + path, times=times), peer)

    def _knows(self, request: Request) -> bool:
        kind, _, value = request.headers.get("proxy-authorization", "").partition(" ")
        return kind == "Basic" and b64decode(value).decode() == self.login


async def tunnel(server: Server, peer: Peer) -> bool:
    """Pass bytes on between a client and a server, until either ends."""
    async with await trio.open_tcp_stream(server.host, server.port) as there:
        await peer.send(head(200))

        async def pump(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
            try:
                async for data in source:
                    await sink.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, peer.stream, there)
            nursery.start_soon(pump, there, peer.stream)
    return False


def answers(data: bytes) -> Misbehaviour:
    """The same answer to everything."""

    async def misbehave(request: Request, peer: Peer) -> bool:
        await peer.send(data)
        return True

    return misbehave


async def closes(request: Request, peer: Peer) -> bool:
    """Closes in good order without an answer."""
    return False


async def closes_in_head(request: Request, peer: Peer) -> bool:
    """Closes within its head."""
    await peer.send(b"HTTP/1.1 200 Conn")
    return False


async def resets(request: Request, peer: Peer) -> bool:
    """Resets the connection without an answer."""
    peer.reset()
    return False


async def is_unresponsive(request: Request, peer: Peer) -> bool:
    """Never sends a byte."""
    await trio.sleep_forever()


async def drips(request: Request, peer: Peer) -> bool:
    """A head at a byte every 2 s: silence never lasts."""
    await peer.send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        await trio.sleep(2)
        await peer.send(b"x")


async def never_ends_its_head(request: Request, peer: Peer) -> bool:
    """Header fields without end."""
    await peer.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await peer.send(b"X-Filler: %b\r\n" % (b"x" * 1000))


async def goes_on_and_on(request: Request, peer: Peer) -> bool:
    """Interim answers without end."""
    while True:
        await peer.send(b"HTTP/1.1 100 Continue\r\nX-Filler: %b\r\n\r\n" % (b"x" * 1000))


@dataclass(frozen=True, slots=True)
class Case:
    """A misbehaviour, and the reasons it is to give for http and for https URLs."""

    name: str
    misbehaviour: Misbehaviour
    http: str | None
    https: str | None


CASES = (
    Case("closes", closes, "proxy_error", "proxy_error"),
    Case("closes-in-head", closes_in_head, "proxy_error", "proxy_error"),
    Case("resets", resets, "proxy_error", "proxy_error"),
    # Whether a relaying proxy waits for the server cannot be known.
    Case("unresponsive", is_unresponsive, "stalled", "proxy_error"),
    Case("drips", drips, "max_time", "max_time"),
    Case("endless-head", never_ends_its_head, "proxy_error", "proxy_error"),
    Case("endless-interim", goes_on_and_on, "proxy_error", "proxy_error"),
    Case("garbage", answers(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "proxy_error", "proxy_error"),
    Case("400", answers(reply(b"bad", 400)), "http_400", "proxy_error"),
    Case("403", answers(reply(b"no", 403)), "http_403", "proxy_error"),
    Case("407", answers(reply(b"who?", 407)), "proxy_error", "proxy_error"),
    Case("500", answers(reply(b"oh", 500)), "http_500", "http_500"),
    Case("502", answers(reply(b"no way", 502)), "http_502", "http_502"),
    Case("503", answers(reply(b"not now", 503)), "http_503", "http_503"),
    Case("504", answers(reply(b"gone", 504)), "http_504", "http_504"),
    Case("302", answers(head(302, location="http://pics.example/", content_length=0)),
         "too_many_redirects", "proxy_error"),
    Case("page", answers(reply(b"a page of its own for whatever it is")), None, "proxy_error"),
)  # fmt: skip
