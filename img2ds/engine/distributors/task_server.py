"""The driver's port that workers on other machines connect to.

Both sides prove with a key that they are of the same run, and each message carries a MAC. Nothing
is unpickled before that, and a connection that stays silent is dropped.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import socket
import struct
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any

from img2ds.engine.distributors.contract import Worker
from img2ds.engine.distributors.sealed_connection import SealedConnection

#: Seconds for connecting and proving the key.
HANDSHAKE = 30.0
#: Connections that may be proving it at once; further ones wait to be accepted.
MAX_HANDSHAKES = 64


class TaskServer:
    """Listens for workers until it is closed.

    Args:
        bind: host and port; port 0 for a free one.
        key: the shared secret.
        worker: the pickled worker that is sent to those who prove the key.
    """

    def __init__(self, bind: tuple[str, int], key: bytes, worker: bytes) -> None:
        self._key = key
        self._worker = worker
        self._arrived: queue.SimpleQueue[tuple[SealedConnection, Any]] = queue.SimpleQueue()
        self._socket = socket.create_server(bind, backlog=1024)
        self._handshakes = threading.BoundedSemaphore(MAX_HANDSHAKES)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    def arrivals(self) -> list[tuple[SealedConnection, Any]]:
        """Return the connections since the last call, each with the worker's greeting."""
        return [self._arrived.get() for _ in range(self._arrived.qsize())]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()
        for connection, _ in self.arrivals():
            connection.close()

    def _accept(self) -> None:
        while True:
            self._handshakes.acquire()
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._handshake, args=(sock,), daemon=True).start()

    def _handshake(self, sock: socket.socket) -> None:
        _limit(sock, HANDSHAKE)
        _keep_alive(sock)
        connection = Connection(sock.dup().detach())
        try:
            deliver_challenge(connection, self._key)
            answer_challenge(connection, self._key)
            sealed = SealedConnection(connection, self._key, driver=True)
            greeting = sealed.recv()
            sealed.send_bytes(self._worker)
        except (EOFError, OSError, AuthenticationError):
            connection.close()
            return
        finally:
            _limit(sock, 0)
            sock.close()
            self._handshakes.release()
        self._arrived.put((sealed, greeting))


def connect(
    address: tuple[str, int], key: bytes, greeting: Any
) -> tuple[SealedConnection, Worker] | None:
    """Connect to a `TaskServer`: the worker's side.

    Returns:
        The connection and the worker to run; None when the server is closed, the run being over.

    Raises:
        OSError: the server cannot be reached.
    """
    try:
        sock = socket.create_connection(address, HANDSHAKE)
    except ConnectionRefusedError:
        return None
    sock.settimeout(None)
    _keep_alive(sock)
    connection = Connection(sock.detach())
    try:
        answer_challenge(connection, key)
        deliver_challenge(connection, key)
        sealed = SealedConnection(connection, key, driver=False)
        sealed.send(greeting)
        return sealed, pickle.loads(sealed.recv_bytes())
    except (EOFError, ConnectionError):
        connection.close()
        return None


def _keep_alive(sock: socket.socket) -> None:
    """Have the system notice within three minutes that the other machine is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 8)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _limit(sock: socket.socket, seconds: float) -> None:
    """Limit how long a read may block, on the descriptor: `Connection` has no time-out."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), 0))
