"""Resumes partial shards: see `engine.partial`."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from img2ds.config.options import Options
from img2ds.core.failure import UsageError
from img2ds.core.naming import format_names
from img2ds.downloader.dataset_sink import rows_name
from img2ds.downloader.shard import Shard
from img2ds.engine.marker import CommitMarker
from img2ds.formats.contract import DamagedShardError, ShardReader
from img2ds.formats.table import open_reader
from img2ds.report.units import counted
from img2ds.storage import OutputFolder
from img2ds.storage.parquet import open_parquet


def restore(
    shard: Shard, name: str, marker: CommitMarker, folder: OutputFolder, options: Options
) -> None:
    """Begin `shard`, called `name`, with its partial shard. Blocks.

    Args:
        marker: the partial shard's.
        folder: where that is.

    Raises:
        DamagedShardError: the partial shard is damaged, or of other rows. `shard` is of no use
            then.
    """
    output_format = options.output.output_format
    reader = open_reader(folder, name, output_format, options.image.encode_format)
    try:
        with open_parquet(f"{folder.path}/{rows_name(name)}") as file:
            rows = file.read()
        tally = marker.tally
        stored = 0

        def images() -> Iterator[tuple[str, bytes]]:
            nonlocal stored
            for sample in reader.samples():
                stored += 1
                yield sample.key, sample.parts[options.image.encode_format]

        shard.restore(rows, tally, images())
    except (OSError, UsageError, pa.ArrowException, KeyError, ValueError) as error:
        raise DamagedShardError(str(error).splitlines()[0]) from None
    if shard.error is None:
        _check(reader, marker)
        if format_names(output_format).suffix is not None and stored != tally.successes:
            raise DamagedShardError(f"it has {stored:,} of {counted(tally.successes, 'sample')}")


def _check(reader: ShardReader, marker: CommitMarker) -> None:
    """Raise DamagedShardError unless the data is what the marker vouches for."""
    vouched = {record.name: (record.size, record.sha256) for record in marker.files or ()}
    for name, found in reader.digests().items():
        if vouched.get(name) != found:
            raise DamagedShardError(f"{name} is not what was saved")
