"""The marker of a shard, `NNNNN_stats.json`: what it counted, and the files it vouches for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from img2ds.core.sample import FileRecord


def marker_json(
    stats: dict[str, Any], start_time: float, end_time: float, files: Sequence[FileRecord]
) -> bytes:
    """The commit marker's content: img2dataset's fields, then ours. Times in seconds since 1970."""
    document = {
        **stats,
        "duration": end_time - start_time,
        "start_time": start_time,
        "end_time": end_time,
        "files": [_entry(record) for record in files],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _entry(record: FileRecord) -> dict[str, Any]:
    entry = {"name": record.name, "size": record.size, "sha256": record.sha256}
    return entry if record.files is None else {**entry, "files": record.files}
