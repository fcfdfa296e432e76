"""Writes the files of an embedding shard: whole, row by row, or as a selection of another shard.

A shard without pairs has no files: clip-retrieval writes none either, and embedding-reader, which
passes over empty arrays and not over their tables, would align the others wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from laion.data.embedding_folder import Embeddings, EmbeddingShard
from laion.data.embedding_layout import IMAGES, METADATA, TEXTS

#: Rows copied at once: 2048 rows of 512 float16 numbers are 2 MB.
BLOCK = 2048

Mask = npt.NDArray[np.bool_]
#: Maps the name of a published file to the local path to write it to.
StagingPath = Callable[[str], str]


class NpyWriter:
    """A `.npy` file of `rows` rows, written block by block in the memory of one block.

    It is written with plain writes: a full disk would kill a process that uses a memory map.

    Args:
        like: an array with the width and the type of the rows.
    """

    def __init__(self, path: str, rows: int, like: Embeddings) -> None:
        self._rows = rows
        self._dtype = like.dtype
        self._file = open(path, "wb")  # noqa: SIM115
        header = {
            "descr": np.lib.format.dtype_to_descr(like.dtype),
            "fortran_order": False,
            "shape": (rows, like.shape[1]),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def add(self, source: Embeddings, mask: Mask) -> None:
        """Append the rows of `source` that `mask` selects. Raises OSError."""
        for start in range(0, len(mask), BLOCK):
            selected = mask[start : start + BLOCK]
            if selected.any():
                block = np.asarray(source[start : start + BLOCK])[selected]
                self._file.write(np.ascontiguousarray(block, self._dtype).data)
                self._rows -= len(block)

    def close(self) -> None:
        """Close the file. Raises OSError when the disk is full."""
        assert not self._rows, "as many rows as were announced"
        self._file.close()


def write_embedding_shard(
    name: str,
    path: StagingPath,
    table: pa.Table,
    images: Embeddings | None,
    texts: Embeddings | None,
) -> None:
    """Write the files of shard `name`, row i of each being the same sample. Raises OSError.

    Args:
        images, texts: None where there are none.
    """
    if not table.num_rows:
        return
    for kind, array in ((IMAGES, images), (TEXTS, texts)):
        if array is None:
            continue
        with open(path(kind.format(name)), "wb") as file:
            np.save(file, array)
    pq.write_table(table, path(METADATA.format(name)))


def copy_rows(
    shard: EmbeddingShard,
    table: pa.Table,
    mask: Mask,
    name: str,
    path: StagingPath,
    kinds: Sequence[str] = (IMAGES, TEXTS),
) -> None:
    """Write the rows of a shard that `mask` selects as shard `name`.

    Args:
        table: the metadata to write, all rows of the shard.
        kinds: the embeddings that the folder has.
    """
    if not mask.any():
        return
    pq.write_table(table.filter(pa.array(mask)), path(METADATA.format(name)))
    for kind in kinds:
        copy_array(shard.embeddings(kind, table.num_rows), mask, path(kind.format(name)))


def copy_array(source: Embeddings, mask: Mask, path: str) -> None:
    """Write the rows of `source` that `mask` selects to a local `.npy` file. Raises OSError."""
    file = NpyWriter(path, int(mask.sum()), source)
    file.add(source, mask)
    file.close()
