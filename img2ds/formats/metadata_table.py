"""What lies beside every shard's data: its metadata table, `NNNNN.parquet`."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.sample import FileRecord
from img2ds.storage import file_record


def write_metadata(name: str, path: str, table: pa.Table) -> FileRecord:
    """Write the metadata table of a shard to `path`, for publication as `name`.

    Raises OSError when the disk does not take it.
    """
    pq.write_table(table, path)
    return file_record(name, path)
