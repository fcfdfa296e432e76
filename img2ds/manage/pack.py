"""Packs stored samples into new shards: what the workers of `img2ds reshard` do.

A sample's image and caption are copied as they are; key and metadata get the new key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from img2ds.config.options import ImageOptions, OutputOptions
from img2ds.core.failure import Status, UsageError
from img2ds.core.img2dataset import read_json
from img2ds.core.naming import TABLE_SUFFIX, format_names, sample_keys
from img2ds.core.sample import Sample
from img2ds.engine.shard_output import ShardOutput
from img2ds.formats.contract import DamagedShardError, ShardWriter, StoredSample
from img2ds.formats.metadata_table import write_metadata
from img2ds.formats.table import open_writer
from img2ds.manage.layout import Layout, open_stored
from img2ds.manage.uid_list import UidList, places_of
from img2ds.report.tally import Tally
from img2ds.report.units import counted
from img2ds.storage import OutputFolder
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
class Packer:
    """Makes the shard of a task: see `SequentialWorker.make`.

    Attributes:
        source, layout: the dataset that samples are taken from.
        output, image: the one that is made.
        listed: the pairs to keep; None for all. Pieces are then of these.
    """

    source: OutputFolder
    layout: Layout
    output: OutputOptions
    image: ImageOptions
    listed: UidList | None = None

    def __call__(self, task: PackTask, shard: ShardOutput) -> None:
        """Make it. Raises UsageError, OSError."""
        packed = _Packed(shard, task, self.output, self.image)
        try:
            for piece in task.pieces:
                before = packed.tally.bytes_written
                for sample, table, place in self._samples(piece):
                    packed.add(sample, table, place)
                shard.report_progress(packed.tally.bytes_written - before)
            packed.finish()
        except DamagedShardError as error:
            raise UsageError(str(error)) from None
        finally:
            packed.writer.abort()

    def _samples(self, piece: Piece) -> Iterator[tuple[StoredSample, pa.Table, int]]:
        """Yield the samples of a piece, each with the table and its row there.

        Raises:
            DamagedShardError: they cannot be read, or are not as many as the commit marker counts.
        """
        advice = f"; img2ds verify --output_folder {self.source.path} shows what is broken"
        count = piece.start
        try:
            table, places = self._table(piece.shard)
            for sample in islice(self._kept(piece, table, places), piece.start, piece.stop):
                count += 1
                yield sample, table, places[sample.key]
        except DamagedShardError as error:
            raise DamagedShardError(f"shard {piece.shard}: {error}{advice}") from None
        except (OSError, UsageError, pa.ArrowException) as error:
            words = str(error).splitlines()[0]
            raise DamagedShardError(f"cannot read shard {piece.shard}: {words}{advice}") from None
        if count < piece.stop:
            words = (
                f"shard {piece.shard} has {counted(count, 'sample')}, its commit marker counts more"
            )
            raise DamagedShardError(words + advice)

    def _kept(
        self, piece: Piece, table: pa.Table, places: dict[str, int]
    ) -> Iterator[StoredSample]:
        """Yield the samples of a shard that are to be kept."""
        listed = None if self.listed is None else places_of(table, self.listed.open()) >= 0
        for sample in open_stored(self.source, piece.shard, self.layout).samples():
            if sample.key not in places:
                raise DamagedShardError(f"{sample.key} is not in {piece.shard}.parquet")
            if listed is None or listed[places[sample.key]]:
                yield sample

    def _table(self, shard: str) -> tuple[pa.Table, dict[str, int]]:
        """Return the metadata table of a shard without images, and the rows of its successes."""
        with open_parquet(f"{self.source.path}/{shard}.parquet") as file:
            names = [n for n in file.schema_arrow.names if not self._is_image(n)]
            table = file.read(columns=names, use_threads=False)
        keys = table.column("key").to_pylist()
        status = table.column("status").to_pylist()
        return table, {
            key: place for place, key in enumerate(keys) if status[place] == Status.SUCCESS.value
        }

    def _is_image(self, column: str) -> bool:
        data = format_names(self.layout.output_format).suffix
        return data == TABLE_SUFFIX and column == self.image.encode_format


class _Packed:
    """A new shard that fills up."""

    def __init__(
        self, shard: ShardOutput, task: PackTask, output: OutputOptions, image: ImageOptions
    ) -> None:
        shard.counts = self.tally = Tally()
        self.writer: ShardWriter = open_writer(shard.name, output, image, shard.stage)
        self._shard = shard
        self._extension = image.encode_format
        self._rows: list[tuple[pa.Table, list[int]]] = []
        self._keys = sample_keys(
            task.shard_id, task.count, output.number_sample_per_shard, output.oom_shard_count
        )

    def add(self, sample: StoredSample, table: pa.Table, place: int) -> None:
        """Take a sample, and its row of the table.

        Raises:
            OSError: the disk does not take it.
            DamagedShardError: it has no image.
        """
        index = self.tally.successes
        if self._extension not in sample.parts:
            raise DamagedShardError(f"{sample.key} has no image")
        image = sample.parts[self._extension]
        caption = sample.parts.get("txt")
        metadata = _metadata(sample, table, place)
        metadata["key"] = self._keys[index]
        self.writer.add(
            Sample(
                index,
                self._keys[index],
                image,
                None if caption is None else caption.decode("utf-8", "replace"),
                metadata,
            )
        )
        if not self._rows or self._rows[-1][0] is not table:
            self._rows.append((table, []))
        self._rows[-1][1].append(place)
        self.tally.add_success(len(image))

    def finish(self) -> None:
        """Complete the files. Raises OSError."""
        shard, table = self._shard, self._table()
        shard.add(self.writer.finish(table))
        if self.writer.has_metadata_file:
            name = f"{shard.name}.parquet"
            shard.add([write_metadata(name, shard.stage(name), table)])

    def _table(self) -> pa.Table:
        """Return the rows of the new shard, with their new keys."""
        # Rows of img2dataset's shards lack some of img2ds's columns.
        pieces = [table.take(places) for table, places in self._rows]
        table = pa.concat_tables(pieces, promote_options="permissive").combine_chunks()
        place = table.column_names.index("key")
        return table.set_column(place, "key", pa.array(self._keys, pa.string()))


def _metadata(sample: StoredSample, table: pa.Table, place: int) -> dict[str, Any]:
    """Return the JSON of a sample; its row of the table where the format has none."""
    data = sample.parts.get("json")
    if data is None:
        document: dict[str, Any] = table.slice(place, 1).to_pylist()[0]
        return document
    try:
        document = read_json(data)
    except ValueError:
        raise DamagedShardError(f"the JSON of {sample.key} cannot be read") from None
    return document
