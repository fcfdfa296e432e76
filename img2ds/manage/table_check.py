"""Checks a shard's metadata table: that it is readable and agrees with the commit marker."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from img2ds.core.failure import Status, UsageError
from img2ds.core.naming import TABLE_SUFFIX, sample_keys
from img2ds.engine.marker import CommitMarker
from img2ds.manage.layout import Layout
from img2ds.manage.verdict import KeyProblems, Verdict
from img2ds.report.units import counted
from img2ds.storage.parquet import open_parquet

#: The columns that are checked; `width` and `height` are compared with the images.
_COLUMNS = ("key", "status", "width", "height", "reason")


class TableCheck:
    """Checks metadata tables of one dataset.

    Args:
        fast: check only the row count.
    """

    def __init__(self, layout: Layout, fast: bool) -> None:
        self._layout = layout
        self._fast = fast

    def check(
        self, verdict: Verdict, marker: CommitMarker, folder: str, shard: str
    ) -> pa.Table | None:
        """Check the table of the shard called `shard` in the folder at the path `folder`.

        Returns:
            Its columns key, status, width, height and reason, those that it has; None where it
            cannot be read, or only its rows were counted.
        """
        name = shard + TABLE_SUFFIX
        try:
            with open_parquet(f"{folder}/{name}") as file:
                rows = file.metadata.num_rows
                if rows != marker.count:
                    message = (
                        f"{name} has {counted(rows, 'row')}, its commit marker has {marker.count:,}"
                    )
                    if marker.by_img2dataset and rows < marker.count:
                        message += ": img2dataset lost the others"
                    verdict.add("wrong_rows", message)
                if self._fast:
                    return None
                columns = [c for c in _COLUMNS if c in file.schema_arrow.names]
                table = file.read(columns=columns, use_threads=False)
                table.validate(full=True)  # text that is none
        except (OSError, pa.ArrowException, UsageError) as error:
            verdict.unreadable("damaged_table", name, error)
            return None
        if not {"key", "status"} <= set(table.column_names):
            verdict.add("damaged_table", f"{name} lacks the columns key and status")
            return None
        self._check_keys(verdict, marker, shard, table.column("key").to_pylist())
        _check_counts(verdict, marker, name, table)
        return table

    def _check_keys(
        self, verdict: Verdict, marker: CommitMarker, shard: str, keys: list[str | None]
    ) -> None:
        """Check that the keys are those of the shard, each once."""
        layout = self._layout
        if not keys:
            return
        if layout.per_shard is None or layout.digits is None:
            verdict.key_digits, wrong = _compare_with_name(shard, keys)
        elif marker.by_img2dataset:  # rows are in the order of finishing, and some may be lost
            expected = sample_keys(int(shard), marker.count, layout.per_shard, layout.digits)
            wrong = sorted(set(map(str, keys)) - set(expected))
        else:
            expected = sample_keys(int(shard), len(keys), layout.per_shard, layout.digits)
            wrong = [str(k) for k, right in zip(keys, expected, strict=True) if k != right]
        problems = KeyProblems()
        for key in wrong:
            problems.add("wrong_key", key)
        for repeated, times in Counter(keys).items():
            if times > 1:
                problems.add("key_twice_in_table", str(repeated))
        problems.report(verdict)


def _compare_with_name(shard: str, keys: list[str | None]) -> tuple[int, list[str]]:
    """Compare keys with the shard's name, where no manifest has their width.

    Returns:
        How many digits most keys have after the name, and the keys that have another number there.
    """
    texts = list(map(str, keys))
    digits = Counter(len(key) - len(shard) for key in texts).most_common(1)[0][0]
    divisor = 10 ** max(digits, 0)
    number = int(shard)
    return digits, [key for key in texts if not key.isdigit() or int(key) // divisor != number]


def _check_counts(verdict: Verdict, marker: CommitMarker, name: str, table: pa.Table) -> None:
    """Check the table's rows of each status and reason against the marker."""
    found = Counter(table.column("status").to_pylist())
    tally = marker.tally
    for status, count in (
        (Status.SUCCESS, tally.successes),
        (Status.FAILED_TO_DOWNLOAD, tally.failed_to_download),
        (Status.FAILED_TO_RESIZE, tally.failed_to_resize),
    ):
        if found[status.value] != count:
            message = f"{name} has {found[status.value]} rows {status.value}, its marker {count}"
            verdict.add("wrong_counts", message)
    if not marker.by_img2dataset and "reason" in table.column_names:
        reasons = Counter(r for r in table.column("reason").to_pylist() if r is not None)
        if reasons != tally.reasons:
            message = f"{name} and its commit marker have different failure reasons"
            verdict.add("wrong_counts", message)
