"""The data of a PNG's pixels: igzip (ISA-L, through `isal`) takes half the time of zlib."""

from __future__ import annotations

from img2ds.image.headers.png import chunks

try:
    from isal import igzip_lib, isal_zlib

    #: Whether igzip is there: it has no wheels for some machines.
    HAS_IGZIP = True
except ImportError:
    HAS_IGZIP = False


class Inflater:
    """Inflates the data of rows."""

    def __init__(self, packed: bytes) -> None:
        self._unpacker = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_ZLIB)
        self._packed = packed

    def read(self, size: int) -> bytes:
        """Return the next bytes; fewer if the data end, or are broken."""
        packed, self._packed = self._packed, b""
        try:
            data: bytes = self._unpacker.decompress(packed, size)
        except (igzip_lib.IsalError, EOFError):  # type: ignore[misc] # as its stub has it
            return b""
        return data

    def ends(self) -> bool:
        """Return whether no more data follow, and their checksum is right."""
        more = b"" if self._unpacker.eof else self.read(1)
        return bool(self._unpacker.eof) and not more


def idat(body: bytes | bytearray) -> bytes | None:
    """Concatenate the data of the IDAT chunks; None if one has a wrong CRC."""
    view = memoryview(body)
    pieces = []
    for kind, start, end in chunks(body):
        if kind == b"IDAT":
            chunk = view[start - 4 : end]
            if view[end : end + 4] != isal_zlib.crc32(chunk).to_bytes(4, "big"):
                return None
            pieces.append(chunk[4:])
        elif pieces:
            break
    return b"".join(pieces) if pieces else None
