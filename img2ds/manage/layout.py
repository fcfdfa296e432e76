"""What has to be known of a dataset to read and judge its shards."""

from __future__ import annotations

from dataclasses import dataclass

from img2ds.core.naming import format_names
from img2ds.formats.contract import ShardReader
from img2ds.formats.table import open_reader
from img2ds.manage.dataset import Dataset
from img2ds.storage import OutputFolder


@dataclass(frozen=True, slots=True)
class Layout:
    """What the shards of a dataset are.

    Attributes:
        output_format: webdataset and so on.
        per_shard: rows a shard, at most, as its keys have it (see `naming`); None where no
            manifest says so.
        digits: digits of a shard's name; None likewise.
        encode_format: the extension of its images; None likewise.
        captions: whether each sample has one; None likewise.
        reencoded: whether images are as img2ds encoded them.
    """

    output_format: str
    per_shard: int | None = None
    digits: int | None = None
    encode_format: str | None = None
    captions: bool | None = None
    reencoded: bool = False

    @property
    def has_table(self) -> bool:
        """Whether a shard has a metadata table, `NNNNN.parquet`; it may be the data itself."""
        return format_names(self.output_format).suffix is not None


def layout_of(dataset: Dataset) -> Layout:
    """Return what the manifest and the files of a dataset tell of its shards."""
    options = dataset.options
    return Layout(
        dataset.output_format,
        options.get("number_sample_per_shard"),
        options.get("oom_shard_count"),
        options.get("encode_format"),
        options.get("captions"),
        options.get("disable_all_reencoding") is False,
    )


def open_stored(folder: OutputFolder, shard: str, layout: Layout) -> ShardReader:
    """Return the reader of shard `shard`, its name such as `00042`; nothing is read yet.

    Raises:
        UsageError: there is no such format.
    """
    return open_reader(folder, shard, layout.output_format, layout.encode_format)
