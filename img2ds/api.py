"""`img2ds.download` and `img2ds.stream`: the flags of the command line as keyword arguments."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

from img2ds.config.config_file import with_config
from img2ds.config.flags import default_of
from img2ds.config.options import COMMAND, FLAGS, Options
from img2ds.config.positions import POSITIONS
from img2ds.config.stream import STREAM_FLAGS, stream_options
from img2ds.core.failure import UsageError
from img2ds.core.sample import ShardTask
from img2ds.downloader import job
from img2ds.downloader.planner import Input, open_input, open_iterator, open_memory
from img2ds.downloader.stream import PIECE_ROWS, Stream
from img2ds.source.memory import NAME, drawn

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from img2ds.config.keywords import DownloadKeywords, StreamKeywords


def download(url_list: Any, *values: Any, **flags: Unpack[DownloadKeywords]) -> job.Report:
    """Turn a list of image URLs into a dataset.

    Blocks until the run is done. Worker processes do not import the main module: no
    `if __name__ == "__main__"` is needed, and notebooks work.

    Args:
        url_list: a file, a folder, a glob, an fsspec URL, or `-` for standard input; or rows in
            memory: a list of URLs or of mappings, an Arrow table, a data frame of pandas or Polars,
            a Hugging Face dataset. A run of the same rows resumes in the same folder.
        *values: further flags by position, in the order of img2dataset's parameters.
        **flags: flags by name, as Python values or as typed.

    Returns:
        The result of the run; `report.exit_code` is 0 if every shard is committed,
        and 3 if they are and too few rows succeeded (`min_success`).

    Raises:
        UsageError: the options or the input cannot work; nothing was downloaded.

    Flags:
    """
    if len(values) >= len(POSITIONS):
        raise UsageError(f"{len(values) + 1} values by position, but only {len(POSITIONS)} flags")
    placed = dict(zip(POSITIONS[1:], values, strict=False))
    for name in placed:
        if name in flags:
            raise UsageError(f"--{name} is given twice")
    path, rows = _path_or_rows(url_list)
    given = with_config(COMMAND, {"url_list": path, **placed, **flags})
    options = Options.from_flags(given)
    return job.run(options, source=None if rows is None else open_memory(rows, options.input))


def stream(
    url_list: Any,
    *,
    on_failure: Callable[[dict[str, Any]], None] | None = None,
    rank: int = 0,
    world_size: int = 1,
    **flags: Unpack[StreamKeywords],
) -> Stream:
    """Iterate over the samples of a list of image URLs, without writing files.

    Samples come in the order in which they are ready, from worker processes that fetch, decode and
    resize as `download` does. Use it with `for` or with `async for` (trio, asyncio), and break at
    any moment: the processes end with the iteration.

        for sample in img2ds.stream(urls, image_size=256, caption_col="caption"):
            sample.image, sample.caption, sample.url, sample.metadata["width"]

    Args:
        url_list: as for `download`. An iterator of URLs, or of mappings, is drawn from as rows are
            needed; it may be endless.
        on_failure: called with the metadata of each failed row, which has its `url`, `reason` and
            `error_message`.
        rank: which of `world_size` equal parts of the list to fetch, from 0: for the workers of a
            data loader, or the processes of a training.
        **flags: the flags below, by name.

    Raises:
        UsageError: the options or the input cannot work.

    Flags:
    """
    if not 0 <= rank < world_size:
        raise UsageError(
            f"rank is from 0 to {world_size - 1} with world_size={world_size}, got {rank}"
        )
    path, rows = _path_or_rows(url_list)
    options = stream_options({"url_list": path, **flags})
    job.check(options)
    if rows is None:
        source = open_input(options.input)
    elif (one_by_one := drawn(rows)) is not None:
        source = open_iterator(one_by_one, options.input)
    else:
        source = open_memory(rows, options.input)
    return Stream(options, _part(source, rank, world_size), on_failure)


def _part(source: Input, rank: int, world_size: int) -> Iterable[ShardTask]:
    return (task for task in source.shards(PIECE_ROWS) if task.shard_id % world_size == rank)


def _path_or_rows(url_list: Any) -> tuple[Any, Any]:
    """Return what stands for the list in the options, and its rows if they are in memory."""
    if url_list is None or isinstance(url_list, (str, os.PathLike)):
        return url_list, None
    return NAME, url_list


def _set_signature() -> None:
    parameters = []
    for name in (*POSITIONS, *(name for name in FLAGS if name not in POSITIONS)):
        default = default_of(FLAGS[name])
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD
                if name in POSITIONS
                else inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default is MISSING else default,
            )
        )
    signature = inspect.Signature(parameters, return_annotation=job.Report)
    download.__signature__ = signature  # type: ignore[attr-defined]


def _document(function: Any, names: Iterable[str]) -> None:
    """Add the flags' texts to a docstring."""
    if function.__doc__ is None:  # python -OO
        return
    lines = [
        f"        {name}: {FLAGS[name].metadata['help']}" for name in names if name != "url_list"
    ]
    function.__doc__ = function.__doc__.rstrip() + "\n" + "\n".join(lines) + "\n"


_set_signature()
_document(download, FLAGS)
_document(stream, STREAM_FLAGS)
