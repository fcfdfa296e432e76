"""The output formats, a record each: a new one is a module, a line here, and a line in `naming`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from img2ds.config.options import ImageOptions, OutputOptions
from img2ds.core.failure import UsageError
from img2ds.core.naming import OUTPUT_FORMATS, data_name
from img2ds.formats.contract import ShardReader, ShardWriter, StagingPath
from img2ds.formats.dummy import DummyReader, DummyWriter
from img2ds.formats.files import FilesReader, FilesWriter
from img2ds.formats.parquet import ParquetReader, ParquetWriter
from img2ds.formats.tfrecord import TFRecordReader, TFRecordWriter, checksum
from img2ds.formats.webdataset import TarReader, TarWriter
from img2ds.storage import OutputFolder


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """How the shards of one output format are written and read back.

    Attributes:
        writer: takes the name of the data (file or folder), the extension of images, and where
            to stage files. Raises OSError when the file cannot be created.
        reader: takes the output folder, the name of the data, and the extension of images, None
            where it is not known; reads nothing yet.
        requirement: raises UsageError where a package that writing needs is not installed.
    """

    writer: Callable[[str, str, StagingPath], ShardWriter]
    reader: Callable[[OutputFolder, str, str | None], ShardReader]
    requirement: Callable[[], object] | None = None


#: By the names that `naming.OUTPUT_FORMATS` has, which says what their files are called.
_FORMATS = {
    "files": OutputFormat(FilesWriter, FilesReader),
    "webdataset": OutputFormat(TarWriter, TarReader),
    "parquet": OutputFormat(ParquetWriter, ParquetReader),
    "tfrecord": OutputFormat(TFRecordWriter, TFRecordReader, requirement=checksum),
    "dummy": OutputFormat(DummyWriter, DummyReader),
}


def _find(name: str) -> OutputFormat:
    if name not in _FORMATS:
        raise UsageError(f"unknown --output_format {name!r}: use {', '.join(OUTPUT_FORMATS)}")
    return _FORMATS[name]


def check_format(name: str) -> None:
    """Raise UsageError where a package that the format needs is not installed."""
    if requirement := _find(name).requirement:
        requirement()


def open_writer(
    shard: str, output: OutputOptions, image: ImageOptions, staging_path: StagingPath
) -> ShardWriter:
    """Return the writer of shard `shard` (its name, such as `00042`).

    Raises:
        UsageError: there is no such format, or a package for it is missing.
        OSError: the file cannot be created.
    """
    name = output.output_format
    return _find(name).writer(data_name(shard, name), image.encode_format, staging_path)


def open_reader(
    folder: OutputFolder, shard: str, output_format: str, encode_format: str | None
) -> ShardReader:
    """Return the reader of shard `shard` (its name, such as `00042`); nothing is read yet.

    Args:
        encode_format: the extension of its images, None where it is not known.

    Raises:
        UsageError: there is no such format.
    """
    return _find(output_format).reader(folder, data_name(shard, output_format), encode_format)
