"""The embeddings of an index folder, memory-mapped: for exact similarities, and to search by a row.

Every index folder has them, because a compressed index cannot give exact similarities or return a
row's vector. Input files that need no change are hard-linked.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.storage import InputFile
from laion.knn.ann_index import Ids, Vectors
from laion.knn.layout import local_file, read_blocks, read_header
from laion.knn.mapped_file import MappedFile

#: Rows converted at once: 8 MB of float32 at 512 dimensions.
BLOCK_ROWS = 4096

#: Bytes in which the header of an array ends.
_MAX_HEADER = 65_536

#: How far the norm of a unit row may be from 1: float16 rounds to 5e-4.
UNIT_TOLERANCE = 2e-3


def usable_rows(file: InputFile) -> tuple[npt.NDArray[np.bool_], bool]:
    """Find the rows of an array that are vectors: finite, and not zero.

    Returns:
        A mask of these rows, and whether all of them are unit vectors.
    """
    masks, unit = [], True
    for block in read_blocks(file, BLOCK_ROWS):
        lengths = np.linalg.norm(block.astype(np.float32), axis=1)
        good = np.isfinite(lengths) & (lengths > 0)
        masks.append(good)
        unit = unit and bool((np.abs(lengths[good] - 1) < UNIT_TOLERANCE).all())
    return np.concatenate(masks) if masks else np.zeros(0, bool), unit


def write_vectors(file: InputFile, path: str, keep: npt.NDArray[np.bool_], unit: bool) -> None:
    """Write the rows of an array where `keep` is True, as unit rows, to `path`. Raises OSError.

    If nothing changes, `path` becomes a hard link. float32 is kept, other types become float16.

    Args:
        unit: whether the kept rows are unit vectors.
    """
    local = local_file(file)
    first = next(iter(read_blocks(file, 1)), np.zeros((0, 0), np.float16))
    unchanged = unit and bool(keep.all()) and first.dtype in (np.float16, np.float32)
    if unchanged and local is not None:
        try:
            os.link(local, path)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(local, path)
        return
    kind = np.dtype(np.float32 if first.dtype == np.float32 else np.float16)
    header = {"descr": kind.str, "fortran_order": False, "shape": (int(keep.sum()), first.shape[1])}
    start = 0
    with open(path, "wb") as sink:
        np.lib.format.write_array_header_1_0(sink, header)
        for block in read_blocks(file, BLOCK_ROWS):
            rows = block[keep[start : start + len(block)]].astype(np.float32)
            start += len(block)
            if not unit:
                rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            sink.write(np.ascontiguousarray(rows.astype(kind)).tobytes())


class VectorFiles:
    """Rows `0 .. len - 1` of the arrays at `paths`, in their order. Raises OSError, ValueError.

    Args:
        paths: of .npy files on this machine, which are mapped; no descriptor stays open.
        cold: whether rows are expected on the disk, not in memory. Rows that are asked for
            together are then read at the same time.
    """

    def __init__(self, paths: Iterable[str], cold: bool = False) -> None:
        self._arrays: list[np.ndarray[Any, Any]] = []
        self._files: list[tuple[MappedFile, int]] = []
        self._cold = cold
        for path in paths:
            file = MappedFile(path)
            if cold:
                file.read_apart()
            array, offset = _array(file, path)
            self._arrays.append(array)
            self._files.append((file, offset))
        counts = [len(array) for array in self._arrays]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.dimension = next((array.shape[1] for array in self._arrays if len(array)), 0)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, ids: Ids) -> Vectors:
        """Return the vectors of rows, which must exist: float32 [len(ids), dimension]."""
        found = np.empty((len(ids), self.dimension), np.float32)
        numbers = np.searchsorted(self._starts, ids, side="right") - 1
        # Disks are fastest when read in ascending order.
        order = np.argsort(ids, kind="stable")
        ends = np.flatnonzero(np.diff(numbers[order])) + 1
        groups = np.split(order, ends) if len(order) else []
        if self._cold:
            for where in groups:
                self._fetch(int(numbers[where[0]]), ids[where])
        for where in groups:
            number = int(numbers[where[0]])
            found[where] = self._arrays[number][ids[where] - self._starts[number]]
        return found

    def _fetch(self, number: int, ids: Ids) -> None:
        file, offset = self._files[number]
        size = self._arrays[number].strides[0]
        file.fetch((ids - self._starts[number]) * size + offset, size)

    def blocks(
        self, start: int, stop: int, rows: int = BLOCK_ROWS
    ) -> Iterator[tuple[int, Vectors]]:
        """Yield blocks of the rows from `start` up to `stop`: the first row's number, and float32.

        A block has at most `rows` rows, all of one file.
        """
        for number, array in enumerate(self._arrays):
            first = int(self._starts[number])
            low, high = max(start - first, 0), min(stop - first, len(array))
            for at in range(low, high, rows):
                until = min(at + rows, high)
                yield first + at, np.asarray(array[at:until], np.float32)


def _array(file: MappedFile, path: str) -> tuple[np.ndarray[Any, Any], int]:
    """The array in a .npy file, and the place of its first byte."""
    content = file.bytes()
    # The length of a header is in its first bytes; longer ones than this are not of arrays.
    head = io.BytesIO(content[:_MAX_HEADER].tobytes())
    shape, dtype = read_header(head, path)
    offset = head.tell()
    shape = shape if len(shape) == 2 else (0, 0)
    size = shape[0] * shape[1] * dtype.itemsize
    if len(content) < offset + size:
        raise ValueError(f"{path} ends too early")
    return content[offset : offset + size].view(dtype).reshape(shape), offset
