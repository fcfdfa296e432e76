"""The columns that a search shows and filters by, and how metadata are converted to them.

Metadata may have the column names of clip-retrieval (url, caption, image_path, ...), of img2ds, or
of the release (URL, TEXT, WIDTH, ...). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from img2ds.core.failure import UsageError

#: Shown columns: name, type, and the names they may have in the metadata, in order of preference.
#: Sizes are those of the original image, as found at its URL.
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
    ("image_path", pa.string(), ("image_path",)),
)

#: What a file calls columns that `clip-retrieval back --use_arrow` looks for. Files of earlier
#: versions have the names above, and no image_path.
_STORED = {"text": "caption", "nsfw": "NSFW"}

#: Columns of which one is needed: what tells people which row it is.
_IDENTIFYING = ("url", "image_path", "text")

#: The tag of images that are shown in safe mode; the other tags are UNSURE and NSFW.
SAFE_TAG = "UNLIKELY"

#: What a licence permits, as bits: it is a Creative Commons licence or dedication; commercial
#: use (not with "nc" in its URL); derivatives (not with "nd" in its URL).
CC, COMMERCIAL, DERIVATIVES = 1, 2, 4

_CC = re.compile(
    r"creativecommons\.org/(?:licenses/([a-z-]+)|publicdomain/(?:zero|mark))(?:/|$)", re.IGNORECASE
)

#: Columns that filters read: fixed-width, so that they need no decoding.
_FILTERS: tuple[tuple[str, pa.DataType], ...] = (
    ("safe", pa.uint8()),
    ("rights", pa.uint8()),
    ("side", pa.int32()),
)

#: Columns of an Arrow file.
SCHEMA = pa.schema([(_STORED.get(name, name), kind) for name, kind, _ in _SHOWN] + list(_FILTERS))
SHOWN = tuple(name for name, _, _ in _SHOWN)


def stored_columns(names: Sequence[str]) -> dict[str, str]:
    """Map each shown column to its column in an Arrow file, whose columns are `names`.

    Columns that files of earlier versions lack are left out.
    """
    found = {name: (_STORED.get(name, name), name) for name in SHOWN}
    return {
        name: next(column for column in columns if column in names)
        for name, columns in found.items()
        if set(columns) & set(names)
    }


def source_columns(names: list[str]) -> dict[str, str]:
    """Map each shown column to the one of `names` it is read from; missing ones are left out.

    Raises:
        UsageError: there is no column that tells which row is which.
    """
    found = {
        name: source
        for name, _, sources in _SHOWN
        if (source := next((source for source in sources if source in names), None))
    }
    if not any(name in found for name in _IDENTIFYING):
        raise UsageError(
            "the metadata have no column url, URL, image_path, caption or TEXT; they have: "
            f"{', '.join(names)}"
        )
    return found


def to_schema(batch: pa.RecordBatch, sources: dict[str, str]) -> pa.RecordBatch:
    """Convert `batch` to SCHEMA. Raises pa.ArrowException when a column does not fit its type."""
    columns: dict[str, Any] = {}
    for name, kind, _ in _SHOWN:
        column = batch.column(sources[name]) if name in sources else None
        if (
            column is None
            or column.type == pa.null()
            # pandas writes texts that are all missing as NaN.
            or (pa.types.is_string(kind) and pa.types.is_floating(column.type))
        ):
            column = pa.nulls(batch.num_rows, kind)
        # pandas writes a missing size as NaN and makes the others fractions.
        columns[name] = column.cast(kind, safe=False)
    # Not null: clip-retrieval asks of every row that has the column whether the file exists.
    columns["image_path"] = pc.fill_null(columns["image_path"], "")
    columns["safe"] = pc.fill_null(pc.equal(pc.utf8_upper(columns["nsfw"]), SAFE_TAG), False).cast(
        pa.uint8()
    )
    columns["rights"] = _rights(columns["license"])
    shorter = pc.min_element_wise(columns["width"], columns["height"], skip_nulls=False)
    columns["side"] = pc.fill_null(shorter, 0)
    names = (*SHOWN, *(name for name, _ in _FILTERS))
    return pa.record_batch([columns[name] for name in names], schema=SCHEMA)


def license_rights(license: str | None) -> int:
    """Return what a licence, given by its URL, permits; 0 if it is unknown."""
    match = _CC.search(license or "")
    if match is None:
        return 0
    parts = (match[1] or "").lower().split("-")
    return CC | (0 if "nc" in parts else COMMERCIAL) | (0 if "nd" in parts else DERIVATIVES)


def _rights(licenses: pa.Array) -> pa.Array:
    # Pages have few different licences: each is parsed once.
    encoded = licenses.dictionary_encode()
    table = [license_rights(value) for value in encoded.dictionary.to_pylist()]
    codes = np.array([*table, 0], np.uint8)
    places = pc.fill_null(encoded.indices, len(table)).to_numpy(zero_copy_only=False)
    return pa.array(codes[places])
