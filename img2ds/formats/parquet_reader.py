"""Parquet files with the pictures in a column, read back some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from img2ds.config.options import ENCODE_FORMATS
from img2ds.core.failure import UsageError
from img2ds.formats.stored import DamagedShardError, Digest, StoredSample
from img2ds.source.parquet import open_parquet

#: Rows read at once: some megabytes of pictures.
_BATCH = 128


class ParquetSamples:
    """See `stored.StoredShard`. A caption is a part called `txt`, whatever its column's name.

    Args:
        column: the column of pictures; told by its name when None.
    """

    has_json, has_captions = False, True

    def __init__(self, folder: str, name: str, column: str | None) -> None:
        self.names = [name]
        self._path = f"{folder}/{name}"
        self._column = column

    def digests(self) -> Mapping[str, Digest]:
        return {}  # its parts are not read in the order in which they lie there

    def samples(self) -> Iterator[StoredSample]:
        try:
            with open_parquet(self._path) as file:
                names = file.schema_arrow.names
                wanted = ENCODE_FORMATS if self._column is None else (self._column,)
                picture = next((name for name in wanted if name in names), None)
                if picture is None or "key" not in names:
                    raise DamagedShardError(f"it has no column of pictures ({', '.join(wanted)})")
                caption = next((name for name in ("caption", "txt") if name in names), None)
                columns = ["key", picture] if caption is None else ["key", picture, caption]
                for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
                    for row in batch.to_pylist():
                        if row[picture] is None:
                            continue
                        sample = StoredSample(row["key"], {picture: row[picture]})
                        if caption is not None:
                            sample.parts["txt"] = (row[caption] or "").encode()
                        yield sample
        except (pa.ArrowException, UsageError) as error:
            raise DamagedShardError(str(error).splitlines()[0]) from None
