"""One shard in the making: its rows, what became of each, and how it is committed.

Rows end in any order. When the last one has, the metadata table is made, the data files are
published, then `NNNNN.parquet`, then the commit marker: only then the shard counts.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pyarrow as pa

from img2ds.config.options import Options
from img2ds.core.failure import Failure, Status
from img2ds.core.naming import sample_keys, shard_name, stats_name
from img2ds.core.sample import Encoded, Sample, ShardTask
from img2ds.core.schema import metadata_schema, metadata_table
from img2ds.engine.marker import marker_json
from img2ds.formats.contract import ShardWriter
from img2ds.formats.metadata_table import write_metadata
from img2ds.formats.table import open_writer
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally
from img2ds.storage import OutputFolder, commit


class Shard:
    """The rows of a `ShardTask` and their outcomes.

    Args:
        table: the task's rows with the input columns that the options name.
        folder: where the shard is written aside and published.
        writer: receives the pictures; the one of the output format when None.
    """

    def __init__(
        self,
        task: ShardTask,
        table: pa.Table,
        options: Options,
        folder: OutputFolder,
        writer: ShardWriter | None = None,
    ) -> None:
        count = table.num_rows
        self.id = task.shard_id
        self.count = count
        self._unended = count
        self.tally = Tally()
        self.notes: list[str] = []
        self.error: OSError | None = None
        self._options = options
        self._folder = folder
        self._name = shard_name(task.shard_id, options.output.oom_shard_count)
        self._start_time = time.time()

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
        self._writer = writer or open_writer(
            self._name, options.output, options.image, folder.staging_path
        )

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
        self._writer.add(Sample(index, self.keys[index], image.data, caption, metadata))
        self.tally.add_success(len(image.data))

    def end_row(self) -> bool:
        """Count one row as ended, whatever its end. Returns whether it was the last one."""
        self._unended -= 1
        return not self._unended

    def commit(self) -> ShardReport[Tally]:
        """Publish the shard. Blocks: call it from a thread.

        Disk trouble is reported, not raised: the shard stays uncommitted and can be made again.
        """
        name = self._name
        marker = stats_name(self.id, self._options.output.oom_shard_count)
        try:
            if self.error is not None:
                raise self.error
            table = metadata_table(self._schema, self._columns)
            records = self._writer.finish(table)
            if self._writer.has_metadata_file:
                metadata = f"{name}.parquet"
                records.append(write_metadata(metadata, self._folder.staging_path(metadata), table))
            stats = marker_json(self.tally.stats(), self._start_time, time.time(), records)
            if not commit(self._folder, [record.name for record in records], marker, stats):
                self.abort()
                return committed_report(self.id, self._folder, marker)
        except OSError as error:
            self.abort()
            words = error.strerror or str(error) or type(error).__name__
            return self._report(f"cannot write to the output folder: {words.lower()}", fatal=True)
        return self._report(None)

    def abort(self) -> None:
        """Throw away what was written aside."""
        self._writer.abort()

    def _report(self, error: str | None, fatal: bool = False) -> ShardReport[Tally]:
        return ShardReport(
            self.id,
            self.tally,
            time.time() - self._start_time,
            error,
            fatal,
            tuple(self.notes),
        )


def committed_report(shard_id: int, folder: OutputFolder, marker: str) -> ShardReport[Tally]:
    """The report of a shard that another attempt has committed. Raises OSError."""
    document = json.loads(folder.read_bytes(marker))
    return ShardReport(shard_id, Tally.of_marker(document), document["duration"])


def _values(column: pa.ChunkedArray) -> list[Any]:
    """A column as Python values; what Python has no value for loses a little, not its row."""
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        binary = column.cast(pa.large_binary() if column.type == pa.large_string() else pa.binary())
        values = [v if v is None else v.decode("utf-8", "replace") for v in binary.to_pylist()]
    except (ValueError, OverflowError):  # nanoseconds, or the year 10000
        values = column.cast(pa.string()).to_pylist()
    return values


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """A column as text, whatever its type."""
    kind = column.type
    values = _values(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return values
    return [
        v.decode("utf-8", "replace") if isinstance(v, bytes) else v if v is None else str(v)
        for v in values
    ]
