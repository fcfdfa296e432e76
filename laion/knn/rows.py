"""The columns that a search shows and filters by, from metadata of any of the field's kinds.

Columns are known by clip-retrieval's names (url, caption, key, ...), by img2ds's and by the
release's (URL, TEXT, WIDTH, ...). Pure.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from img2ds.core.failure import UsageError

#: What is shown of a row: name, type, and the names it may have, the first found counting.
#: Sizes are the original picture's, which is what a download of its URL gives.
_SHOWN: tuple[tuple[str, pa.DataType, tuple[str, ...]], ...] = (
    ("url", pa.string(), ("url", "URL")),
    ("text", pa.string(), ("caption", "TEXT", "text")),
    ("width", pa.int32(), ("original_width", "WIDTH", "width")),
    ("height", pa.int32(), ("original_height", "HEIGHT", "height")),
    ("license", pa.string(), ("license", "LICENSE")),
    ("nsfw", pa.string(), ("nsfw", "NSFW")),
    ("pair_similarity", pa.float32(), ("similarity",)),
    ("sample_id", pa.int64(), ("SAMPLE_ID", "sample_id")),
    ("key", pa.string(), ("key",)),
)

#: The tag of pictures that are shown in safe mode; the paper's other tags are UNSURE and NSFW.
SAFE_TAG = "UNLIKELY"

#: What a licence permits, as bits: it is a Creative Commons licence or dedication; commercial
#: use; changed versions. The letters of its URL say so: nc forbids the second, nd the third.
CC, COMMERCIAL, DERIVATIVES = 1, 2, 4

_CC = re.compile(
    r"creativecommons\.org/(?:licenses/([a-z-]+)|publicdomain/(?:zero|mark))(?:/|$)", re.IGNORECASE
)

#: Columns that filters read: fixed-width, so that they cost no decoding.
_FILTERS: tuple[tuple[str, pa.DataType], ...] = (
    ("safe", pa.uint8()),
    ("rights", pa.uint8()),
    ("side", pa.int32()),
)

SCHEMA = pa.schema([(name, kind) for name, kind, _ in _SHOWN] + list(_FILTERS))
SHOWN = tuple(name for name, _, _ in _SHOWN)


def source_columns(names: list[str]) -> dict[str, str]:
    """Which of the columns `names` each shown column comes from; those that lack are absent.

    Raises:
        UsageError: there is no column of URLs.
    """
    found = {}
    for name, _, sources in _SHOWN:
        source = next((source for source in sources if source in names), None)
        if source is not None:
            found[name] = source
    if "url" not in found:
        raise UsageError(f"the metadata have no column url or URL; there are: {', '.join(names)}")
    return found


def shown_rows(batch: pa.RecordBatch, sources: dict[str, str]) -> pa.RecordBatch:
    """`batch` in SCHEMA. Raises pa.ArrowException when a column cannot be read as its type."""
    columns: dict[str, Any] = {}
    for name, kind, _ in _SHOWN:
        if name not in sources:
            columns[name] = pa.nulls(batch.num_rows, kind)
            continue
        column = batch.column(sources[name])
        if column.type == pa.null():
            column = pa.nulls(batch.num_rows, kind)
        elif pa.types.is_string(kind) and pa.types.is_floating(column.type):
            column = pa.nulls(batch.num_rows, kind)  # pandas writes all-missing texts as NaN
        # An original size is missing as NaN or as a fraction where pandas has been.
        columns[name] = column.cast(kind, safe=False)
    columns["safe"] = pc.fill_null(pc.equal(pc.utf8_upper(columns["nsfw"]), SAFE_TAG), False).cast(
        pa.uint8()
    )
    columns["rights"] = _rights(columns["license"])
    shorter = pc.min_element_wise(columns["width"], columns["height"], skip_nulls=False)
    columns["side"] = pc.fill_null(shorter, 0)
    return pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def rights_of(license: str | None) -> int:
    """What a licence, the URL in LICENSE, permits; 0 for none that is known."""
    match = _CC.search(license or "")
    if match is None:
        return 0
    parts = (match[1] or "").lower().split("-")
    return CC | (0 if "nc" in parts else COMMERCIAL) | (0 if "nd" in parts else DERIVATIVES)


def _rights(licenses: pa.Array) -> pa.Array:
    # A web of pages has few licences: each is read once.
    encoded = licenses.dictionary_encode()
    table = [rights_of(value) for value in encoded.dictionary.to_pylist()]
    codes = np.array([*table, 0], np.uint8)
    places = pc.fill_null(encoded.indices, len(table)).to_numpy(zero_copy_only=False)
    return pa.array(codes[places])
