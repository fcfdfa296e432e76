"""The metadata of scored pairs: fixed columns, then whatever else their shard knew. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from laion.clip.decoder import Row

#: The columns that are always there, in this order.
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

#: Other spellings of them, those of the released LAION sets.
_SPELLINGS = {"url": ("URL",), "license": ("LICENSE",), "language": ("LANGUAGE",)}

#: What told of the download, and is the same for every picture that there is.
_SPENT = {"status", "error_message", "reason"}

_INT64 = range(-(2**63), 2**63)


def metadata_table(rows: Sequence[Row], similarity: npt.NDArray[np.float32]) -> pa.Table:
    """One row a pair. Where the shard has no sizes they are the picture's own.

    Other fields follow as columns of their own: numbers, truths and texts as they are, all else
    as JSON. A `similarity` that the shard came with is kept as `input_similarity`.
    """
    taken = {name: [row.fields.get(name) for row in rows] for name in _names(rows)}
    columns: dict[str, Any] = {}
    for name in COLUMNS.names:
        columns[name] = _fixed(name, rows, taken)
    columns["key"] = [row.key for row in rows]
    columns["caption"] = [row.caption for row in rows]
    columns["similarity"] = similarity.astype(np.float64)
    spent = _SPENT | set(COLUMNS.names) | {s for names in _SPELLINGS.values() for s in names}
    arrays = [pa.array(columns[name], COLUMNS.field(name).type) for name in COLUMNS.names]
    names = list(COLUMNS.names)
    for name, values in taken.items():
        if name not in spent or name == "similarity":
            names.append("input_similarity" if name == "similarity" else name)
            arrays.append(_typed(values))
    return pa.table(arrays, names=names)


def _names(rows: Sequence[Row]) -> list[str]:
    found: dict[str, None] = {}
    for row in rows:
        for name in row.fields:
            found.setdefault(name)
    return list(found)


def _fixed(name: str, rows: Sequence[Row], taken: dict[str, list[Any]]) -> list[Any]:
    """The values of one of the columns that are always there."""
    if name in ("url", "license", "language"):
        spelt = next((s for s in (name, *_SPELLINGS[name]) if s in taken), name)
        values = taken.get(spelt, [None] * len(rows))
        return [value if value is None else str(value) for value in values]
    if name in ("width", "height", "original_width", "original_height"):
        side = 0 if name.endswith("width") else 1
        plain = name.removeprefix("original_")
        found = []
        for row in rows:
            value = row.fields.get(name, row.fields.get(plain))
            found.append(value if isinstance(value, int) else row.size[side])
        return found
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
