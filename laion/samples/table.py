"""The samples in a Parquet file of images, as img2ds and img2dataset write with `parquet`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from img2ds.core.failure import Status
from img2ds.storage.parquet import open_parquet
from laion.samples.sample import IMAGES, MAX_FILE, Sample

#: Rows read at once: some megabytes of images.
_BATCH = 128


def image_column(path: str) -> str | None:
    """Return the column of images, which has the name of their format; None where there is none.

    Raises:
        UsageError: the file cannot be read as Parquet.
    """
    with open_parquet(path) as file:
        return _image_column(file.schema_arrow)


def read_table(path: str) -> Iterator[Sample]:
    """Yield the rows of a table as samples, in its order, but for failed downloads.

    The key is the column `key`, else the number of the row.

    Raises:
        UsageError: the file cannot be read as Parquet.
        OSError: it is damaged.
    """
    seen: set[str] = set()
    number = 0
    try:
        with open_parquet(path) as file:
            schema = file.schema_arrow
            image = _image_column(schema)
            columns = [
                field.name for field in schema
                if field.name == image or not _is_binary(field.type)
            ]  # fmt: skip
            for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
                for row in batch.to_pylist():
                    body = None if image is None else row.pop(image)
                    number += 1
                    if row.get("status") not in (None, Status.SUCCESS.value):
                        continue
                    fields = {name: _plain(value) for name, value in row.items()}
                    key = fields.get("key")
                    sample = Sample(f"{number - 1:09d}" if key is None else str(key), body)
                    if body is not None and len(body) > MAX_FILE:
                        sample.body, sample.flaw = None, "too_large"
                    if sample.key in seen:
                        sample.flaw = "duplicate_key"
                    seen.add(sample.key)
                    sample.fields = fields
                    yield sample.complete()
    except pa.ArrowException as error:
        raise OSError(f"{path}: {str(error).splitlines()[0]}") from None


def _image_column(schema: pa.Schema) -> str | None:
    return next((f.name for f in schema if f.name in IMAGES and _is_binary(f.type)), None)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _plain(value: Any) -> Any:
    """Return a value as JSON would have it: NaN, pandas' missing number, is null."""
    return None if isinstance(value, float) and math.isnan(value) else value
