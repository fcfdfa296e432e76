"""One shard that is being made: its rows, and what became of each.

Rows end in any order. When the last one has, the shard's sink commits it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pyarrow as pa

from img2ds.config.options import Options
from img2ds.core.failure import Failure, Status
from img2ds.core.naming import sample_keys
from img2ds.core.sample import Encoded, Sample, ShardTask
from img2ds.core.schema import metadata_schema, metadata_table
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally


class ShardSink(Protocol):
    """Takes the images of one shard, and commits them in the end."""

    def add(self, sample: Sample) -> None:
        """Take a sample. Raises OSError: the disk does not take it; the shard is lost."""
        ...

    def commit(
        self, tally: Tally, notes: list[str], metadata: Callable[[], pa.Table]
    ) -> ShardReport[Any]:
        """Commit, once every row has ended. Blocks: it is called from a thread.

        Args:
            notes: lines for the log.
            metadata: makes the table of all rows in key order, failed ones too.
        """
        ...

    def fail(self, error: OSError, notes: list[str]) -> ShardReport[Any]:
        """Give the shard up: `add` raised this. `notes` are lines for the log."""
        ...


class Shard:
    """The rows of a `ShardTask` and their outcomes.

    Attributes:
        error: why the shard is lost, if it is.

    Args:
        table: the task's rows with the input columns that the options name.
        sink: takes the images.
    """

    def __init__(self, task: ShardTask, table: pa.Table, options: Options, sink: ShardSink) -> None:
        count = table.num_rows
        self.id = task.shard_id
        self.count = count
        self._unended = count
        self.tally = Tally()
        self.notes: list[str] = []
        self.error: OSError | None = None
        self._sink = sink

        wanted = options.input
        self.urls = _texts(table.column(wanted.url_col))
        self.hashes = _texts(table.column(wanted.verify_hash[0])) if wanted.verify_hash else None
        self._captions = (
            _texts(table.column(wanted.caption_col)) if wanted.caption_col is not None else None
        )
        self.keys = sample_keys(
            task.shard_id,
            count,
            options.output.number_sample_per_shard,
            options.output.oom_shard_count,
        )
        additional = {name: table.column(name) for name in wanted.kept_columns}
        self._schema = metadata_schema(
            {name: column.type for name, column in additional.items()},
            caption=self._captions is not None,
            exif=options.image.extract_exif,
            digest=options.image.compute_hash,
        )
        self._columns: dict[str, Any] = {
            name: [None] * count for name in self._schema.names if name not in additional
        }
        self._additional = [(name, _values(column)) for name, column in additional.items()]
        self.boxes = dict(self._additional)[wanted.bbox_col] if wanted.bbox_col else None
        self._columns.update({name: column.combine_chunks() for name, column in additional.items()})
        self._columns["key"] = self.keys
        self._columns["url"] = self.urls
        if self._captions is not None:
            self._columns["caption"] = self._captions
        # The columns that `fail` writes, looked up once.
        self._status: list[str | None] = self._columns["status"]
        self._messages: list[str | None] = self._columns["error_message"]
        self._reasons: list[str | None] = self._columns["reason"]
        self._digests: list[str | None] | None = (
            self._columns[options.image.compute_hash] if options.image.compute_hash else None
        )
        self._names = self._schema.names

    def digest(self, index: int, value: str) -> None:
        """Record the hash of the original bytes of row `index`."""
        if self._digests is not None:
            self._digests[index] = value

    def fail(self, index: int, failure: Failure) -> None:
        """Record why row `index` has no image."""
        self._status[index] = failure.status.value
        self._messages[index] = failure.message
        self._reasons[index] = failure.reason
        self.tally.add_failure(failure)

    def store(self, index: int, image: Encoded) -> None:
        """Write the sample of row `index`.

        Raises:
            OSError: it cannot be written; the shard cannot be committed any more.
        """
        columns = self._columns
        columns["status"][index] = Status.SUCCESS.value
        columns["width"][index] = image.width
        columns["height"][index] = image.height
        columns["original_width"][index] = image.original_width
        columns["original_height"][index] = image.original_height
        if image.exif is not None:
            columns["exif"][index] = image.exif
        metadata: dict[str, Any] = {name: values[index] for name, values in self._additional}
        for name in self._names:
            if name not in metadata:
                metadata[name] = columns[name][index]
        caption = None
        if self._captions is not None:
            caption = self._captions[index] or ""
        self._sink.add(Sample(index, self.keys[index], image.data, caption, metadata))
        self.tally.add_success(len(image.data))

    def end_row(self) -> bool:
        """Count one row as ended, whatever its end. Returns whether it was the last one."""
        self._unended -= 1
        return not self._unended

    def commit(self) -> ShardReport[Any]:
        """Commit the shard. Blocks: call it from a thread.

        Disk trouble is reported, not raised: the shard stays uncommitted and can be rebuilt.
        """
        if self.error is not None:
            return self._sink.fail(self.error, self.notes)
        return self._sink.commit(
            self.tally, self.notes, lambda: metadata_table(self._schema, self._columns)
        )


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; what Python has no value for becomes text."""
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        binary = column.cast(pa.large_binary() if column.type == pa.large_string() else pa.binary())
        values = [v if v is None else v.decode("utf-8", "replace") for v in binary.to_pylist()]
    except (ValueError, OverflowError):  # nanoseconds, or the year 10000
        values = column.cast(pa.string()).to_pylist()
    return values


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """Return a column as text, whatever its type."""
    kind = column.type
    values = _values(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return values
    return [
        v.decode("utf-8", "replace") if isinstance(v, bytes) else v if v is None else str(v)
        for v in values
    ]
