"""A connection whose messages are authenticated: each carries a MAC over its number and content.

Messages are pickled, so that whoever could change or insert one could run code. They are not
encrypted: lists of URLs and counts are no secrets.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
import secrets
from multiprocessing.connection import Connection
from typing import Any

_NONCE = 32
_MAC = hashlib.sha256().digest_size
#: Ends of a connection, so that a message cannot be sent back to its sender.
_ENDS = (b"driver", b"worker")


class ForgedMessageError(ConnectionError):
    """A message is not the next one of the other side."""


class SealedConnection:
    """A `Connection` on which both sides have proved that they know `key`.

    Receiving raises ForgedMessageError for a message that the other side has not sent, or not now.

    Args:
        driver: whether this is the driver's end.
    """

    def __init__(self, connection: Connection, key: bytes, driver: bool) -> None:
        self._connection = connection
        ours = secrets.token_bytes(_NONCE)
        connection.send_bytes(ours)
        theirs = connection.recv_bytes(_NONCE)
        nonces = (ours + theirs) if driver else (theirs + ours)
        names = _ENDS if driver else _ENDS[::-1]
        self._send_key, self._receive_key = (
            hmac.digest(key, name + nonces, "sha256") for name in names
        )
        self._sent = self._received = 0

    def send_bytes(self, data: bytes) -> None:
        mac = _mac(self._send_key, self._sent, data)
        self._sent += 1
        self._connection.send_bytes(mac + data)

    def recv_bytes(self) -> bytes:
        message = self._connection.recv_bytes()
        data = message[_MAC:]
        if not hmac.compare_digest(message[:_MAC], _mac(self._receive_key, self._received, data)):
            raise ForgedMessageError("a message is not from the other side")
        self._received += 1
        return data

    def send(self, message: Any) -> None:
        self.send_bytes(pickle.dumps(message))

    def recv(self) -> Any:
        return pickle.loads(self.recv_bytes())

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()


def _mac(key: bytes, number: int, data: bytes) -> bytes:
    return hmac.digest(key, number.to_bytes(8, "big") + data, "sha256")
