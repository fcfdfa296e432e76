"""The floor of fetching: the least that brings an image over HTTP/1.1 on trio's sockets.

One DNS question a host, connect, TLS through memory BIOs with one shared context, a request, a
head split without a parser, a body received in place. It checks nothing, has no time limits, and
accepts only a 200 with a length: a yardstick, not a client.
"""

from __future__ import annotations

import socket
import ssl

import trio

_READ = 262_144


class Stream:
    """A connected socket, plain or with TLS on it."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None, host: str) -> None:
        self._sock = sock
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)

    async def handshake(self) -> None:
        assert self._tls is not None
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                await self._feed()
        self._flush()

    def send(self, data: bytes) -> None:
        """A request fits a socket's buffer."""
        if self._tls is None:
            self._sock.send(data)
        else:
            self._tls.write(data)
            self._flush()

    async def receive_into(self, view: memoryview) -> int:
        if self._tls is None:
            while True:
                try:
                    return self._sock.recv_into(view)
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self._sock)
        while True:
            try:
                return self._tls.read(len(view), view)  # type: ignore[return-value]
            except ssl.SSLWantReadError:
                await self._feed()

    def close(self) -> None:
        self._sock.close()

    def _flush(self) -> None:
        if self._out.pending:
            self._sock.send(self._out.read())

    async def _feed(self) -> None:
        while True:
            try:
                data = self._sock.recv(_READ)
                break
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
        if not data:
            raise EOFError
        self._in.write(data)


class Fetcher:
    """Get bodies; keep one connection an origin if `keep` is set."""

    def __init__(self, name_server: str, context: ssl.SSLContext, keep: bool) -> None:
        self._name_server = (name_server, 53)
        self._context = context
        self._keep = keep
        self._idle: dict[tuple[str, str], list[Stream]] = {}
        self._known: dict[str, str] = {}
        self._scratch = bytearray(65_536)

    async def fetch(self, url: str) -> bytes | bytearray:
        """Return the body of `scheme://host/path`. Raises any error as it is."""
        scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        idle = self._idle.setdefault((scheme, host), []) if self._keep else []
        stream = idle.pop() if idle else await self._connect(scheme, host)
        stream.send(b"GET /%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (path.encode(), host.encode()))
        view = memoryview(self._scratch)
        gathered = b""
        while (end := gathered.find(b"\r\n\r\n") + 4) < 4:
            count = await stream.receive_into(view)
            if not count:
                raise EOFError
            gathered += view[:count]
        at = gathered.index(b"Content-Length: ") + 16
        if gathered[9:12] != b"200":
            raise ValueError(gathered[:12])
        body = bytearray(int(gathered[at : gathered.index(b"\r", at)]))
        filled = len(gathered) - end
        body[:filled] = gathered[end:]
        with memoryview(body) as whole:
            while filled < len(whole):
                count = await stream.receive_into(whole[filled:])
                if not count:
                    raise EOFError
                filled += count
        if self._keep:
            idle.append(stream)
        else:
            stream.close()
        return body

    async def _connect(self, scheme: str, host: str) -> Stream:
        address = self._known.get(host) or await self._resolve(host)
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.connect_ex((address, 443 if scheme == "https" else 80)):
            await trio.lowlevel.wait_writable(sock)
        stream = Stream(sock, self._context if scheme == "https" else None, host)
        if scheme == "https":
            await stream.handshake()
        return stream

    async def _resolve(self, host: str) -> str:
        """The last record of the answer to a question for A records (RFC 1035 4)."""
        labels = b"".join(b"%c%b" % (len(part), part.encode()) for part in host.split("."))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(self._name_server)
            sock.send(b"\0\1\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1")
            await trio.lowlevel.wait_readable(sock)
            self._known[host] = address = socket.inet_ntoa(sock.recv(512)[-4:])
        return address
