"""`img2ds reshard`: the successes of all committed shards, packed into full shards elsewhere.

Goes on where it stopped, like any run: the new folder has a manifest whose input is the old one.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from img2ds.config.options import ImageOptions, OutputOptions
from img2ds.core.failure import UsageError
from img2ds.core.naming import ENCODE_FORMATS, shard_name
from img2ds.engine.distributors.factory import open_distributor
from img2ds.engine.manifest import Manifest, open_manifest
from img2ds.engine.runner import Runner, RunReport, cpu_time, describe_end
from img2ds.engine.stop import StopSwitch
from img2ds.formats.contract import DamagedShardError
from img2ds.formats.table import check_format
from img2ds.manage.dataset import RESHARDED, Dataset, span
from img2ds.manage.layout import Layout, layout_of, open_stored
from img2ds.manage.options import ReshardOptions
from img2ds.manage.pack import PackTask, PackWorker, Piece
from img2ds.report.console import Console, Labels, counted, duration
from img2ds.report.tally import Tally
from img2ds.storage import OutputFolder, lock_holder
from img2ds.storage.filesystem import as_usage_error

_WORDS = Labels("shard", "samples", "samples/s", "packed")


@dataclass(frozen=True, slots=True)
class ReshardReport:
    """What came of it: `samples` there are in all new shards, `run` has what this run did."""

    samples: int
    run: RunReport

    @property
    def exit_code(self) -> int:
        return self.run.exit_code

    @property
    def text(self) -> str:
        run = self.run
        lines = []
        if run.tally.successes:
            lines.append(
                f"{counted(run.tally.successes, 'sample')} in {duration(run.wall_time)}, "
                f"{1e3 * run.cpu_time / run.tally.successes:.2f} ms CPU each"
            )
        return "\n".join([*lines, *describe_end(run, _WORDS)])


def run(options: ReshardOptions) -> ReshardReport:
    """Pack a data set anew. Blocks until that is done or stopped.

    Raises:
        UsageError: it cannot be done; nothing was written.
    """
    started, cpu = time.monotonic(), cpu_time()
    dataset = Dataset.open(options.output_folder)
    with as_usage_error(f"read {options.output_folder}"):
        source = _Source.read(dataset)
    image = ImageOptions(encode_format=source.extension)
    output = OutputOptions(
        output_folder=options.to,
        output_format=options.output_format or dataset.output_format,
        number_sample_per_shard=options.number_sample_per_shard,
        oom_shard_count=dataset.digits,
    )
    check_format(output.output_format)
    tasks = list(pack(source.shards, options.number_sample_per_shard))
    folder = OutputFolder.open(options.to, options.tmp_dir)
    if folder.path == dataset.folder.path:
        raise UsageError("--to is the data set's own folder: name another one")
    identity = {
        **dataset.options,
        "output_format": output.output_format,
        "number_sample_per_shard": output.number_sample_per_shard,
        "oom_shard_count": output.oom_shard_count,
        "encode_format": source.extension,
        "captions": source.captions,
    }
    console = Console(sys.stderr, _WORDS)
    with ExitStack() as stack:
        lock = stack.enter_context(folder.lock(options.force))
        stack.callback(folder.close)
        folder.clean_staging()
        manifest = _open_manifest(folder, source.fingerprint, identity, len(tasks))
        committed = manifest.committed_here()
        missing = [task for task in tasks if task.shard_id not in committed]
        report = RunReport(folder.path, tally=Tally(), shards_before=len(committed))
        stop = stack.enter_context(StopSwitch())
        stack.callback(console.close)
        rows = sum(task.count for task in missing)
        runner = Runner(
            report,
            PackWorker(dataset.folder, source.layout, folder, output, image),
            stop,
            lock,
            console,
            lambda number: shard_name(number, output.oom_shard_count),
            lambda: console.expect(rows, len(missing)),
            _WORDS,
        )
        distributor = open_distributor("multiprocessing", options.processes_count)
        runner.run(distributor, iter(missing), options.max_shard_retry)
    report.wall_time = time.monotonic() - started
    report.cpu_time += cpu_time() - cpu
    return ReshardReport(sum(task.count for task in tasks), report)


def _open_manifest(
    folder: OutputFolder, fingerprint: dict[str, Any], identity: dict[str, Any], count: int
) -> Manifest:
    """The manifest of the new folder, begun. Raises UsageError: it holds something else."""
    with as_usage_error(f"use the folder {folder.path}"):
        try:
            manifest = open_manifest(
                folder, "incremental", fingerprint, identity, count,
                lambda *_: "there is no record of what made them",
            )  # fmt: skip
        except UsageError as error:
            what, _, advice = str(error).rpartition(": ")
            if "--incremental_mode" not in advice:
                raise
            raise UsageError(f"{what}: name another folder with --to") from None
        manifest.begin()
    return manifest


@dataclass(frozen=True, slots=True)
class _Source:
    """The data set that is packed: its shards in order, and their successes by their markers."""

    shards: list[tuple[str, int]]
    layout: Layout
    extension: str
    captions: bool
    fingerprint: dict[str, Any]

    @classmethod
    def read(cls, dataset: Dataset) -> _Source:
        """Look at all marks, and at one sample. Raises UsageError, OSError."""
        folder = dataset.folder
        layout = layout_of(dataset)
        if layout.output_format == "dummy":
            raise UsageError(f"{folder.path} has shards of format dummy, which keep no pictures")
        holder = lock_holder(folder.path, folder.local)
        if holder is not None:
            raise UsageError(f"{folder.path} is in use by {holder}: wait for it, or stop it")
        last = dataset.last_shard()
        missing = [n for s in dataset.segments for n in span(s, last) if n not in dataset.committed]
        if missing:
            words = f"{counted(len(missing), 'shard')} of {folder.path} not committed yet, left out"
            print(words, file=sys.stderr)
        shards = []
        digest = hashlib.sha256()
        for number, marker in dataset.markers():
            name = dataset.committed[number]
            if isinstance(marker, ValueError):
                raise UsageError(
                    f"the commit marker of shard {name} is damaged ({marker}): "
                    f"img2ds verify --output_folder {folder.path} --repair"
                )
            shards.append((name, marker.tally.successes))
            hashes = [record.sha256 for record in marker.files or ()]
            digest.update(f"{name} {marker.tally.successes} {hashes}\n".encode())
        successes = sum(count for _, count in shards)
        if not successes:
            raise UsageError(f"{folder.path} has no successes: there is nothing to pack")
        size = sum(
            dataset.sizes[n] or 0 for number in dataset.committed for n in dataset.files_of(number)
        )
        file = {
            "name": folder.path.rstrip("/").rpartition("/")[2],
            "size": size,
            "digest": digest.hexdigest(),
            "rows": successes,
            "schema": None,
        }
        extension, captions = _look(dataset, layout, next(n for n, count in shards if count))
        return cls(
            shards, layout, extension, captions,
            {"format": RESHARDED, "max_rows": None, "files": [file]},
        )  # fmt: skip


def _look(dataset: Dataset, layout: Layout, shard: str) -> tuple[str, bool]:
    """The extension of the pictures, and whether there are captions; by a sample if need be."""
    stored = open_stored(dataset.folder, shard, layout)
    if layout.encode_format is not None and layout.captions is not None:
        return layout.encode_format, layout.captions
    try:
        sample = next(iter(stored.samples()), None)
    except DamagedShardError as error:
        raise UsageError(f"shard {shard} cannot be read: {error}") from None
    found = [name for name in ENCODE_FORMATS if sample is not None and name in sample.parts]
    if sample is None or not found:
        raise UsageError(f"shard {shard} has no pictures: see img2ds verify")
    return found[0], "txt" in sample.parts


def pack(shards: Sequence[tuple[str, int]], per_shard: int) -> Iterator[PackTask]:
    """Full shards of `per_shard` samples, but for the last one, out of shards in their order.

    Args:
        shards: names, and how many samples each has.
    """
    number, room = 0, per_shard
    pieces: list[Piece] = []
    for name, count in shards:
        start = 0
        while start < count:
            stop = min(count, start + room)
            pieces.append(Piece(name, start, stop))
            room -= stop - start
            start = stop
            if not room:
                yield PackTask(number, tuple(pieces))
                number, room, pieces = number + 1, per_shard, []
    if pieces:
        yield PackTask(number, tuple(pieces))
