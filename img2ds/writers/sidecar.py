"""What lies beside every shard's data: `NNNNN.parquet` and the mark, `NNNNN_stats.json`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.sample import FileRecord


def write_metadata(name: str, path: str, table: pa.Table) -> FileRecord:
    """Write the metadata table of a shard to `path`, for publication as `name`.

    Raises OSError when the disk does not take it.
    """
    pq.write_table(table, path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else None
        if digest is None:  # Python 3.10
            digest = hashlib.sha256(file.read())
    return FileRecord(name, os.path.getsize(path), digest.hexdigest())


def stats_json(
    stats: dict[str, Any], start_time: float, end_time: float, files: Sequence[FileRecord]
) -> bytes:
    """The mark's content: img2dataset's fields, then ours. Times in seconds since 1970."""
    document = {
        **stats,
        "duration": end_time - start_time,
        "start_time": start_time,
        "end_time": end_time,
        "files": [
            {"name": record.name, "size": record.size, "sha256": record.sha256} for record in files
        ],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)
