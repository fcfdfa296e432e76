"""Compares committed shards with an input where nothing but their rows can tell.

For folders begun by img2dataset, which have no manifest, and for standard input. The URLs and
keys of the first and the last committed shard are compared with the input's rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.config.options import Options
from img2ds.core.failure import UsageError
from img2ds.core.naming import (
    ENCODE_FORMATS,
    OUTPUT_FORMATS,
    TABLE_SUFFIX,
    data_name,
    format_names,
    format_of,
    sample_keys,
    shard_name,
)
from img2ds.core.sample import ShardTask
from img2ds.downloader.planner import Input
from img2ds.source.ranges import RangeReader, read_rows
from img2ds.storage import OutputFolder, open_seekable


def difference(
    source: Input, options: Options, folder: OutputFolder, committed: set[int]
) -> str | None:
    """Return why the committed shards of `folder` are not of `source`; None if they are."""
    if source.files[0].path == "-":
        return "standard input cannot be compared with them"
    wanted = {min(committed), max(committed)}
    reader = RangeReader()
    for task in source.shards(options.output.number_sample_per_shard):
        if task.shard_id in wanted:
            problem = _differs(task, options, folder, reader)
            if problem is not None:
                return problem
            wanted.remove(task.shard_id)
            if not wanted:
                return None
    return f"the input has no shard {max(wanted)}"


def compare(options: Options, folder: OutputFolder, task: ShardTask) -> None:
    """Check that the committed shard of this number was made of the rows of `task`.

    Raises:
        UsageError: it was made of others.
    """
    if format_names(options.output.output_format).suffix is None:
        return  # it leaves no rows
    problem = _differs(task, options, folder, RangeReader())
    if problem is not None:
        raise UsageError(
            f"{folder.path} was made from another input ({problem}): choose another "
            "--output_folder, or start over with --incremental_mode overwrite"
        )


def _differs(
    task: ShardTask, options: Options, folder: OutputFolder, reader: RangeReader
) -> str | None:
    output = options.output
    shard = shard_name(task.shard_id, output.oom_shard_count)
    name = f"{shard}.parquet"
    try:
        # A part of it: in the format parquet, it holds the images as well.
        with pq.ParquetFile(open_seekable(f"{folder.path}/{name}")) as file:
            schema = file.schema_arrow
            there = file.read(["url", "key"])
    except (OSError, UsageError, pa.ArrowException):
        return f"{name} is missing or cannot be read"
    images = [n for n in ENCODE_FORMATS if n in schema.names and schema.field(n).type == "binary"]
    made = "parquet" if images else _format(folder, shard)
    if made is None and format_names(output.output_format).suffix == TABLE_SUFFIX:
        return f"{name} has no images, as --output_format {output.output_format} would"
    if made not in (None, output.output_format):
        return f"{shard} was written with --output_format {made}"
    if images and options.image.encode_format not in images:
        return f"{shard} was written with --encode_format {images[0]}"
    keys = sample_keys(
        task.shard_id, task.count, output.number_sample_per_shard, output.oom_shard_count
    )
    urls = dict(zip(_texts(there, "key"), _texts(there, "url"), strict=True))
    if urls.keys() != set(keys):
        return f"the keys of {name} differ: check --number_sample_per_shard and --oom_shard_count"
    try:
        rows = _texts(read_rows(task, [options.input.url_col], reader), options.input.url_col)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read the input: {error}") from None
    if [urls[key] for key in keys] != rows:
        return f"the URLs of {name} differ"
    return None


def _format(folder: OutputFolder, shard: str) -> str | None:
    """The output format of a committed shard with no images in its table. Raises OSError.

    None where it has no data to tell: users of img2dataset move finished tars away, and on services
    there is no folder of `files` when no row succeeded.
    """
    data = [
        data_name(shard, name)
        for name, names in OUTPUT_FORMATS.items()
        if names.suffix not in (None, "", TABLE_SUFFIX)
    ]
    there = [name for name in (*data, shard) if folder.exists(name)]
    return format_of(shard, there)


def _texts(table: pa.Table, column: str) -> Sequence[str | None]:
    values: list[str | None] = table.column(column).cast(pa.string()).to_pylist()
    return values
