"""parquet: the footer tells the rows, so shards are ranges and workers read their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.core.sample import RowRange
from img2ds.source.source import check_columns
from img2ds.storage import open_seekable

#: Bytes read ahead in each column: what bounds memory when a row group holds a million rows.
BUFFER = 1 << 18


def open_parquet(path: str) -> pq.ParquetFile:
    """Open a file for reading row group by row group.

    Raises:
        UsageError: it is not there or not parquet.
    """
    try:
        return pq.ParquetFile(open_seekable(path), buffer_size=BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        words = str(error).splitlines()[0]
        raise UsageError(f"{path} cannot be read as parquet: {words}") from None


class ParquetSource:
    """See `Source`."""

    bytes_read = 0

    def __init__(self, path: str, wanted: Sequence[str]) -> None:
        self.path = path
        with open_parquet(path) as file:
            schema = file.schema_arrow
            self.row_count: int = file.metadata.num_rows
        check_columns(path, schema.names, wanted)
        self.schema = {name: str(schema.field(name).type) for name in wanted}

    def shards(self, rows: int) -> Iterator[tuple[int, RowRange]]:
        for start in range(0, self.row_count, rows):
            stop = min(start + rows, self.row_count)
            yield stop - start, RowRange(self.path, "parquet", start, stop)
