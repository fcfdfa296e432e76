"""`laion download`: img2ds over candidates, with the pipeline's settings; and its use by crawl.

The one module that imports img2ds's job and what lies under it.

Images of at least 5000 bytes, JPEG, PNG or WebP, of at most 89 478 484 pixels, as the paper's
workers took them. The shorter side becomes 256 pixels and nothing is enlarged or padded, so that
a model's central crop sees what it would have seen of the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, make_dataclass
from typing import Any

import pyarrow as pa

from img2ds.blocklist.blocks import CompiledLists, block_lists
from img2ds.config.flags import KEEP_DEFAULT, copy_flag, flag
from img2ds.config.options import FLAGS, GROUPS, Options
from img2ds.congestion.shared_file import run_files
from img2ds.core.failure import UsageError
from img2ds.core.sample import ShardTask
from img2ds.downloader import job
from img2ds.downloader.blocked_rows import Opener
from img2ds.downloader.name_server import check_resolver, running_resolver
from img2ds.downloader.planner import open_input
from img2ds.downloader.process import check_descriptors
from img2ds.downloader.shard import Shard, ShardSink
from img2ds.downloader.shard_worker import Pass, ShardWorker
from img2ds.engine.distributors.contract import Worker
from img2ds.net.check import check_fetcher
from img2ds.source.ranges import RangeReader, read_rows
from img2ds.storage import OutputFolder
from laion.data.candidate import TEXT_LISTS
from laion.provenance import document_type, note_input, options_of

#: Fixed by the pipeline: these are not flags of `laion download`.
FIXED: Mapping[str, Any] = {
    "input_format": "parquet",
    "url_col": "url",
    "caption_col": "text",
    "save_additional_columns": ("license", "language"),
    "output_format": "webdataset",
}

#: Defaults that differ from img2ds's. Sizes: laion.md of the paper's workers, see above. EXIF is of
#: no use to any later stage.
DEFAULTS: Mapping[str, Any] = {
    "min_image_bytes": 5000,
    "image_formats": ("jpeg", "png", "webp"),
    "max_decoded_pixels": 89_478_484,
    "resize_mode": "keep_ratio",
    "resize_only_if_bigger": True,
    "extract_exif": False,
}

#: Flags that make no sense for candidates.
_LEFT_OUT = {"bbox_col", "verify_hash", "url_list", "config"}


def taken_over(names: Iterable[str]) -> list[tuple[str, Any, Any]]:
    """img2ds's flags as fields for `make_dataclass`, with the pipeline's defaults."""
    return [(name, Any, copy_flag(FLAGS[name], DEFAULTS.get(name, KEEP_DEFAULT))) for name in names]


def flags_of(*groups: type[Any]) -> list[str]:
    """The names of the flags of img2ds's groups that a laion stage takes over."""
    names = [f.name for group in groups for f in fields(group)]
    return [name for name in names if name not in FIXED and name not in _LEFT_OUT]


#: Other spellings, as of img2ds.
ALIASES = {"concurrency": "thread_count"}

_REQUIRED: list[tuple[str, Any, Any]] = [
    ("input", str, flag(MISSING, "str", "candidates: a folder that laion extract or dedup wrote")),
    ("output_folder", str, flag(MISSING, "str", "where the shards go: a folder or fsspec URL")),
]

#: The flags of `laion download`: img2ds's, but for those that the pipeline decides.
DownloadOptions: type[Any] = make_dataclass(
    "DownloadOptions",
    _REQUIRED + taken_over(n for n in flags_of(*GROUPS.values()) if n != "output_folder"),
    frozen=True,
    kw_only=True,
    namespace={
        "__doc__": "The flags of `laion download`.",
        "__module__": __name__,
        "ALIASES": ALIASES,
    },
)


