"""The columns of released parquet files, and how a row of an embedding folder becomes one.

LAION-400M's, LAION-5B's and Re-LAION-5B's; docs/curation.md says where each is from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from laion.data.laion_hash import laion_hashes

#: What LAION-400M writes where no licence is known.
NO_LICENSE = "?"

SAMPLE_ID = "SAMPLE_ID"
HASH = "hash"


class ReleaseColumn(NamedTuple):
    """A column of the release.

    `sources` are the metadata columns that it may be made of, the first that is there counts;
    `default` is the value where that is null. An `optional` column is left out of a release whose
    pairs have none of its sources.
    """

    name: str
    type: pa.DataType
    description: str
    sources: tuple[str, ...]
    default: str | None = None
    optional: bool = False


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

_SIMILARITY = RELEASE_COLUMNS[-1]
_HASH = ReleaseColumn(
    HASH, pa.int64(), "MurmurHash3 of URL and text, as in LAION's tables of tags", ()
)
_WATERMARK = ReleaseColumn(
    "pwatermark", pa.float32(), "probability of a watermark", ("pwatermark",)
)
_UNSAFE = ReleaseColumn(
    "punsafe", pa.float32(), "probability that the image is unsafe", ("punsafe",)
)
_SIZES = ("of the original image in pixels", "of the stored image in pixels")

#: Names, types and order as in laion-art, which has every column of LAION-5B's subsets. Those of
#: the aesthetic subsets alone are left out where pairs have no score.
LAION_5B_COLUMNS = (
    ReleaseColumn("URL", pa.string(), "where the image was found", ("url",)),
    ReleaseColumn("TEXT", pa.string(), "the alt text", ("caption",), ""),
    ReleaseColumn("WIDTH", pa.int32(), f"width {_SIZES[0]}", ("original_width", "WIDTH")),
    ReleaseColumn("HEIGHT", pa.int32(), f"height {_SIZES[0]}", ("original_height", "HEIGHT")),
    _SIMILARITY,
    ReleaseColumn("LANGUAGE", pa.string(), "language of the text", ("language", "LANGUAGE")),
    _HASH,
    _WATERMARK,
    _UNSAFE,
    ReleaseColumn(
        "aesthetic", pa.float32(), "aesthetic score", ("aesthetic", "AESTHETIC_SCORE"),
        optional=True,
    ),
)  # fmt: skip

#: Re-LAION-5B's: the metadata that img2dataset writes, with LAION-5B's columns in front.
RE_LAION_COLUMNS = (
    _SIMILARITY,
    _HASH,
    _UNSAFE,
    _WATERMARK,
    ReleaseColumn("caption", pa.string(), "the alt text", ("caption",), ""),
    ReleaseColumn("url", pa.string(), "where the image was found", ("url",)),
    ReleaseColumn("key", pa.string(), "key of the downloaded sample", ("key",)),
    ReleaseColumn("status", pa.string(), "of the download", ("status",), "success"),
    ReleaseColumn("error_message", pa.string(), "of the download", ("error_message",)),
    ReleaseColumn("width", pa.int32(), f"width {_SIZES[1]}", ("width",)),
    ReleaseColumn("height", pa.int32(), f"height {_SIZES[1]}", ("height",)),
    ReleaseColumn("original_width", pa.int32(), f"width {_SIZES[0]}", ("original_width", "WIDTH")),
    ReleaseColumn(
        "original_height", pa.int32(), f"height {_SIZES[0]}", ("original_height", "HEIGHT")
    ),
    ReleaseColumn("exif", pa.string(), "EXIF as JSON", ("exif",)),
    ReleaseColumn("md5", pa.string(), "MD5 of the downloaded file", ("md5",)),
)

#: The columns by the value of `--columns`.
LAYOUTS = {
    "laion400m": RELEASE_COLUMNS,
    "laion5b": LAION_5B_COLUMNS,
    "relaion": RE_LAION_COLUMNS,
}


def columns_of(layout: str, there: Sequence[str]) -> tuple[ReleaseColumn, ...]:
    """Return the columns of a layout for metadata with the columns `there`."""
    return tuple(
        column
        for column in LAYOUTS[layout]
        if not column.optional or any(name in there for name in column.sources)
    )


def schema_of(columns: Sequence[ReleaseColumn]) -> pa.Schema:
    """Return the schema of files with these columns."""
    return pa.schema([(column.name, column.type) for column in columns])


def part_name(number: int, total: int) -> str:
    """`part-00003-of-00032.parquet`."""
    return f"part-{number:05d}-of-{total:05d}.parquet"


def release_rows(
    metadata: pa.Table,
    sample_ids: npt.NDArray[np.int64],
    columns: Sequence[ReleaseColumn] = RELEASE_COLUMNS,
) -> pa.Table:
    """Return the release's rows for the metadata of pairs; columns that it lacks are null.

    Raises:
        pyarrow.ArrowException: a value does not fit its column.
    """
    arrays = []
    for column in columns:
        source = next((name for name in column.sources if name in metadata.column_names), None)
        if column.name == SAMPLE_ID:
            values = pa.array(sample_ids, column.type)
        elif column.name == HASH:
            urls, texts = (metadata[name].to_pylist() for name in ("url", "caption"))
            values = pa.array(laion_hashes(urls, texts), column.type)
        elif source is not None:
            values = _without_nan(metadata.column(source)).cast(column.type)
        else:
            values = pa.nulls(metadata.num_rows, column.type)
        arrays.append(values if column.default is None else pc.fill_null(values, column.default))
    return pa.Table.from_arrays(arrays, schema=schema_of(columns))


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with nulls for NaN, by which pandas writes a missing number or text."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
