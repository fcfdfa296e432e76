"""TCP connections to the addresses of a host, by happy eyeballs (RFC 8305).

The next address is tried when one fails, or has not answered for a quarter of a second. With one
address, or a quick one, that costs nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence

import trio

from img2ds.congestion.path import Attempt, NetworkPath
from img2ds.core.failure import Reason, failure
from img2ds.core.img2dataset_messages import CONNECT_TIMED_OUT, not_connected, system_error
from img2ds.net.deadline import TOLERATED_LATENESS, Deadline
from img2ds.net.error import FetchError

#: Seconds before the next address is tried in parallel with an unresponsive one (RFC 8305 5).
HEAD_START = 0.25
#: Seconds after which a SYN is given up where the path drops them: it was sent twice (RFC 6298).
REDIAL_AFTER = 1.5
#: Addresses of one name that are tried; a name server may give thousands, a socket each.
MAX_ADDRESSES = 8

_MEMORY_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ROUTE_ERRORS = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
#: EADDRNOTAVAIL on connect means that this machine has run out of local ports.
_LOCAL_ERRORS = (*_MEMORY_ERRORS, errno.EADDRNOTAVAIL)
_NO_ANSWER = failure(
    Reason.CONNECT_TIMEOUT, "no answer to the connection attempt", CONNECT_TIMED_OUT
)


async def connect_tcp(
    addresses: Sequence[str], port: int, deadline: Deadline, path: NetworkPath
) -> socket.socket:
    """Return a connected non-blocking socket: that of the first address to answer.

    Args:
        path: is told of every attempt's end.

    Raises:
        FetchError: the last error when no address answers; connect_refused, connect_timeout,
            connect_reset, network_unreachable, no_descriptors or max_time.
    """
    if len(addresses) == 1:
        return await _dial((addresses[0], port), deadline, path)
    return await _race([(address, port) for address in addresses[:MAX_ADDRESSES]], deadline, path)


async def _dial(address: tuple[str, int], deadline: Deadline, path: NetworkPath) -> socket.socket:
    """Connect to one address.

    Where the path drops SYNs, one without an answer is not left to the kernel, which waits longer
    each time: it is given up, and sent again when the path has room.
    """
    now = trio.current_time()
    gives_up_at = now + deadline.timeout
    attempt = _Attempt(*address, path, port=path.take_port(address))
    try:
        # A SYN that is late is given up soon, but later each time: a host may be a slow one.
        redial_after = min(path.overdue_after, REDIAL_AFTER)
        while now < min(gives_up_at - REDIAL_AFTER, deadline.ends_at):
            late = await attempt.wait(min(now + redial_after, deadline.ends_at), deadline)
            if late is None:
                break
            if late > TOLERATED_LATENESS:  # this process was not running
                gives_up_at += late
                deadline.extend(late)
            if path.drops_syns:
                if redial_after < REDIAL_AFTER:
                    path.make_room()  # an idle connection may have its place in the router's table
                port = attempt.port
                attempt.abandon()
                path.connections.leave()
                started = trio.current_time()
                await path.connections.enter(first=True)
                waited = trio.current_time() - started
                deadline.extend(waited)
                gives_up_at += waited
                attempt = _Attempt(*address, path, port=port, before=attempt.noted)
            redial_after = min(2 * redial_after, REDIAL_AFTER)
            now = trio.current_time()
        return await attempt.finish(deadline, gives_up_at)
    except BaseException:
        attempt.abandon()
        raise


class _Attempt:
    """One connect() under way.

    Args:
        host, remote: address and port to connect to.
        port: local port of an attempt before it that was given up; 0 without one. The same port
            takes no further place in a router's table.
        before: what the path has noted of that attempt.

    Attributes:
        noted: what the path has noted of this one.
    """

    def __init__(
        self,
        host: str,
        remote: int,
        path: NetworkPath,
        *,
        port: int = 0,
        before: Attempt | None = None,
    ) -> None:
        self._address = (host, remote)
        self._path = path
        self._ended = False
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise _connect_error(error.errno) from None
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if port:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with contextlib.suppress(OSError):  # somebody else has it now
                    self.sock.bind(("", port))
            self.noted = path.connect_started(before)
            self._code = self.sock.connect_ex(self._address)
        except BaseException:
            self.sock.close()
            raise

    @property
    def port(self) -> int:
        """The local port."""
        port: int = self.sock.getsockname()[1]
        return port

    async def wait(self, until: float, deadline: Deadline) -> float | None:
        """Wait for an answer. Returns None when there is one, else by how much it is too late."""
        if self._code != errno.EINPROGRESS:
            return None
        if not await deadline.alarms.is_ready(trio.lowlevel.wait_writable, self.sock, until):
            return trio.current_time() - until
        self._code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return None

    async def finish(self, deadline: Deadline, until: float | None = None) -> socket.socket:
        """Return the connected socket; it stays open when there is an error.

        Args:
            until: when to give up, in place of the deadline's `timeout`.
        """
        try:
            if self._code == errno.EINPROGRESS:
                timeout = None if until is None else until - trio.current_time()
                await deadline.wait(trio.lowlevel.wait_writable, self.sock, _NO_ANSWER, timeout)
                self._code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if self._code:
                raise _connect_error(self._code)
        except FetchError as error:
            self._note(error)
            raise
        self._end()
        self._path.connected(self.sock, self._address, self.noted)
        return self.sock

    def abandon(self) -> None:
        """Close the socket, if the attempt is still under way or has failed."""
        self._end()
        self.sock.close()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._path.connect_ended(self.noted)

    def _note(self, error: FetchError) -> None:
        reason = error.failure.reason
        if reason == Reason.CONNECT_TIMEOUT.value or reason == Reason.MAX_TIME.value:
            self._path.timed_out(self._address, self.port)
        elif reason == Reason.NETWORK_UNREACHABLE.value:
            self._path.unreachable()
        elif reason != Reason.NO_DESCRIPTORS.value:
            self._path.refused(self._address)


async def _race(
    addresses: Sequence[tuple[str, int]], deadline: Deadline, path: NetworkPath
) -> socket.socket:
    won: list[socket.socket] = []
    error: FetchError | None = None

    async def attempt(address: tuple[str, int], failed: trio.Event, nursery: trio.Nursery) -> None:
        nonlocal error
        try:
            under_way = _Attempt(*address, path)
            try:
                sock = await under_way.finish(deadline)
            except BaseException:
                under_way.abandon()
                raise
        except FetchError as fault:
            error = fault
            failed.set()
            return
        if won:
            sock.close()
        else:
            won.append(sock)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for address in addresses:
            failed = trio.Event()
            nursery.start_soon(attempt, address, failed, nursery)
            with trio.move_on_after(HEAD_START):
                await failed.wait()
    if won:
        return won[0]
    assert error is not None
    raise error


def _connect_error(code: int | None) -> FetchError:
    said = not_connected(system_error(code or 0))
    words = os.strerror(code or 0).lower()
    if code == errno.ECONNREFUSED:
        return FetchError(Reason.CONNECT_REFUSED, "connection refused", said)
    if code == errno.ETIMEDOUT:
        return FetchError(Reason.CONNECT_TIMEOUT, _NO_ANSWER.message, said)
    if code in (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE):
        return FetchError(Reason.CONNECT_RESET, "connection reset", said)
    if code in _ROUTE_ERRORS:
        return FetchError(Reason.NETWORK_UNREACHABLE, f"cannot connect: {words}", said)
    if code in _LOCAL_ERRORS:
        full = code in (errno.EMFILE, errno.ENFILE)
        return FetchError(Reason.NO_DESCRIPTORS, "too many open files" if full else words, said)
    return FetchError(Reason.CONNECT_REFUSED, f"cannot connect: {words}", said)
