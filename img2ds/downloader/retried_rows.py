"""Rows of shards that are rebuilt, and that a retry has in a shard of its own.

`img2ds retry` lists rows that failed, and downloads them into further shards. When the shard they
come from is rebuilt, they fail there as before: no picture may stand in a dataset twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import orjson
import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.core.naming import parse_key
from img2ds.core.state import retry_file
from img2ds.engine.manifest import Segment
from img2ds.storage import OutputFolder, read_state
from img2ds.storage.parquet import open_parquet

#: The column of a list with the key of the row that is retried, and that with its reason.
KEY_COLUMN, REASON_COLUMN = "img2ds_retry_of", "img2ds_retry_reason"

#: By number of a shard, the reasons of its rows that a retry has, by their index.
RetriedRows = dict[int, dict[int, str]]


def list_name(segment: Segment) -> str | None:
    """Return the name of the list that a segment is a retry of; None for another input."""
    retry = segment.fingerprint.get("retry")
    return None if retry is None else str(retry["list"])


def rows_path(folder: OutputFolder, retry: str, file: str) -> str:
    """Return the path of a file of rows of a retry's list; `file` is its name in the list."""
    return f"{folder.path}/{retry_file(retry, file.removesuffix('.parquet'))}"


def find_retried_rows(
    folder: OutputFolder,
    segments: Sequence[Segment],
    committed: Collection[int],
    missing: range,
    per_shard: int,
) -> RetriedRows:
    """Return the rows of missing shards that committed shards of retries have.

    Args:
        committed: the committed shards of all segments.
        missing: the numbers of the shards to make, without those of `committed`.
        per_shard: rows of a shard.

    Raises:
        UsageError: a list is damaged.
        OSError: a list cannot be read.
    """
    found: RetriedRows = {}
    for segment in segments:
        name = list_name(segment)
        if name is None or not any(n in committed for n in segment.numbers(max(committed))):
            continue
        number = segment.first_shard
        place = retry_file(name)
        try:
            files = orjson.loads(read_state(folder, place) or b"")["files"]
            for file in files:
                with open_parquet(rows_path(folder, name, file)) as table:
                    rows = table.read(columns=[KEY_COLUMN, REASON_COLUMN])
                for start in range(0, rows.num_rows, per_shard):
                    if number in committed:
                        _add(found, rows.slice(start, per_shard), per_shard)
                    number += 1
        except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise UsageError(f"{folder.path}/{place} is damaged ({error}): restore it") from None
    return {
        shard: rows for shard, rows in found.items() if shard in missing and shard not in committed
    }


def _add(found: RetriedRows, rows: pa.Table, per_shard: int) -> None:
    keys, reasons = (rows.column(name).to_pylist() for name in (KEY_COLUMN, REASON_COLUMN))
    for key, reason in zip(keys, reasons, strict=True):
        shard, index = parse_key(key, per_shard)
        found.setdefault(shard, {})[index] = reason
