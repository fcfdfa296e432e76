"""The header of a WebP file (RFC 9649, 2.3 to 2.7)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Frame, Header, plausible_icc

#: Most chunks that are read, and bytes of a chunk's head, and of the parameters of a frame.
_MAX_CHUNKS, HEAD, PARAMETERS = 100_000, 8, 16
#: Bytes of the file's head, which the first chunk follows.
_START = 12
#: What image data begin with (RFC 6386, 9.1; RFC 9649, 3.4).
_SIGNATURE_VP8, _SIGNATURE_VP8L = b"\x9d\x01\x2a", 0x2F


def chunks(body: bytes | bytearray, at: int = _START) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each chunk, and where its data start and end; the end may be missing."""
    for _ in range(_MAX_CHUNKS):
        if at + HEAD > len(body):
            return
        kind, length = struct.unpack_from("<4sI", body, at)
        yield kind, at + HEAD, at + HEAD + length
        at += HEAD + length + (length & 1)


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read the first chunk; of the extended format also the first frame and the metadata."""
    size, kind = struct.unpack_from("<I4x4s", body, 4)
    if kind == b"VP8X":
        return _read_extended(body, size)
    if kind not in (b"VP8 ", b"VP8L"):
        return failure(Reason.DECODE_ERROR, "broken WebP header")
    found = _read_pixels(body, kind, _START + HEAD)
    if found is None:
        return failure(Reason.DECODE_ERROR, "broken WebP header")
    width, height, transparent = found
    header = Header("webp", width, height)
    header.transparent, header.lossless = transparent, kind == b"VP8L"
    if size + HEAD > len(body):
        header.frame = Frame(0, 0, width, height, _START)
        return _with_pixels(header, body)
    return header


def _read_extended(body: bytes | bytearray, size: int) -> Header | Failure:
    """Read a file with a canvas. The numbers of frames are held to it: a decoder uses them."""
    flags = body[20]
    width, height = _size(body, 24)
    header = Header("webp", width, height)
    header.transparent = bool(flags & 0x10)
    animated = bool(flags & 0x02)
    for kind, start, end in chunks(body):
        if kind == b"EXIF" and flags & 0x08:
            header.exif = bytes(body[start:end]).removeprefix(b"Exif\0\0")
        elif kind == b"ICCP" and flags & 0x20:
            header.icc = plausible_icc(bytes(body[start:end]))
        elif header.frame is not None:
            pass  # one that follows the first
        elif kind == b"ANMF" and animated:
            left, top = (2 * int.from_bytes(body[at : at + 3], "little")
                         for at in (start, start + 3))  # fmt: skip
            header.frame = Frame(left, top, *_size(body, start + 6), start + PARAMETERS)
        elif kind in (b"ALPH", b"VP8 ", b"VP8L") and not animated:
            header.frame = Frame(0, 0, width, height, start - HEAD)
    checked = _with_pixels(header, body)
    if checked is header and not animated and size + HEAD <= len(body):
        header.frame = None  # it is the whole file
    return checked


def _with_pixels(header: Header, body: bytes | bytearray) -> Header | Failure:
    """Check the first frame: it lies in the canvas, and its data are of its size."""
    frame = header.frame
    header.complete = False
    if frame is None:
        return header
    if frame.left + frame.width > header.width or frame.top + frame.height > header.height:
        return failure(Reason.DECODE_ERROR, "WebP frame outside its canvas")
    header.transparent |= not frame.covers(header.width, header.height)
    for kind, start, end in chunks(body, frame.at):
        if kind in (b"VP8 ", b"VP8L"):
            found = _read_pixels(body, kind, start)
            if found is None or found[:2] != (frame.width, frame.height):
                return failure(Reason.DECODE_ERROR, "WebP frame of another size")
            header.transparent |= found[2]
            header.lossless = kind == b"VP8L"
            header.complete = end <= len(body)
            break
        if kind == b"ALPH":
            header.transparent, header.alpha = True, _alpha(body[start : start + 2])
    return header


def _alpha(start: bytes | bytearray) -> int:
    """Return the bytes a pixel that alpha takes (2.7.1.2): it is raw, or as lossless pixels are.

    Args:
        start: the first two bytes of the chunk.
    """
    if not start[0] & 3:
        return 1
    # The first transform is usually one of a palette, whose indices have a byte.
    return 2 if start[1] & 7 == 7 else 5


def _size(body: bytes | bytearray, at: int) -> tuple[int, int]:
    """Read a width and a height of 24 bits, less one."""
    width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (at, at + 3))
    return width, height


def _read_pixels(body: bytes | bytearray, kind: bytes, start: int) -> tuple[int, int, bool] | None:
    """Read width, height, and whether there is alpha, from image data; None if they are none."""
    if kind == b"VP8 ":
        signature, width, height = struct.unpack_from("<3sHH", body, start + 3)
        found = width & 0x3FFF, height & 0x3FFF, False
        return found if signature == _SIGNATURE_VP8 else None
    signature, bits = struct.unpack_from("<BI", body, start)
    found = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    return found if signature == _SIGNATURE_VP8L else None
