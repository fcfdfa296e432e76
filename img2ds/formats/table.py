"""The output formats, a record each: a new one is a module, a line here, and a line in `naming`."""

from __future__ import annotations

from img2ds.config.options import ImageOptions, OutputOptions
from img2ds.core.naming import OUTPUT_FORMATS, data_name
from img2ds.core.plugins import load
from img2ds.formats import litdata, mds
from img2ds.formats.contract import OutputFormat, ShardReader, ShardWriter, StagingPath
from img2ds.formats.dummy import DummyReader, DummyWriter
from img2ds.formats.files import FilesReader, FilesWriter
from img2ds.formats.parquet import ParquetReader, ParquetWriter
from img2ds.formats.plugin_writer import PluginWriter
from img2ds.formats.tfrecord import TFRecordReader, TFRecordWriter, checksum
from img2ds.formats.webdataset import TarReader, TarWriter
from img2ds.storage import OutputFolder

#: The built-in ones by their names in `naming.OUTPUT_FORMATS`, which says what files are called.
_FORMATS = {
    name: OutputFormat(writer, reader, OUTPUT_FORMATS[name])
    for name, writer, reader in (
        ("files", FilesWriter, FilesReader),
        ("webdataset", TarWriter, TarReader),
        ("parquet", ParquetWriter, ParquetReader),
        ("dummy", DummyWriter, DummyReader),
    )
}
_FORMATS["tfrecord"] = OutputFormat(
    TFRecordWriter, TFRecordReader, OUTPUT_FORMATS["tfrecord"], requirement=checksum
)
_FORMATS["mds"] = OutputFormat(
    mds.MDSWriter, mds.MDSReader, OUTPUT_FORMATS["mds"], finish=mds.write_index
)
_FORMATS["litdata"] = OutputFormat(
    litdata.LitDataWriter,
    litdata.LitDataReader,
    OUTPUT_FORMATS["litdata"],
    finish=litdata.write_index,
)


def _find(name: str) -> OutputFormat:
    """Return the format of a name, a plug-in's too. Raises UsageError: there is none."""
    if name in _FORMATS:
        return _FORMATS[name]
    found: OutputFormat = load("output_format", name)
    return found


def check_format(name: str) -> None:
    """Raise UsageError where a package that the format needs is not installed."""
    if requirement := _find(name).requirement:
        requirement()


def finish_folder(folder: OutputFolder, name: str) -> None:
    """Write what readers of the format need besides the shards. Raises UsageError, OSError."""
    if finish := _find(name).finish:
        finish(folder)


def open_writer(
    shard: str, output: OutputOptions, image: ImageOptions, staging_path: StagingPath
) -> ShardWriter:
    """Return the writer of shard `shard` (its name, such as `00042`).

    Raises:
        UsageError: there is no such format, or a package for it is missing.
        OSError: the file cannot be created.
    """
    name = output.output_format
    made = _find(name)
    if name in _FORMATS:
        return made.writer(data_name(shard, name), image.encode_format, staging_path)
    return PluginWriter(
        name, made.writer, (data_name(shard, name), image.encode_format, staging_path)
    )


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
