"""An open byte stream to a server, plain or TLS, on a non-blocking socket.

Reads go to the kernel first and wait only when nothing is there: on a busy machine most reads
cost one system call and no turn of the event loop.
"""

from __future__ import annotations

import socket
import ssl

import trio

from img2ds.core.failure import Reason
from img2ds.net.error import ClosedEarly, FetchError
from img2ds.net.sockets import Deadline

#: Bytes read from the kernel at a time under TLS: 2 records. A connection keeps a buffer for as
#: much while it lives: with 512 in flight and 256 kB here a worker had 340 MB, with 16 kB 260.
_RAW_READ = 32_768


class Connection:
    """A TCP connection. `used` tells a kept one from a new one; `idle_since` is trio's time."""

    __slots__ = ("idle_since", "sock", "used")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.used = False
        self.idle_since = 0.0

    async def send(self, data: bytes, due: Deadline) -> None:
        """Send all of `data`.

        Raises:
            FetchError: stalled or max_time.
            ClosedEarly: the peer is gone.
        """
        await self._send_raw(data, due)

    async def receive_into(self, buffer: memoryview, due: Deadline) -> int:
        """Read up to `len(buffer)` bytes; 0 at the end of the stream.

        Raises:
            FetchError: stalled or max_time.
            ConnectionError: the peer reset the connection.
        """
        return await self._receive_raw(buffer, due)

    def receive_now(self, size: int) -> bytes | None:
        """What is there already: b"" at the end of the stream, None when nothing is there."""
        try:
            return self.sock.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def close(self) -> None:
        self.sock.close()

    async def _send_raw(self, data: bytes, due: Deadline) -> None:
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _gone(error) from None
        while sent < len(data):
            await due.wait(
                trio.lowlevel.wait_writable, self.sock, Reason.STALLED, "server does not read"
            )
            try:
                sent += self.sock.send(data[sent:])
            except BlockingIOError:
                continue
            except OSError as error:
                raise _gone(error) from None

    async def _receive_raw(self, buffer: memoryview, due: Deadline) -> int:
        while True:
            try:
                return self.sock.recv_into(buffer)
            except BlockingIOError:
                await due.wait(
                    trio.lowlevel.wait_readable, self.sock, Reason.STALLED, "server went silent"
                )


class TlsConnection(Connection):
    """TLS over a TCP connection, through memory BIOs: the fewest system calls.

    `trio.SSLStream` does the same at nearly twice the CPU: it is made for any transport and
    any use by several tasks.
    """

    __slots__ = ("_incoming", "_outgoing", "tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def handshake(self, due: Deadline) -> None:
        """Shake hands and verify the certificate.

        Raises:
            FetchError: tls_error, connect_timeout, connect_reset or max_time.
        """
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush(due)
            except ssl.SSLCertVerificationError as error:
                raise FetchError(
                    Reason.TLS_ERROR, f"certificate: {_words(error.verify_message)}"
                ) from None
            except ssl.SSLError as error:
                raise FetchError(Reason.TLS_ERROR, f"TLS: {_words(error.reason)}") from None
            if not await self._feed(due, handshake=True):
                raise FetchError(Reason.TLS_ERROR, "TLS: connection closed in the handshake")
        # Our last words of the handshake wait for the request and go with it, in one packet.

    async def send(self, data: bytes, due: Deadline) -> None:
        self.tls.write(data)
        await self._flush(due)

    async def receive_into(self, buffer: memoryview, due: Deadline) -> int:
        while True:
            try:
                return self.tls.read(len(buffer), buffer)  # type: ignore[return-value]
            except ssl.SSLWantReadError:
                if self._outgoing.pending:
                    await self._flush(due)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return 0
            except ssl.SSLError as error:
                raise ConnectionError(f"TLS: {_words(error.reason)}") from None
            await self._feed(due)

    def receive_now(self, size: int) -> bytes | None:
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return b""
            data = self._raw_now()
            if data is None:
                return None
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _raw_now(self) -> bytes | None:
        return super().receive_now(_RAW_READ)

    async def _flush(self, due: Deadline) -> None:
        if self._outgoing.pending:
            await self._send_raw(self._outgoing.read(), due)

    async def _feed(self, due: Deadline, *, handshake: bool = False) -> bool:
        """Pass what arrives on to TLS; False at the end of the stream."""
        while True:
            try:
                data = self.sock.recv(_RAW_READ)
                break
            except BlockingIOError:
                await due.wait(
                    trio.lowlevel.wait_readable,
                    self.sock,
                    Reason.CONNECT_TIMEOUT if handshake else Reason.STALLED,
                    "no answer to the TLS handshake" if handshake else "server went silent",
                )
            except OSError:
                if handshake:
                    raise FetchError(Reason.CONNECT_RESET, "reset in the TLS handshake") from None
                raise
        if data:
            self._incoming.write(data)
            return True
        self._incoming.write_eof()
        return False


class NestedTlsConnection(TlsConnection):
    """TLS within the TLS of a proxy: what a socket is to the other kind, `outer` is to this."""

    __slots__ = ("_buffer", "_outer")

    def __init__(self, outer: TlsConnection, context: ssl.SSLContext, host: str) -> None:
        super().__init__(outer.sock, context, host)
        self._outer = outer
        self._buffer = bytearray(_RAW_READ)

    async def _send_raw(self, data: bytes, due: Deadline) -> None:
        await self._outer.send(data, due)

    def _raw_now(self) -> bytes | None:
        return self._outer.receive_now(_RAW_READ)

    async def _feed(self, due: Deadline, *, handshake: bool = False) -> bool:
        view = memoryview(self._buffer)
        try:
            count = await self._outer.receive_into(view, due)
        except OSError:
            if handshake:
                raise FetchError(Reason.CONNECT_RESET, "reset in the TLS handshake") from None
            raise
        if count:
            self._incoming.write(view[:count])
            return True
        self._incoming.write_eof()
        return False


def _gone(error: OSError) -> ClosedEarly:
    """Whether the peer reset or closed is told by the first error after it, once."""
    if isinstance(error, ConnectionResetError):
        return ClosedEarly(Reason.CONNECT_RESET, "connection reset")
    return ClosedEarly(Reason.CLOSED_BEFORE_REPLY, "connection lost")


def _words(reason: str | None) -> str:
    """OpenSSL's constant as words that group well."""
    return (reason or "protocol error").replace("_", " ").lower()