def img2ds_options(given: Any, **changes: Any) -> Options:
    """img2ds's options for the values of flags that were taken over.

    Args:
        given: an object with the flags as attributes.
        changes: values of other flags, by name.

    Raises:
        UsageError: a value is out of range.
    """
    names = [f.name for f in fields(given) if f.name in FLAGS]
    values = {name: getattr(given, name) for name in names}
    return Options.from_flags({**values, **FIXED, **changes})


def is_grouped(path: str) -> bool:
    """Return whether candidates are of `laion group`: a row a URL, with all texts of it.

    Raises:
        UsageError: the manifest of their folder cannot be read.
    """
    return options_of(OutputFolder.open(path)).get("stage") == "group"


def kept_columns(path: str) -> dict[str, Any]:
    """Return the flag that keeps the lists of grouped candidates."""
    if not is_grouped(path):
        return {}
    return {"save_additional_columns": (*FIXED["save_additional_columns"], *TEXT_LISTS)}


@dataclass(frozen=True, slots=True)
class DownloadReport:
    """What a run did."""

    report: job.Report
    dry_run: bool

    @property
    def exit_code(self) -> int:
        return self.report.exit_code

    @property
    def text(self) -> str:
        return "" if self.dry_run else job.describe(self.report)


def check(options: Any) -> None:
    """Raises UsageError when a value is out of range."""
    wanted = img2ds_options(options, url_list=options.input)
    check_fetcher(wanted.network)
    check_lists(wanted)


def run(options: Any) -> DownloadReport:
    """Download candidates into webdataset shards. Raises UsageError; nothing was done then."""
    if not options.input:
        raise UsageError("--input is required: candidates that laion extract or dedup wrote")
    check_images(options.input)
    wanted = img2ds_options(options, url_list=options.input, **kept_columns(options.input))
    report = job.run(wanted)
    if not options.dry_run:
        note_input(options.output_folder, options.input)
    return DownloadReport(report, options.dry_run)


def check_images(path: str) -> None:
    """Raise UsageError when a folder of candidates holds other documents than images."""
    kind = document_type(path)
    if kind not in ("image", "image_only"):
        raise UsageError(
            f"{path} holds links to {kind}: img2ds downloads images; use another program for these"
        )


def check_lists(options: Options) -> None:
    """Raise UsageError when a block list cannot be used."""
    CompiledLists.of(block_lists(options.network))


@contextmanager
def crawling_workers(
    options: Options, folder: OutputFolder, opener: Callable[[Options, OutputFolder], Opener]
) -> Iterator[tuple[Worker, Worker]]:
    """Return workers that download into the sinks of the shards that `opener` makes.

    The second is for shards that were lost. What their processes share ends with the context.

    Args:
        opener: picklable; called once in each process.

    Raises:
        UsageError: the name server that the options ask for does not start.
    """
    check_resolver(options)
    with run_files() as token, running_resolver(options) as options:
        yield (
            ShardWorker(options, folder, opener=opener, token=token),
            ShardWorker(options, folder, Pass.ISOLATED, opener, token),
        )


def open_shard(task: ShardTask, table: pa.Table, options: Options, sink: ShardSink) -> Shard:
    """Return the shard of candidates whose images go to `sink`."""
    return Shard(task, table, options, sink)


def candidate_shards(options: Options) -> tuple[dict[str, Any], Callable[[int], list[ShardTask]]]:
    """The fingerprint of candidate files, and their shards, cut as `laion download` cuts them.

    Raises:
        UsageError: they cannot be read, or lack a column.
    """
    check_images(options.input.url_list)
    check_descriptors(options)
    check_fetcher(options.network)
    source = open_input(options.input)
    rows = options.output.number_sample_per_shard
    return source.fingerprint(), lambda first: list(source.shards(rows, first))


def candidate_rows(task: ShardTask, options: Options) -> pa.Table:
    """The rows of a shard of candidates. Raises OSError, UsageError, ArrowException."""
    return read_rows(task, options.input.columns, RangeReader())
