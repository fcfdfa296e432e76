"""The protocol of a shard's writer, and the choice by output format.

A writer makes the data files of one shard, aside. The shard's metadata table and its mark are
the same for every format; `writers.sidecar` makes those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pyarrow as pa

from img2ds.config.options import OUTPUT_FORMATS, ImageOptions, OutputOptions
from img2ds.core.failure import UsageError
from img2ds.core.naming import data_name
from img2ds.core.sample import FileRecord, Sample
from img2ds.formats.dummy import DummyWriter
from img2ds.formats.files import FilesWriter
from img2ds.formats.parquet import ParquetWriter
from img2ds.formats.staging import StagingPath
from img2ds.formats.tfrecord import TFRecordWriter, checksum
from img2ds.formats.webdataset import TarWriter


class ShardWriter(Protocol):
    """Receives the successful rows of one shard in the order they finish."""

    #: Whether the shard has a metadata table beside its data, `NNNNN.parquet`.
    has_metadata_file: bool

    def add(self, sample: Sample) -> None:
        """Write one sample. Raises OSError when the disk does not take it."""
        ...

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        """Complete and flush the data files; the records of what is to be published, in order.

        Args:
            metadata: all rows of the shard in key order, failed ones too.
        """
        ...

    def abort(self) -> None:
        """Close what is open; the files will be thrown away."""
        ...


#: Made of the name that the data are published under, the encode format, and where aside is.
_WRITERS: dict[str, Callable[[str, str, StagingPath], ShardWriter]] = {
    "files": FilesWriter,
    "webdataset": TarWriter,
    "parquet": ParquetWriter,
    "tfrecord": TFRecordWriter,
}


def open_writer(
    shard: str, output: OutputOptions, image: ImageOptions, staging_path: StagingPath
) -> ShardWriter:
    """The writer of shard `shard` (its name, such as `00042`).

    Raises:
        UsageError: there is no such format, or a package for it is missing.
        OSError: the file cannot be made.
    """
    chosen = output.output_format
    if chosen == "dummy":
        return DummyWriter()
    if chosen not in _WRITERS:
        raise UsageError(f"there is no --output_format {chosen}: use {', '.join(OUTPUT_FORMATS)}")
    return _WRITERS[chosen](data_name(shard, chosen), image.encode_format, staging_path)


def check_format(output_format: str) -> None:
    """Whether this machine can write the format. Raises UsageError where a package is missing."""
    if output_format == "tfrecord":
        checksum()
