"""Open byte streams to a server, plain or TLS, on a non-blocking socket.

Reads try the kernel first and wait only when nothing is there: on a busy machine most reads cost
one system call and no turn of the event loop.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable

import trio

from img2ds.core.failure import Reason, failure
from img2ds.core.img2dataset_messages import (
    CONNECT_TIMED_OUT,
    NO_RESPONSE,
    READ_TIMED_OUT,
    RESET,
    TLS_READ_TIMED_OUT,
    not_connected,
)
from img2ds.net.deadline import Deadline
from img2ds.net.error import ClosedEarly, FetchError
from img2ds.net.issuers import IncompleteChainError, peer_chain

#: Bytes read from the kernel at a time under TLS: 2 records. Each connection keeps a buffer of this
#: size: with 512 in flight, a worker took 340 MB with 256 kB here and 260 MB with 16 kB.
_RAW_READ = 32_768
#: OpenSSL's code where the issuer of a certificate is neither trusted nor sent
#: (X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY).
_NO_ISSUER = 20
#: Reads of a connection that may bring less than _LEAST_READ bytes each. A packet of a byte costs
#: as much as one of 1460, some 60 us with the turn of the event loop that it takes.
_FREE_READS, _LEAST_READ = 2_000, 128
#: Bytes of TLS that may come besides data, and the share of the data: records of a byte have 22
#: besides, and session tickets and key updates are all besides. Records of 16 kB have 0.2 %.
_FREE_OVERHEAD, _OVERHEAD_SHARE = 262_144, 8

_NOT_READ = failure(Reason.STALLED, "server does not read", READ_TIMED_OUT)
_SILENT = failure(Reason.STALLED, "server stopped responding", READ_TIMED_OUT)
_SILENT_UNDER_TLS = failure(Reason.STALLED, "server stopped responding", TLS_READ_TIMED_OUT)
_NO_HANDSHAKE = failure(Reason.CONNECT_TIMEOUT, "no answer to the TLS handshake", CONNECT_TIMED_OUT)


def _ignore() -> None:
    pass


class ByteStream:
    """A plain TCP connection.

    Args:
        release: called once when the stream is closed.
    """

    __slots__ = ("_arrived", "_reads", "release", "sock")

    def __init__(self, sock: socket.socket, release: Callable[[], None] = _ignore) -> None:
        self.sock = sock
        self.release = release
        self._reads = self._arrived = 0

    async def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of `data`.

        Raises:
            FetchError: stalled or max_time.
            ClosedEarly: the peer is gone.
        """
        await self._send_raw(data, deadline)

    async def receive_into(self, buffer: memoryview, deadline: Deadline) -> int:
        """Read up to `len(buffer)` bytes; 0 at the end of the stream.

        Raises:
            FetchError: stalled or max_time; protocol_error if next to nothing arrives at a time.
            ConnectionError: the peer reset the connection.
        """
        return await self._receive_raw(buffer, deadline)

    def receive_now(self, size: int) -> bytes | None:
        """Read without waiting: b"" at the end of the stream, None when nothing has arrived."""
        try:
            return self.sock.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def shut_down(self) -> None:
        """End a read that waits, in another task."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.sock.close()
        release, self.release = self.release, _ignore
        release()

    async def _send_raw(self, data: bytes, deadline: Deadline) -> None:
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _gone(error) from None
        while sent < len(data):
            await deadline.wait(trio.lowlevel.wait_writable, self.sock, _NOT_READ)
            try:
                sent += self.sock.send(data[sent:])
            except BlockingIOError:
                continue
            except OSError as error:
                raise _gone(error) from None

    async def _receive_raw(self, buffer: memoryview, deadline: Deadline) -> int:
        while True:
            try:
                return self._counted(self.sock.recv_into(buffer))
            except BlockingIOError:
                await deadline.wait(trio.lowlevel.wait_readable, self.sock, _SILENT)

    def _counted(self, count: int) -> int:
        """Return the bytes that one read brought, unless all reads bring next to nothing."""
        self._reads += 1
        self._arrived += count
        if self._reads > _FREE_READS + self._arrived // _LEAST_READ:
            raise FetchError(Reason.PROTOCOL_ERROR, "response in tiny pieces")
        return count


class TlsStream(ByteStream):
    """TLS over a TCP connection, through memory BIOs: the fewest system calls.

    `trio.SSLStream` takes nearly twice the CPU: it supports any transport and several tasks.
    """

    __slots__ = ("_incoming", "_outgoing", "_overhead", "tls")

    def __init__(self, under: ByteStream, context: ssl.SSLContext, host: str) -> None:
        super().__init__(under.sock, under.close)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._overhead = -_FREE_OVERHEAD  # bytes that arrived and are no data, above the allowance

    async def handshake(self, deadline: Deadline) -> None:
        """Perform the handshake and verify the certificate.

        Raises:
            FetchError: tls_error, connect_timeout, connect_reset or max_time.
        """
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush(deadline)
            except ssl.SSLCertVerificationError as error:
                raise self._refused(error) from None
            except ssl.SSLError as error:
                message = f"TLS: {_readable(error.reason)}"
                raise FetchError(Reason.TLS_ERROR, message, not_connected(error)) from None
            if not await self._feed(deadline, handshake=True):
                raise FetchError(Reason.TLS_ERROR, "TLS: connection closed in the handshake")
        # The last bytes of our handshake are sent with the request, in one packet.

    def _refused(self, error: ssl.SSLCertVerificationError) -> FetchError:
        message = f"certificate: {_readable(error.verify_message)}"
        chain: list[bytes] = []
        if error.verify_code == _NO_ISSUER:
            chain = peer_chain(self.tls, verified=False)
        if chain:
            words = not_connected(error)
            return IncompleteChainError(Reason.TLS_ERROR, message, words, chain[-1])
        return FetchError(Reason.TLS_ERROR, message, not_connected(error))

    async def send(self, data: bytes, deadline: Deadline) -> None:
        self.tls.write(data)
        await self._flush(deadline)

    async def receive_into(self, buffer: memoryview, deadline: Deadline) -> int:
        tls, incoming = self.tls, self._incoming
        if not (incoming.pending or tls.pending() or incoming.eof or self._outgoing.pending):
            await self._feed(deadline)  # what `read` raises for that costs more than the question
        while True:
            try:
                count: int = tls.read(len(buffer), buffer)  # type: ignore[assignment]
                self._overhead -= count + count // _OVERHEAD_SHARE
                return count
            except ssl.SSLWantReadError:
                if self._outgoing.pending:
                    await self._flush(deadline)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return 0
            except ssl.SSLError as error:
                raise ConnectionError(f"TLS: {_readable(error.reason)}") from None
            await self._feed(deadline)

    def receive_now(self, size: int) -> bytes | None:
        while True:
            try:
                data = self.tls.read(size)
                self._overhead -= len(data)
                return data
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return b""
            raw = self._raw_now()
            if raw is None:
                return None
            if raw and self._overhead < 0:
                self._overhead += len(raw)
                self._incoming.write(raw)
            else:  # the end, or a server that sends without end what is no data
                self._incoming.write_eof()

    def _raw_now(self) -> bytes | None:
        return super().receive_now(_RAW_READ)

    async def _flush(self, deadline: Deadline) -> None:
        if self._outgoing.pending:
            await self._send_raw(self._outgoing.read(), deadline)

    async def _feed(self, deadline: Deadline, *, handshake: bool = False) -> bool:
        """Pass arriving bytes on to TLS. Returns False at the end of the stream."""
        while True:
            try:
                data = self.sock.recv(_RAW_READ)
                break
            except BlockingIOError:
                await deadline.wait(
                    trio.lowlevel.wait_readable,
                    self.sock,
                    _NO_HANDSHAKE if handshake else _SILENT_UNDER_TLS,
                )
            except OSError:
                if handshake:
                    raise _reset_in_handshake() from None
                raise
        return self._arrive(data)

    def _arrive(self, data: bytes | memoryview) -> bool:
        """Pass on what one read brought. Returns False at the end of the stream."""
        if not data:
            self._incoming.write_eof()
            return False
        self._overhead += self._counted(len(data))
        if self._overhead > 0:
            raise FetchError(Reason.PROTOCOL_ERROR, "TLS records with next to no data")
        self._incoming.write(data)
        return True


class NestedTlsStream(TlsStream):
    """TLS inside the TLS of a proxy: reads and writes the stream `outer` instead of a socket."""

    __slots__ = ("_buffer", "_outer")

    def __init__(self, outer: TlsStream, context: ssl.SSLContext, host: str) -> None:
        super().__init__(outer, context, host)
        self._outer = outer
        self._buffer = bytearray(_RAW_READ)

    async def _send_raw(self, data: bytes, deadline: Deadline) -> None:
        await self._outer.send(data, deadline)

    def _raw_now(self) -> bytes | None:
        return self._outer.receive_now(_RAW_READ)

    async def _feed(self, deadline: Deadline, *, handshake: bool = False) -> bool:
        view = memoryview(self._buffer)
        try:
            count = await self._outer.receive_into(view, deadline)
        except OSError:
            if handshake:
                raise _reset_in_handshake() from None
            raise
        return self._arrive(view[:count])


def _gone(error: OSError) -> ClosedEarly:
    """Map an error of send(): only the first one tells a reset from a close."""
    if isinstance(error, ConnectionResetError):
        return ClosedEarly(Reason.CONNECT_RESET, "connection reset", not_connected(RESET))
    return ClosedEarly(Reason.CLOSED_BEFORE_REPLY, "connection lost", NO_RESPONSE)


def _reset_in_handshake() -> FetchError:
    return FetchError(Reason.CONNECT_RESET, "reset in the TLS handshake", not_connected(RESET))


def _readable(reason: str | None) -> str:
    """Return OpenSSL's constant as lower-case words, which group well in statistics."""
    return (reason or "protocol error").replace("_", " ").lower()
