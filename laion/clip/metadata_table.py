"""The metadata of embedded pairs: fixed columns, then the other fields of their shard. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

#: The columns of every table, in this order.
COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("url", pa.string()),
        ("caption", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("license", pa.string()),
        ("language", pa.string()),
        ("similarity", pa.float64()),
    ]
)

#: Columns that a shard may spell in capitals, as the released LAION sets do.
_SPELLINGS = {"url": "URL", "license": "LICENSE", "language": "LANGUAGE"}

#: Fields about the download, which are the same for every image that is there.
_DOWNLOAD_FIELDS = {"status", "error_message", "reason"}

#: Fields that do not become columns of their own.
_HANDLED = {*COLUMNS.names, *_SPELLINGS.values(), *_DOWNLOAD_FIELDS} - {"similarity"}

_INT64 = range(-(2**63), 2**63)


@dataclass(slots=True)
class PairRow:
    """A sample of a shard without its image.

    Attributes:
        caption: None where it has none.
        size: the image's width and height in pixels; None where it was not decoded.
    """

    key: str
    caption: str | None
    fields: dict[str, Any]
    size: tuple[int, int] | None


def metadata_table(rows: Sequence[PairRow], similarity: npt.NDArray[np.float32] | None) -> pa.Table:
    """Return one row a sample. Sizes that the shard lacks are those of the image.

    Other fields become columns of their own: numbers, booleans and texts as they are, all else
    as JSON. A `similarity` of the shard is kept as `input_similarity`.

    Args:
        similarity: the cosine of each pair; None without images or without texts, where the column
            is left out.
    """
    fields = {
        name: [row.fields.get(name) for row in rows]
        for name in dict.fromkeys(name for row in rows for name in row.fields)
    }
    columns = {name: _fixed(name, rows, fields) for name in COLUMNS.names if name != "similarity"}
    columns["key"] = [row.key for row in rows]
    columns["caption"] = [row.caption for row in rows]
    if similarity is not None:
        columns["similarity"] = similarity.astype(np.float64)
    arrays = {name: pa.array(values, COLUMNS.field(name).type) for name, values in columns.items()}
    for name, values in fields.items():
        if name not in _HANDLED:
            arrays["input_similarity" if name == "similarity" else name] = _typed(values)
    return pa.table(arrays)


def _fixed(name: str, rows: Sequence[PairRow], fields: dict[str, list[Any]]) -> Any:
    """Return the values of one of `COLUMNS` as far as they come from the shard's fields."""
    if name in _SPELLINGS:
        spelling = name if name in fields else _SPELLINGS[name]
        values = fields.get(spelling, [None] * len(rows))
        return [value if value is None else str(value) for value in values]
    if name.endswith(("width", "height")):
        side = 0 if name.endswith("width") else 1
        plain = name.removeprefix("original_")
        sizes = [row.fields.get(name, row.fields.get(plain)) for row in rows]
        return [
            size if isinstance(size, int) else row.size and row.size[side]
            for size, row in zip(sizes, rows, strict=True)
        ]
    return []


def _typed(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(v is None or v in _INT64 for v in values):
        return pa.array(values, pa.int64())
    if kinds and kinds <= {int, float}:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array(
        [
            v if v is None or isinstance(v, str) else orjson.dumps(v, default=str).decode()
            for v in values
        ],
        pa.string(),
    )
