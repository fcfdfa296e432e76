"""The protocol of a shard's writer, and the choice by output format.

A writer makes the data files of one shard, aside. The shard's metadata table and its mark are
the same for every format; `writers.sidecar` makes those.
"""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

from img2ds.options import ImageOptions, OutputOptions
from img2ds.outcome import UsageError
from img2ds.sample import FileRecord, Sample
from img2ds.writers.aside import Aside
from img2ds.writers.dummy import DummyWriter
from img2ds.writers.tar import TarWriter


class ShardWriter(Protocol):
    """Receives the successful rows of one shard in the order they finish."""

    #: Whether the shard has a metadata table of its own, `NNNNN.parquet`.
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


def open_writer(
    shard: str, output: OutputOptions, image: ImageOptions, aside: Aside
) -> ShardWriter:
    """The writer of shard `shard` (its name, such as `00042`).

    Raises:
        UsageError: there is no such format.
        OSError: the file cannot be made.
    """
    if output.output_format == "webdataset":
        return TarWriter(f"{shard}.tar", image.encode_format, aside)
    if output.output_format == "dummy":
        return DummyWriter()
    raise UsageError(f"--output_format {output.output_format} is not built yet")
