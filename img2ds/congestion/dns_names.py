"""The names that any worker of the machine has resolved, for all of them.

A table in a shared file, without locks: a name has one place, a later name takes it from an
earlier one, and a checksum tells a row that two workers wrote at once.
"""

from __future__ import annotations

import socket
import struct
import time
import zlib
from hashlib import blake2b

from img2ds.congestion.shared_file import SharedFile

#: Rows of the table, each `_ROW.size` bytes; pages that nobody writes take no memory.
ROWS = 1 << 16
#: Addresses of a name that are kept.
MAX_ADDRESSES = 6

#: Checksum, digest of the name, expiry in seconds since the epoch, number of addresses and a bit
#: for each that is IPv6, the addresses.
_ROW = struct.Struct(f"=I12sdBB{16 * MAX_ADDRESSES}s")
_CHECKSUM = struct.Struct("=I")


class DnsNames:
    """A table from names to addresses.

    Args:
        token: the same for all workers of a run, see `shared_file`; None for a table of one's own.
    """

    def __init__(self, token: str | None = None) -> None:
        self._file = SharedFile(token, "names", ROWS * _ROW.size)

    def find(self, name: str) -> tuple[tuple[str, ...], float] | None:
        """Return the addresses of a name, none where it does not exist, and the seconds left."""
        digest = blake2b(name.encode(), digest_size=12).digest()
        start = _place(digest)
        if self._file.memory[start + _CHECKSUM.size : start + _CHECKSUM.size + 12] != digest:
            return None
        row = self._file.memory[start : start + _ROW.size]
        checksum, owner, expires, count, six, data = _ROW.unpack(row)
        if owner != digest or zlib.crc32(row[4:]) != checksum:
            return None
        left = expires - time.time()
        if left <= 0:
            return None
        return tuple(_decode(data, place, six) for place in range(count)), left

    def store(self, name: str, addresses: tuple[str, ...], seconds: float) -> None:
        """Keep the first addresses of a name for a time."""
        digest = blake2b(name.encode(), digest_size=12).digest()
        data, six = bytearray(16 * MAX_ADDRESSES), 0
        kept = [address for address in addresses if "%" not in address][:MAX_ADDRESSES]
        for place, address in enumerate(kept):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            packed = socket.inet_pton(family, address)
            six |= (len(packed) == 16) << place
            data[16 * place : 16 * place + len(packed)] = packed
        expires = time.time() + seconds
        row = bytearray(_ROW.pack(0, digest, expires, len(kept), six, bytes(data)))
        _CHECKSUM.pack_into(row, 0, zlib.crc32(row[4:]))
        start = _place(digest)
        self._file.memory[start : start + _ROW.size] = bytes(row)

    def close(self) -> None:
        """Give up the file."""
        self._file.close()


def _place(digest: bytes) -> int:
    return int.from_bytes(digest[:4], "little") % ROWS * _ROW.size


def _decode(data: bytes, place: int, six: int) -> str:
    if six >> place & 1:
        return socket.inet_ntop(socket.AF_INET6, data[16 * place : 16 * place + 16])
    return socket.inet_ntop(socket.AF_INET, data[16 * place : 16 * place + 4])
