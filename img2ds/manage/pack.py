"""Makes shards of samples that are there already: the worker of `img2ds reshard`.

A sample's picture and caption are copied as they are; key and metadata get the new key.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from img2ds.config.options import ImageOptions, OutputOptions
from img2ds.core.failure import Status, UsageError
from img2ds.core.img2dataset import read_json
from img2ds.core.naming import sample_keys, shard_name, stats_name
from img2ds.core.sample import Sample
from img2ds.engine.marker import marker_json
from img2ds.formats.contract import DamagedShardError, ShardWriter, StoredSample
from img2ds.formats.metadata_table import write_metadata
from img2ds.formats.table import open_writer
from img2ds.manage.layout import Layout, open_stored
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.report.tally import Tally
from img2ds.storage import OutputFolder, commit
from img2ds.storage.parquet import open_parquet


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples `start` (included) to `stop` (excluded) of a committed shard, in its own order."""

    shard: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PackTask:
    """One shard to make of `pieces`."""

    shard_id: int
    pieces: tuple[Piece, ...]

    @property
    def count(self) -> int:
        return sum(piece.stop - piece.start for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class PackWorker:
    """Makes shards one after another: the callable that distributors run.

    Args:
        source, layout: the data set that samples are taken from.
        folder, output, image: the one that is made.
    """

    source: OutputFolder
    layout: Layout
    folder: OutputFolder
    output: OutputOptions
    image: ImageOptions

    def __call__(self, tasks: Iterator[PackTask], emit: Callable[[Any], None]) -> None:
        self.folder.clean_dead_workers()
        for task in tasks:
            marker = stats_name(task.shard_id, self.output.oom_shard_count)
            started = time.time()
            if self.folder.exists(marker):
                # Its worker died between the mark and the report, and it was given again.
                document = json.loads(self.folder.read_bytes(marker))
                emit(ShardReport(task.shard_id, Tally.of_marker(document), document["duration"]))
                continue
            error, fatal, tally = None, False, Tally()
            try:
                tally = self._make(task, marker, emit)
            except DamagedShardError as damage:
                error = str(damage)
            except UsageError as problem:  # no shard of this format can be written here
                error, fatal = str(problem), True
            except OSError as fault:
                words = (fault.strerror or str(fault) or type(fault).__name__).lower()
                error, fatal = f"cannot write to the output folder: {words}", True
            emit(ShardReport(task.shard_id, tally, time.time() - started, error, fatal))

    def _make(self, task: PackTask, marker: str, emit: Callable[[Any], None]) -> Tally:
        name = shard_name(task.shard_id, self.output.oom_shard_count)
        started = time.time()
        writer = open_writer(name, self.output, self.image, self.folder.staging_path)
        shard = _Packed(writer, task, self.output, self.image.encode_format)
        try:
            for piece in task.pieces:
                before = shard.tally.bytes_written
                for sample, table, place in self._samples(piece):
                    shard.add(sample, table, place)
                told = Tally(successes=piece.stop - piece.start)
                told.bytes_received = shard.tally.bytes_written - before
                emit(Progress(told))
            metadata = shard.table()
            records = writer.finish(metadata)
        except BaseException:
            writer.abort()
            raise
        if writer.has_metadata_file:
            file = f"{name}.parquet"
            records.append(write_metadata(file, self.folder.staging_path(file), metadata))
        stats = marker_json(shard.tally.stats(), started, time.time(), records)
        commit(self.folder, [record.name for record in records], marker, stats)
        return shard.tally

    def _samples(self, piece: Piece) -> Iterator[tuple[StoredSample, pa.Table, int]]:
        """The samples of a piece, each with the table and its row there.

        Raises:
            DamagedShardError: they cannot be read, or are not as many as the commit marker says.
        """
        advice = f"; img2ds verify --output_folder {self.source.path} shows what is broken"
        count = piece.start
        try:
            table, places = self._table(piece.shard)
            stored = open_stored(self.source, piece.shard, self.layout)
            for sample in islice(stored.samples(), piece.start, piece.stop):
                count += 1
                if sample.key not in places:
                    raise DamagedShardError(f"{sample.key} is not in {piece.shard}.parquet")
                yield sample, table, places[sample.key]
        except DamagedShardError as error:
            raise DamagedShardError(f"shard {piece.shard}: {error}{advice}") from None
        except (OSError, UsageError, pa.ArrowException) as error:
            words = str(error).splitlines()[0]
            raise DamagedShardError(f"cannot read shard {piece.shard}: {words}{advice}") from None
        if count < piece.stop:
            words = f"shard {piece.shard} has {count} samples, its commit marker says more"
            raise DamagedShardError(words + advice)

    def _table(self, shard: str) -> tuple[pa.Table, dict[str, int]]:
        """The metadata table of a shard without pictures, and the rows of its successes."""
        with open_parquet(f"{self.source.path}/{shard}.parquet") as file:
            names = [n for n in file.schema_arrow.names if not self._is_picture(n)]
            table = file.read(columns=names, use_threads=False)
        keys = table.column("key").to_pylist()
        status = table.column("status").to_pylist()
        return table, {
            key: place for place, key in enumerate(keys) if status[place] == Status.SUCCESS.value
        }

    def _is_picture(self, column: str) -> bool:
        return self.layout.output_format == "parquet" and column == self.image.encode_format


@dataclass(slots=True)
class _Packed:
    """A new shard that fills up."""

    writer: ShardWriter
    task: PackTask
    output: OutputOptions
    extension: str
    tally: Tally = field(default_factory=Tally)
    rows: list[tuple[pa.Table, list[int]]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        output = self.output
        self.keys = sample_keys(
            self.task.shard_id, self.task.count, output.number_sample_per_shard,
            output.oom_shard_count,
        )  # fmt: skip

    def add(self, sample: StoredSample, table: pa.Table, place: int) -> None:
        """Take a sample, and its row of the table.

        Raises:
            OSError: the disk does not take it.
            DamagedShardError: it has no picture.
        """
        index = self.tally.successes
        if self.extension not in sample.parts:
            raise DamagedShardError(f"{sample.key} has no picture")
        picture = sample.parts[self.extension]
        caption = sample.parts.get("txt")
        metadata = _metadata(sample, table, place)
        metadata["key"] = self.keys[index]
        self.writer.add(
            Sample(
                index,
                self.keys[index],
                picture,
                None if caption is None else caption.decode("utf-8", "replace"),
                metadata,
            )
        )
        if not self.rows or self.rows[-1][0] is not table:
            self.rows.append((table, []))
        self.rows[-1][1].append(place)
        self.tally.add_success(len(picture))

    def table(self) -> pa.Table:
        """The rows of the new shard, with their new keys."""
        # Rows of img2dataset's shards lack a column or two of ours.
        pieces = [table.take(places) for table, places in self.rows]
        table = pa.concat_tables(pieces, promote_options="permissive").combine_chunks()
        place = table.column_names.index("key")
        return table.set_column(place, "key", pa.array(self.keys, pa.string()))


def _metadata(sample: StoredSample, table: pa.Table, place: int) -> dict[str, Any]:
    """The JSON of a sample; its row of the table where the format has none."""
    data = sample.parts.get("json")
    if data is None:
        document: dict[str, Any] = table.slice(place, 1).to_pylist()[0]
        return document
    try:
        document = read_json(data)
    except ValueError:
        raise DamagedShardError(f"the JSON of {sample.key} cannot be read") from None
    return document
