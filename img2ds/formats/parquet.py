"""Parquet with the pictures in it: `NNNNN.parquet` has all rows of the shard, in key order.

The last column is called as the encode format and holds the bytes, null where a row failed.
Pictures come in the order they are finished: until the shard is complete they lie in a file
without a name, so that no shard is in memory and a killed process leaves nothing behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.sample import FileRecord, Sample
from img2ds.formats.buffered_file import GatheredFile
from img2ds.formats.staging import StagingPath
from img2ds.storage import file_record

#: Bytes of pictures after which a row group ends: some 400 rows of 256 x 256 pixels. A reader takes
#: one whole, and so does writing, thrice over; img2dataset's have 100 rows whatever their size.
GROUP_BYTES = 8 << 20


class ParquetWriter:
    """One `NNNNN.parquet`; `column` is the name of the column of pictures."""

    has_metadata_file = False

    def __init__(self, name: str, column: str, staging_path: StagingPath) -> None:
        self._name = name
        self._column = column
        self._path = staging_path(name)
        spool = staging_path(f"{name}.images")
        self._spool = GatheredFile(spool)
        os.unlink(spool)
        self._places: dict[int, tuple[int, int]] = {}

    def add(self, sample: Sample) -> None:
        start = self._spool.size
        self._spool.put(sample.image)
        self._places[sample.index] = (start, len(sample.image))

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        try:
            self._spool.flush()
            self._write(metadata)
        finally:
            self._spool.close()
        return [file_record(self._name, self._path)]

    def _write(self, metadata: pa.Table) -> None:
        schema = metadata.schema.append(pa.field(self._column, pa.binary()))
        # Pictures do not get smaller by packing, repeat themselves never, and have no order.
        others = [path for path in _leaves(schema) if path != self._column]
        with (
            pa.OSFile(self._path, "wb") as sink,
            pq.ParquetWriter(
                sink, schema, use_dictionary=others, write_statistics=others,
                compression={**dict.fromkeys(others, "snappy"), self._column: "none"},
            ) as writer,
        ):  # fmt: skip
            for start, stop in self._groups(metadata.num_rows):
                images = pa.array(map(self._image, range(start, stop)), pa.binary())
                rows = [*metadata.slice(start, stop - start).columns, images]
                writer.write_table(pa.table(rows, schema=schema))

    def _groups(self, count: int) -> Iterator[tuple[int, int]]:
        """Rows from (included) and to (excluded), row group by row group."""
        start, size = 0, 0
        for index in range(count):
            size += self._places.get(index, (0, 0))[1]
            if size >= GROUP_BYTES:
                yield start, index + 1
                start, size = index + 1, 0
        if start < count:
            yield start, count

    def _image(self, index: int) -> bytes | None:
        place = self._places.get(index)
        if place is None:
            return None
        data = self._spool.read(*place)
        if len(data) != place[1]:
            raise OSError(errno.EIO, "what was written aside came back cut off")
        return data

    def abort(self) -> None:
        self._spool.close()


def _leaves(schema: pa.Schema) -> list[str]:
    """The columns as Parquet has them; of a list of numbers it is `scores.list.element`."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    columns = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(place).path for place in range(len(columns))]
