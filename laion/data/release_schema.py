"""The columns of a LAION-400M parquet part, and how a scored pair becomes a row of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: The release's columns: names, types and order as in LAION-400M, every one nullable.
RELEASE_SCHEMA = pa.schema(
    [
        pa.field("SAMPLE_ID", pa.int64()),
        pa.field("URL", pa.string()),
        pa.field("TEXT", pa.string()),
        pa.field("HEIGHT", pa.int32()),
        pa.field("WIDTH", pa.int32()),
        pa.field("LICENSE", pa.string()),
        pa.field("NSFW", pa.string()),
        pa.field("similarity", pa.float64()),
    ]
)

#: What LAION-400M says where no licence is known.
NO_LICENSE = "?"

#: Columns of the release, what they are made of, and what stands in for a missing value.
_SOURCES: tuple[tuple[str, str, str | None], ...] = (
    ("URL", "url", None),
    ("TEXT", "caption", ""),
    ("HEIGHT", "original_height", None),
    ("WIDTH", "original_width", None),
    ("LICENSE", "license", NO_LICENSE),
    ("NSFW", "nsfw", ""),
    ("similarity", "similarity", None),
)

#: The columns of a scored table that a release row is made of, where the table has them.
WANTED = tuple(source for _, source, _ in _SOURCES)


def release_rows(scored: pa.Table, sample_ids: npt.NDArray[np.int64]) -> pa.Table:
    """Rows of the release for the rows of a scored table.

    HEIGHT and WIDTH are those of the original picture. An untagged pair's NSFW is empty.

    Raises:
        pyarrow.ArrowException: a value does not fit its column.
    """
    columns = [pa.array(sample_ids, pa.int64())]
    for name, source, missing in _SOURCES:
        kind = RELEASE_SCHEMA.field(name).type
        if source in scored.column_names:
            column = scored.column(source).cast(kind)
        else:
            column = pa.nulls(scored.num_rows, kind)
        columns.append(column if missing is None else pc.fill_null(column, missing))
    return pa.Table.from_arrays(columns, schema=RELEASE_SCHEMA)
