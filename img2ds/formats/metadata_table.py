"""The metadata table of a shard, `NNNNN.parquet`, a file of its own in most formats."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.sample import FileRecord
from img2ds.storage import file_record


def write_metadata(name: str, path: str, table: pa.Table) -> FileRecord:
    """Write the metadata table of a shard to `path`, to be published as `name`.

    Raises OSError when the disk does not take it.
    """
    with open(path, "wb") as file:  # Arrow takes no names that are not valid UTF-8
        pq.write_table(table, file)
    return file_record(name, path)
