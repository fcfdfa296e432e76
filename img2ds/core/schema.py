"""The Arrow schema of the metadata: one row per input row, failed ones too.

Columns in order: the additional ones, caption, url, key, status, error_message, width, height,
original_width, original_height, exif, the hash, reason. img2dataset's, with `reason` added last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

#: What img2ds itself knows of a row; the rest comes from the input.
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
) -> pa.Schema:
    """The schema of `NNNNN.parquet`.

    Args:
        additional: the saved input columns and their types, in order.
        caption: whether the job has a caption column.
        exif: whether EXIF data are kept.
        digest: name of the hash column (`sha256` and the like), None for none.
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
    columns["reason"] = pa.string()
    return pa.schema(list(columns.items()))


def metadata_table(schema: pa.Schema, columns: Mapping[str, Sequence[Any] | pa.Array]) -> pa.Table:
    """The rows of a shard as a table of exactly `schema`.

    Args:
        columns: for each field its values, in key order, None where there is none.

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
