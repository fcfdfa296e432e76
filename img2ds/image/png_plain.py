"""PNGs without what their pixels do not need, so that nothing else can lose them.

Libraries stumble over ancillary chunks that are malformed, over animations, and over a missing
end. None of it is left here; `headers/png.py` has read what is used of it.
"""

from __future__ import annotations

import struct
import zlib
from itertools import takewhile

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header
from img2ds.image.headers.png import SIGNATURE, chunks, fits, has_crc

#: Samples a pixel, by colour type (PNG 3rd edition, 11.2.1).
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: First column and row, and steps, of the passes of an interlaced image (8.1).
ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip
_CUT_SHORT = failure(Reason.TRUNCATED_IMAGE, "image is cut short")
#: Bytes that are inflated at a time to be counted.
_PIECE = 1 << 16


def plain_png(body: bytes | bytearray, header: Header) -> bytes | Failure:
    """Return the PNG with the chunks that its pixels need, each with the right CRC.

    Args:
        body: one whose header `headers.png` accepts.

    Returns:
        A failure if pixels are missing (truncated_image), or damaged (decode_error).
    """
    view = memoryview(body)
    found = [(kind, start, min(end, len(body))) for kind, start, end in chunks(body)]
    first = next((at for at, chunk in enumerate(found) if chunk[0] == b"IDAT"), None)
    if first is None:
        return _CUT_SHORT
    begin = next(start for kind, start, _ in found if kind == b"IHDR")
    ihdr = bytes(view[begin : begin + 13])
    parts: list[bytes | memoryview] = [SIGNATURE, *_chunk(b"IHDR", ihdr)]
    palette = None
    for kind, start, end in found[:first]:
        if kind == b"PLTE" and header.palette and palette is None:
            if not has_crc(body, start, end):
                return failure(Reason.DECODE_ERROR, "broken PNG palette")
            palette = view[start : start + min((end - start) // 3, 1 << header.depth) * 3]
            parts += _chunk(b"PLTE", palette)
        elif (
            kind == b"tRNS"
            and fits(ihdr[9], end - start, len(palette or b"") // 3)
            and has_crc(body, start, end)
        ):
            parts += _chunk(b"tRNS", view[start:end])
            break
    data = list(takewhile(lambda chunk: chunk[0] == b"IDAT", found[first:]))
    pixels = b"".join(view[start:end] for _, start, end in data)
    whole = all(has_crc(body, start, end) for _, start, end in data)
    if not (whole and header.complete):
        cut = not header.complete and data[-1] is found[-1]
        refused = _check(pixels, ihdr, cut)
        if refused is not None:
            return refused
    return b"".join([*parts, *_chunk(b"IDAT", pixels), *_chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes | memoryview) -> tuple[bytes, bytes | memoryview, bytes]:
    crc = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind, data, struct.pack(">I", crc)


def _check(packed: bytes, ihdr: bytes, cut: bool) -> Failure | None:
    """Return why pixels cannot be trusted: there are too few, or zlib's own checksum is wrong.

    Args:
        cut: whether the file ends in its pixels, so that the checksum may be missing.
    """
    expected = _raw_size(ihdr)
    unpacker = zlib.decompressobj()
    size = 0
    try:
        for at in range(0, len(packed), _PIECE):
            piece = packed[at : at + _PIECE]
            while piece and size <= expected:
                size += len(unpacker.decompress(piece, _PIECE))
                piece = unpacker.unconsumed_tail
    except zlib.error:
        return failure(Reason.DECODE_ERROR, "broken PNG data")
    if size < expected:
        return _CUT_SHORT
    return None if unpacker.eof or cut else failure(Reason.DECODE_ERROR, "broken PNG data")


def _raw_size(ihdr: bytes) -> int:
    """Return the bytes of the rows, with a filter type each."""
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", ihdr)
    passes = ADAM7 if interlace else ((0, 0, 1, 1),)
    size = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            size += rows * (1 + (columns * depth * SAMPLES.get(colour, 1) + 7) // 8)
    return size
