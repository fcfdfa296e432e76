"""Merges the lists of stored IVF indices into one file, a list at a time.

The file is faiss's own: the trained index, then the lists, as `faiss.write_index` writes them.
Neither the lists nor the rows are ever in memory together, and the file can be mapped.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.knn.mapped_file import MappedFile

#: Lists of which none has a row: faiss's `ArrayInvertedLists`, with the sizes of those that have.
_EMPTY = struct.Struct("<4sQQ4sQ")
#: The same with the size of every list.
_FULL = struct.Struct("<4sQQ4sQ")
_KIND, _ALL, _SOME = b"ilar", b"full", b"sprs"
#: Bytes of a row's number.
_ID = 8


@dataclass(frozen=True, slots=True)
class ListShape:
    """How many lists there are, and the bytes of a code."""

    lists: int
    code: int


def shape_of_lists(trained: bytes) -> ListShape | None:
    """Return the shape of the lists that end an empty stored index; None for other kinds."""
    if len(trained) < _EMPTY.size:
        return None
    kind, lists, code, sizes, count = _EMPTY.unpack(trained[-_EMPTY.size :])
    return ListShape(lists, code) if (kind, sizes, count) == (_KIND, _SOME, 0) else None


class StoredLists:
    """The lists at the end of a stored index, mapped.

    Args:
        head: bytes of the file before its lists.

    Raises:
        UsageError: the file is not an index of that shape.
        OSError: it cannot be read.
    """

    def __init__(self, path: str, head: int, shape: ListShape) -> None:
        self._file = MappedFile(path)
        self._bytes = self._file.bytes()
        self._shape = shape
        try:
            self.sizes = self._sizes(head)
            start = len(self._bytes) - int(self.sizes.sum()) * (shape.code + _ID)
            if start < head:
                raise ValueError
        except (ValueError, struct.error):
            raise UsageError(f"'{path}' is damaged: rerun laion index") from None
        ends = np.cumsum(self.sizes) * (shape.code + _ID) + start
        self._starts = ends - self.sizes * (shape.code + _ID)

    def _sizes(self, head: int) -> npt.NDArray[np.int64]:
        kind, lists, code, form, count = _FULL.unpack(
            self._bytes[head : head + _FULL.size].tobytes()
        )
        if (kind, lists, code) != (_KIND, self._shape.lists, self._shape.code):
            raise ValueError
        found = np.zeros(lists, np.int64)
        numbers = self._bytes[head + _FULL.size :][: 8 * count].view("<u8").astype(np.int64)
        if form == _ALL:
            found[:] = numbers
        elif form == _SOME:  # list and size, one after the other
            found[numbers[::2]] = numbers[1::2]
        else:
            raise ValueError
        return found

    def fetch(self, numbers: npt.NDArray[np.int64]) -> None:
        """Begin to read lists, all at the same time."""
        sizes = self.sizes[numbers] * (self._shape.code + _ID)
        for start, size in zip(self._starts[numbers], sizes.tolist(), strict=True):
            if size:
                self._file.fetch(np.array([start]), size)

    def codes(self, number: int) -> npt.NDArray[np.uint8]:
        """Return the codes of a list, one after the other."""
        start = self._starts[number]
        return self._bytes[start : start + self.sizes[number] * self._shape.code]

    def ids(self, number: int) -> npt.NDArray[np.uint8]:
        """Return the bytes of the row numbers of a list."""
        start = self._starts[number] + self.sizes[number] * self._shape.code
        return self._bytes[start : start + self.sizes[number] * _ID]


def write_merged(
    sink: IO[Any], trained: bytes, shape: ListShape, parts: Sequence[StoredLists]
) -> None:
    """Write an index with the lists of all `parts`, in their order.

    Args:
        trained: the stored index without rows, whose number of rows is that of all parts.

    Raises:
        OSError: the disk is full.
    """
    sizes = np.sum([part.sizes for part in parts], axis=0, dtype=np.int64)
    sink.write(trained[: -_EMPTY.size])
    sink.write(_FULL.pack(_KIND, shape.lists, shape.code, _ALL, shape.lists))
    sink.write(sizes.astype("<u8").tobytes())
    for number in range(shape.lists):
        for part in parts:
            sink.write(part.codes(number).data)
        for part in parts:
            sink.write(part.ids(number).data)


def lists_of(path: str, rows: int, shape: ListShape) -> StoredLists | None:
    """Map the lists of a stored index with that many rows; None where few of its lists have any.

    Raises:
        OSError: it cannot be read.
    """
    size = os.path.getsize(path)
    head = size - rows * (shape.code + _ID) - 8 * shape.lists - _FULL.size
    try:
        return StoredLists(path, head, shape) if head > 0 else None
    except UsageError:
        return None


def empty_size() -> int:
    """Bytes that lists without rows take at the end of a stored index."""
    return _EMPTY.size
