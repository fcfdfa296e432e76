"""The header of a JPEG 2000 file or codestream (ISO/IEC 15444-1, annexes A and I)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header, plausible_icc
from img2ds.image.headers.boxes import boxes, by_type

# Markers (A.2).
_SOC, _SOT, _SOD, _EOC, _SIZ, _COD, _COC = 0xFF4F, 0xFF90, 0xFF93, 0xFFD9, 0xFF51, 0xFF52, 0xFF53
#: A profile in a colour specification box (I.5.3.3).
_RESTRICTED_ICC = 2
#: Most levels of decomposition.
_MAX_LEVELS = 32
#: Most segments and tile-parts that are read; a coding style counts as fifty.
_MAX_SEGMENTS, _STYLE_SEGMENTS = 100_000, 50
#: OpenJPEG has about 9 kB for each tile, and 200 bytes for each code-block: least pixels of one.
_TILE_PIXELS, _BLOCK_SAMPLES = 4096, 64
#: Tiles and code-blocks that any image may have.
_FREE_TILES, _FREE_BLOCKS = 64, 4096


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read size and kind, and refuse numbers that a decoder would allocate by."""
    at, icc, stated = 0, None, None
    if body[:2] != b"\xff\x4f":
        top = by_type(body, 0, len(body))
        if b"jp2h" not in top or b"jp2c" not in top:
            raise IndexError
        at = top[b"jp2c"][0]
        for kind, start, end in boxes(body, *top[b"jp2h"]):
            if kind == b"ihdr":
                height, width, count = struct.unpack_from(">IIH", body, start)
                stated = width, height, count
            elif kind == b"colr" and body[start] == _RESTRICTED_ICC:
                icc = plausible_icc(bytes(body[start + 3 : end]))
    (marker, x, y, left, top_edge, tile_x, tile_y, tile_left, tile_top, count, depth) = (
        struct.unpack_from(">2xH4x8IHB", body, at)
    )
    inside = tile_left <= left < x and tile_top <= top_edge < y
    if marker != _SIZ or not inside or not tile_x or not tile_y:
        return failure(Reason.DECODE_ERROR, "broken JPEG 2000 header")
    width, height = x - left, y - top_edge
    if not 1 <= count <= 4 or stated not in (None, (width, height, count)):
        return failure(Reason.DECODE_ERROR, "JPEG 2000 whose headers differ")
    header = Header("jpeg2000", width, height, 1 if count <= 2 else 3, (depth & 0x7F) + 1)
    header.transparent, header.icc = count in (2, 4), icc
    most = _FREE_BLOCKS + width * height * count // _BLOCK_SAMPLES
    tiles = -(-(x - tile_left) // tile_x) * -(-(y - tile_top) // tile_y)
    if tiles > _FREE_TILES + width * height // _TILE_PIXELS:
        return failure(Reason.IMAGE_BOMB, "JPEG 2000 of too many tiles")
    header.piece = width * height if tiles == 1 else min(tile_x * tile_y, width * height)
    header.levels = _MAX_LEVELS
    if tiles > 1 or left or top_edge:  # halves of tiles would not meet
        sides = tile_x | tile_y | left | top_edge | tile_left | tile_top
        header.levels = (sides & -sides).bit_length() - 1
    seen: set[int] = set()
    left = _MAX_SEGMENTS
    for marker, start, end in _segments(body, at + 2):
        left -= _STYLE_SEGMENTS if marker in (_COD, _COC) else 1
        if left < 0:
            return failure(Reason.IMAGE_BOMB, "JPEG 2000 of too many segments")
        if marker in (_COD, _COC):
            header.levels = min(header.levels, body[start + (5 if marker == _COD else 2)])
            blocks = _blocks(header, body[start:end], marker) * count
            header.blocks = max(header.blocks, blocks)
            if blocks > most:
                return failure(Reason.IMAGE_BOMB, "JPEG 2000 of too many code-blocks")
        elif marker == _SOT and end <= len(body):
            seen.add(struct.unpack_from(">H", body, start + 4)[0])
    header.complete = len(seen) == tiles
    return header


def _segments(body: bytes | bytearray, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield the markers of all headers, and where their parameters start and end.

    For a tile-part that is its data: from its marker to its end.
    """
    part_end = None
    while at + 4 <= len(body):
        marker, length = struct.unpack_from(">HH", body, at)
        if marker == _EOC:
            return
        if marker == _SOD:
            if part_end is None:
                return
            at, part_end = part_end, None
            continue
        if marker == _SOT and part_end is None:
            (size,) = struct.unpack_from(">I", body, at + 6)
            part_end = at + size
            if size == 0:  # up to the end
                part_end = len(body) if body.rfind(b"\xff\xd9") > at else len(body) + 1
            yield marker, at, part_end
            if part_end <= at + 2 + length:
                return
        else:
            yield marker, at + 4, at + 2 + length
        at += 2 + length


def _blocks(header: Header, segment: bytes | bytearray, marker: int) -> int:
    """Count the code-blocks of a component, by a coding style, COD or COC (A.6.1, A.6.2)."""
    precincts = segment[0 if marker == _COD else 1] & 1
    parameters = segment[5 if marker == _COD else 2 :]
    levels, across, down = parameters[0], (parameters[1] & 15) + 2, (parameters[2] & 15) + 2
    total = 0
    for level in range(min(levels, _MAX_LEVELS) + 1):
        size = parameters[5 + level] if precincts else 0xFF
        reduction = min(levels, _MAX_LEVELS) - level
        width, height = header.width >> reduction, header.height >> reduction
        block_x, block_y = 1 << min(across, size & 15), 1 << min(down, size >> 4)
        total += (width // block_x + 1) * (height // block_y + 1)
    return total
