"""One shard that is being made: its rows, and what became of each.

Rows end in any order. When the last one has, the shard's sink commits it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from img2ds.config.options import Options
from img2ds.core.failure import Failure, Status
from img2ds.core.naming import sample_keys
from img2ds.core.sample import Body, Encoded, Sample, ShardTask
from img2ds.core.schema import metadata_schema, metadata_table
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally

#: Where the table of a partial shard has the digest of its input.
_INPUT = b"img2ds_input"
#: Columns that come with the task.
_GIVEN = ("key", "url", "caption")


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


@runtime_checkable
class PartialSink(ShardSink, Protocol):
    """A sink that can save what it has as a partial shard."""

    def save_partial(
        self, task: ShardTask, tally: Tally, notes: list[str], metadata: Callable[[], pa.Table]
    ) -> ShardReport[Any]:
        """Save what there is so far, for `task` to be completed later. Blocks.

        Args:
            metadata: makes the table of all rows; those without a status have not ended.

        Returns:
            A report with the task that completes the shard, or with why it cannot be saved.
        """
        ...


class Shard:
    """The rows of a `ShardTask` and their outcomes.

    Attributes:
        left: rows that have not ended.
        error: why the shard is lost, if it is.

    Args:
        table: the task's rows with the input columns that the options name.
        sink: takes the images.
    """

    def __init__(self, task: ShardTask, table: pa.Table, options: Options, sink: ShardSink) -> None:
        count = table.num_rows
        self.id = task.shard_id
        self.count = count
        self.left = count
        self._task = task
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
            pdq=options.image.compute_pdq,
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

    def given(self, index: int) -> dict[str, Any]:
        """Return what row `index` was given by the input, by column, and its key."""
        values = {"key": self.keys[index], "url": self.urls[index]}
        if self._captions is not None:
            values["caption"] = self._captions[index]
        return {**values, **{name: column[index] for name, column in self._additional}}

    def digest(self, index: int, value: str) -> None:
        """Record the hash of the original bytes of row `index`."""
        if self._digests is not None:
            self._digests[index] = value

    def fail(self, index: int, failure: Failure) -> None:
        """Record why row `index` has no image."""
        self._status[index] = failure.status.value
        self._messages[index] = failure.error_message
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
        if image.pdq is not None and "pdq" in self._names:
            columns["pdq"][index] = image.pdq.hex()
        self._add(index, image.data)
        self.tally.add_success(len(image.data))

    def _add(self, index: int, image: Body) -> None:
        """Write the sample of a row whose columns are known. Raises as `store`."""
        metadata: dict[str, Any] = {name: values[index] for name, values in self._additional}
        for name in self._names:
            if name not in metadata:
                metadata[name] = self._columns[name][index]
        caption = None
        if self._captions is not None:
            caption = self._captions[index] or ""
        self._sink.add(Sample(index, self.keys[index], image, caption, metadata))

    def end_row(self) -> bool:
        """Count one row as ended, whatever its end. Returns whether it was the last one."""
        self.left -= 1
        return not self.left

    def has_ended(self, index: int) -> bool:
        """Return whether row `index` has ended with a sample or a failure."""
        return self._status[index] is not None

    @property
    def can_save_partial(self) -> bool:
        """Whether the shard can be saved as a partial one."""
        return isinstance(self._sink, PartialSink)

    def save_partial(self) -> ShardReport[Any]:
        """Save what the shard has so far as a partial shard. Blocks: call it from a thread.

        Disk trouble is reported, not raised.
        """
        assert isinstance(self._sink, PartialSink)
        if self.error is not None:
            return self._sink.fail(self.error, self.notes)
        return self._sink.save_partial(
            self._task,
            self.tally,
            self.notes,
            self._partial_table,
        )

    def _partial_table(self) -> pa.Table:
        table = metadata_table(self._schema, self._columns)
        return table.replace_schema_metadata({_INPUT: self._input_digest()})

    def _input_digest(self) -> str:
        """Return a digest of all that the rows were given."""
        given = (self.urls, self.hashes, self._captions, self._additional)
        return hashlib.sha256(repr(given).encode("utf-8", "surrogatepass")).hexdigest()

    def restore(self, rows: pa.Table, tally: Tally, images: Iterator[tuple[str, bytes]]) -> None:
        """Begin with the rows that its partial shard has. Blocks.

        When the samples cannot be written, the shard is lost: see `error`.

        Args:
            rows: the metadata of all rows; those without a status have not ended.
            tally: of the rows that have ended.
            images: by their keys.

        Raises:
            KeyError, ValueError: these are not the rows of this shard, or damaged.
        """
        given = (rows.schema.metadata or {}).get(_INPUT)
        if (
            given != self._input_digest().encode()
            or rows.column("key").to_pylist() != self.keys
            or rows.column("status").null_count == 0
        ):
            raise ValueError("it has other rows")
        for name in set(self._names).difference(_GIVEN, (n for n, _ in self._additional)):
            self._columns[name][:] = rows.column(name).to_pylist()
        places = {key: place for place, key in enumerate(self.keys)}
        for key, image in images:
            place = places[key]
            if self._status[place] != Status.SUCCESS.value:
                raise ValueError(f"it has a sample of row {place}, which has none")
            try:
                self._add(place, image)
            except OSError as error:
                self.error = error
                return
        self.tally = tally
        self.left = self._status.count(None)

    def abandon(self) -> None:
        """Close the files of a shard that is not made."""
        self._sink.fail(OSError("abandoned"), [])

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
