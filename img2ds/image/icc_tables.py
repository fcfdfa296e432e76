"""Whether the tables of an ICC profile are in it (ICC.1:2022, 7.3, 10.10 to 10.13, 10.17).

littleCMS allocates a table by the number of its grid points, and goes through all of it after the
profile has ended: 400 bytes could ask for 500 MB and a minute.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod

#: Bytes of a profile's header, and most tags that are read; littleCMS reads a hundred.
_HEADER, _MAX_TAGS = 128, 100
#: Most elements of a multiProcessElementsType.
_MAX_ELEMENTS = 100


def has_its_tables(profile: bytes) -> bool:
    """Return whether each colour lookup table is as long as its grid asks for."""
    try:
        return all(needed <= size for data, size in _tags(profile) for needed in _table_sizes(data))
    except (struct.error, IndexError):
        return False


def _tags(profile: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the data of each tag, and their length."""
    (count,) = struct.unpack_from(">I", profile, _HEADER)
    for number in range(min(count, _MAX_TAGS)):
        start, size = struct.unpack_from(">4xII", profile, _HEADER + 4 + 12 * number)
        data = profile[start : start + size]
        yield data, len(data)


def _table_sizes(data: bytes) -> Iterator[int]:
    """Yield the bytes of the lookup tables of a tag, by their grids."""
    kind = data[:4]
    if kind in (b"mft1", b"mft2"):
        inputs, outputs, points = struct.unpack_from("BBB", data, 8)
        yield points**inputs * outputs * (1 if kind == b"mft1" else 2)
    elif kind in (b"mAB ", b"mBA "):
        inputs, outputs = struct.unpack_from("BB", data, 8)
        (at,) = struct.unpack_from(">I", data, 24)
        if at:
            yield prod(data[at : at + inputs]) * outputs * data[at + 16]
    elif kind == b"mpet":
        (count,) = struct.unpack_from(">I", data, 12)
        for number in range(min(count, _MAX_ELEMENTS)):
            (at,) = struct.unpack_from(">I", data, 16 + 8 * number)
            if data[at : at + 4] == b"clut":
                inputs, outputs = struct.unpack_from(">HH", data, at + 8)
                yield prod(data[at + 12 : at + 12 + min(inputs, 16)]) * outputs * 4
