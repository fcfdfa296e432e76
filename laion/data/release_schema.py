"""The columns of a LAION-400M parquet file, and how a row of an embedding folder becomes one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: What LAION-400M writes where no licence is known.
NO_LICENSE = "?"

SAMPLE_ID = "SAMPLE_ID"


class ReleaseColumn(NamedTuple):
    """A column of the release.

    `sources` are the metadata columns that it may be made of, the first that is there counts;
    `default` is the value where that is null.
    """

    name: str
    type: pa.DataType
    description: str
    sources: tuple[str, ...]
    default: str | None = None


#: Names, types and order as in LAION-400M; every column is nullable.
RELEASE_COLUMNS = (
    ReleaseColumn(
        SAMPLE_ID, pa.int64(),
        "from a hash of URL and text: the same pair has the same ID in every run", (),
    ),
    ReleaseColumn("URL", pa.string(), "where the image was found", ("url",)),
    ReleaseColumn("TEXT", pa.string(), "the alt text", ("caption",), ""),
    ReleaseColumn(
        "HEIGHT", pa.int32(), "height of the original image in pixels",
        ("original_height", "HEIGHT"),
    ),
    ReleaseColumn(
        "WIDTH", pa.int32(), "width of the original image in pixels", ("original_width", "WIDTH")
    ),
    ReleaseColumn(
        "LICENSE", pa.string(), "a Creative Commons URL that the page links to, else `?`",
        ("license", "LICENSE"), NO_LICENSE,
    ),
    ReleaseColumn(
        "NSFW", pa.string(), "`UNLIKELY`, `UNSURE` or `NSFW`; empty where pairs were not tagged",
        ("nsfw", "NSFW"), "",
    ),
    ReleaseColumn(
        "similarity", pa.float64(), "cosine of the CLIP embeddings of image and text",
        ("similarity",),
    ),
)  # fmt: skip

RELEASE_SCHEMA = pa.schema([(column.name, column.type) for column in RELEASE_COLUMNS])


def part_name(number: int, total: int) -> str:
    """`part-00003-of-00032.parquet`."""
    return f"part-{number:05d}-of-{total:05d}.parquet"


def release_rows(metadata: pa.Table, sample_ids: npt.NDArray[np.int64]) -> pa.Table:
    """Return the release's rows for the metadata of pairs; columns that it lacks are null.

    Raises:
        pyarrow.ArrowException: a value does not fit its column.
    """
    arrays = []
    for column in RELEASE_COLUMNS:
        source = next((name for name in column.sources if name in metadata.column_names), None)
        if not column.sources:
            values = pa.array(sample_ids, column.type)
        elif source is not None:
            values = _without_nan(metadata.column(source)).cast(column.type)
        else:
            values = pa.nulls(metadata.num_rows, column.type)
        arrays.append(values if column.default is None else pc.fill_null(values, column.default))
    return pa.Table.from_arrays(arrays, schema=RELEASE_SCHEMA)


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with nulls for NaN, by which pandas writes a missing number or text."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
