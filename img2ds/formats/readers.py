"""The samples of a committed shard, read back: one protocol, and the choice by output format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from img2ds.core.failure import UsageError
from img2ds.formats.files_reader import FilesSamples
from img2ds.formats.parquet_reader import ParquetSamples
from img2ds.formats.stored import Digest, StoredSample, StoredShard
from img2ds.formats.tfrecord_reader import TFRecordSamples
from img2ds.formats.webdataset_reader import TarSamples
from img2ds.manage.dataset import Dataset
from img2ds.storage import OutputFolder


class NoSamples:
    """A shard of format dummy."""

    has_json = has_captions = False

    names: list[str] = []  # noqa: RUF012 - nobody adds to it

    def samples(self) -> Iterator[StoredSample]:
        return iter(())

    def digests(self) -> Mapping[str, Digest]:
        return {}


@dataclass(frozen=True, slots=True)
class Layout:
    """What has to be known of a data set to read and judge a shard.

    Attributes:
        output_format: what a shard is.
        per_shard, digits: those of its keys, see `naming`; None where nobody wrote them down.
        encode_format: the extension of its pictures; None likewise.
        captions: whether each sample has one; None likewise.
        reencoded: whether pictures are as img2ds encoded them.
    """

    output_format: str
    per_shard: int | None = None
    digits: int | None = None
    encode_format: str | None = None
    captions: bool | None = None
    reencoded: bool = False

    @property
    def has_table(self) -> bool:
        """Whether a shard has a metadata table, `NNNNN.parquet`."""
        return self.output_format != "dummy"


def layout_of(dataset: Dataset) -> Layout:
    """What is known of the shards of a data set."""
    options = dataset.options
    return Layout(
        dataset.output_format,
        options.get("number_sample_per_shard"),
        options.get("oom_shard_count"),
        options.get("encode_format"),
        options.get("captions"),
        options.get("disable_all_reencoding") is False,
    )


def open_stored(folder: OutputFolder, shard: str, layout: Layout) -> StoredShard:
    """The samples of shard `shard`, its name such as `00042`; nothing is read yet.

    Raises:
        UsageError: shards of this format cannot be read back.
    """
    kind = layout.output_format
    if kind == "webdataset":
        return TarSamples(folder.path, f"{shard}.tar")
    if kind == "files":
        return FilesSamples(folder, shard)
    if kind == "parquet":
        return ParquetSamples(folder.path, f"{shard}.parquet", layout.encode_format)
    if kind == "tfrecord":
        return TFRecordSamples(folder.path, f"{shard}.tfrecord")
    if kind == "dummy":
        return NoSamples()
    raise UsageError(f"{folder.path} has shards of a format that nobody knows: {kind}")
