"""parquet: `NNNNN.parquet` has all rows of the shard in key order, and the images in a column.

The last column is named after the encode format and holds the bytes, null where a row failed.
Images come in the order they are finished: until the shard is complete they are spooled to a file
that is already unlinked, so that no shard is in memory and a killed process leaves nothing behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.core.naming import ENCODE_FORMATS
from img2ds.core.sample import FileRecord, Sample
from img2ds.formats.contract import DamagedShardError, Digest, StagingPath, StoredSample
from img2ds.formats.data_file import BufferedFile
from img2ds.storage import OutputFolder, file_record
from img2ds.storage.parquet import open_parquet

#: Bytes of images after which a row group ends: some 400 rows of 256 x 256 pixels. Readers hold a
#: whole one in memory, and writing holds three copies; img2dataset's have 100 rows of any size.
GROUP_BYTES = 8 << 20
#: Rows read at once: some megabytes of images.
_BATCH = 128


class ParquetWriter:
    """One `NNNNN.parquet`; `column` is the name of the column of images."""

    has_metadata_file = False

    def __init__(self, name: str, column: str, staging_path: StagingPath) -> None:
        self._name = name
        self._column = column
        self._path = staging_path(name)
        spool = staging_path(f"{name}.images")
        self._spool = BufferedFile(spool)
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
        # Images do not compress, never repeat, and have no order.
        others = [path for path in _leaves(schema) if path != self._column]
        with (
            open(self._path, "wb") as sink,  # Arrow takes no names that are not valid UTF-8
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
        """Yield the first row (included) and the last (excluded) of each row group."""
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
            raise OSError(errno.EIO, "the spool file of images was truncated")
        return data

    def abort(self) -> None:
        self._spool.close()


class ParquetReader:
    """The file `name`, read back some rows at a time. A caption is the part `txt`.

    Args:
        extension: the column of images; when None, the first that has the name of a format.
    """

    has_json, has_captions = False, True

    def __init__(self, folder: OutputFolder, name: str, extension: str | None) -> None:
        self.names = [name]
        self._path = f"{folder.path}/{name}"
        self._columns = ENCODE_FORMATS if extension is None else (extension,)

    def digests(self) -> Mapping[str, Digest]:
        return {}  # its bytes are not read from first to last

    def samples(self) -> Iterator[StoredSample]:
        try:
            with open_parquet(self._path) as file:
                names = file.schema_arrow.names
                image = next((name for name in self._columns if name in names), None)
                if image is None or "key" not in names:
                    wanted = " or ".join(self._columns)
                    raise DamagedShardError(f"no column of images ({wanted}), or no column key")
                caption = next((name for name in ("caption", "txt") if name in names), None)
                columns = ["key", image] if caption is None else ["key", image, caption]
                for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
                    for row in batch.to_pylist():
                        if row[image] is None:
                            continue
                        sample = StoredSample(row["key"], {image: row[image]})
                        if caption is not None:
                            sample.parts["txt"] = (row[caption] or "").encode()
                        yield sample
        except (pa.ArrowException, UsageError) as error:
            raise DamagedShardError(str(error).splitlines()[0]) from None


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the columns' paths in Parquet; that of a list of numbers is `scores.list.element`."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    columns = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(place).path for place in range(len(columns))]
