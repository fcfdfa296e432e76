"""parquet: the footer has the row count, so shards are row ranges, which workers read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from img2ds.core.sample import RowRange
from img2ds.source.source import check_columns
from img2ds.storage.parquet import open_parquet


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
            yield stop - start, RowRange(self.path, start, stop)
