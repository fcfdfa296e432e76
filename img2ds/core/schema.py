"""The Arrow schema of the metadata: one row per input row, including failed ones.

Columns in order: the additional ones, caption, url, key, status, error_message, width, height,
original_width, original_height, exif, the hash, pdq, reason. All but the last two are
img2dataset's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

#: The columns that img2ds writes for every row; the others depend on the job.
_OWN = (
    ("key", pa.string()),
    ("status", pa.string()),
    ("error_message", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("original_width", pa.int32()),
    ("original_height", pa.int32()),
)


def metadata_schema(
    additional: Mapping[str, pa.DataType],
    *,
    caption: bool,
    exif: bool,
    digest: str | None,
    pdq: bool = False,
) -> pa.Schema:
    """Return the schema of `NNNNN.parquet`.

    Args:
        additional: the saved input columns and their types, in order.
        caption: whether the job has a caption column.
        exif: whether EXIF data is kept.
        digest: the name of the hash column, such as `sha256`; None for no hash.
        pdq: whether PDQ hashes are kept.
    """
    columns: dict[str, pa.DataType] = dict(additional)
    if caption:
        columns["caption"] = pa.string()
    columns["url"] = pa.string()
    columns.update(_OWN)
    if exif:
        columns["exif"] = pa.string()
    if digest is not None:
        columns[digest] = pa.string()
    if pdq:
        columns["pdq"] = pa.string()
    columns["reason"] = pa.string()
    return pa.schema(list(columns.items()))


def metadata_table(schema: pa.Schema, columns: Mapping[str, Sequence[Any] | pa.Array]) -> pa.Table:
    """Return the rows of a shard as a table of exactly `schema`.

    Args:
        columns: the values of each field in key order; None where a row has no value.

    Raises:
        KeyError: a field of the schema has no values.
        pyarrow.ArrowInvalid: values do not fit their field, or lengths differ.
    """
    arrays = []
    for field in schema:
        values = columns[field.name]
        if isinstance(values, (pa.Array, pa.ChunkedArray)):
            arrays.append(values)
        else:
            arrays.append(pa.array(values, type=field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
