"""`img2ds reshard`: pack the successes of all committed shards into full shards elsewhere.

Resumes like any run: the new folder has a manifest whose input is the old one.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from img2ds.config.options import ImageOptions, OutputOptions
from img2ds.core.failure import UsageError
from img2ds.core.naming import ENCODE_FORMATS, format_names
from img2ds.engine.build import BuildSpec, open_build
from img2ds.engine.fingerprint import FileFingerprint, fingerprint
from img2ds.engine.manifest import SegmentSpec
from img2ds.engine.run_report import RunReport, describe_end
from img2ds.engine.sequential import SequentialWorker
from img2ds.formats.contract import DamagedShardError
from img2ds.formats.table import check_format, finish_folder
from img2ds.manage.chosen import Chosen, choose
from img2ds.manage.dataset import RESHARDED, Dataset
from img2ds.manage.layout import Layout, layout_of, open_stored
from img2ds.manage.options import ReshardOptions
from img2ds.manage.pack import Packer, PackTask, Piece
from img2ds.manage.uid_list import UidList
from img2ds.report.console import Labels
from img2ds.report.tally import Tally
from img2ds.report.units import counted, duration, effort
from img2ds.storage import OutputFolder, lock_holder
from img2ds.storage.filesystem import as_usage_error

_LABELS = Labels("shard", "samples", "samples/s", "packed")


@dataclass(slots=True)
class ReshardReport(RunReport):
    """What a run did; `samples` are those of all new shards."""

    tally: Tally = field(default_factory=Tally)
    labels: Labels = field(default_factory=lambda: _LABELS)
    samples: int = 0
    chosen: Chosen | None = None

    @property
    def text(self) -> str:
        """What people read at the end."""
        lines = []
        packed = self.tally.successes
        if packed:
            lines.append(
                f"{counted(packed, 'sample')} in {duration(self.wall_time)}, "
                f"{effort(self.cpu_time / packed)} CPU each"
            )
        if self.chosen is not None:
            lines.append(self.chosen.text)
        return "\n".join([*lines, *describe_end(self)])


def run(options: ReshardOptions) -> ReshardReport:
    """Pack a dataset into full shards. Blocks until that is done or stopped.

    Raises:
        UsageError: it cannot be done; nothing was written.
    """
    report = ReshardReport()
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
    if OutputFolder.open(options.to).path == dataset.folder.path:
        raise UsageError("--to is the dataset's own folder: name another one")
    shards, listed = source.shards, None
    if options.uids is not None:
        listed = UidList.compile(options.uids)
        report.chosen = choose(dataset.folder, shards, listed)
        shards = report.chosen.shards
        if not report.chosen.images:
            raise UsageError(
                f"no image of {options.output_folder} is in --uids {options.uids}: nothing to pack"
            )
    tasks = list(pack(shards, options.number_sample_per_shard))
    report.samples = sum(task.count for task in tasks)
    packer = Packer(dataset.folder, source.layout, output, image, listed)
    spec = _spec(options, dataset, source, output, tasks, listed)
    with _advice_on_to(), open_build(spec, report) as build:
        missing = [task for task in tasks if task.shard_id not in build.committed]
        rows = sum(task.count for task in missing)
        worker = SequentialWorker(build.folder, packer, output.oom_shard_count)
        build.run(worker, missing, expect=lambda: (rows, len(missing)))
        if not build.lost:
            finish_folder(build.folder, output.output_format)
    return report


def _spec(
    options: ReshardOptions,
    dataset: Dataset,
    source: _Source,
    output: OutputOptions,
    tasks: Sequence[PackTask],
    listed: UidList | None,
) -> BuildSpec:
    identity = {
        **dataset.options,
        "output_format": output.output_format,
        "number_sample_per_shard": output.number_sample_per_shard,
        "oom_shard_count": output.oom_shard_count,
        "encode_format": source.extension,
        "captions": source.captions,
    }
    if listed is not None:
        identity["uids"] = listed.digest
    return BuildSpec(
        output_folder=options.to,
        segment=SegmentSpec(
            fingerprint=source.fingerprint, options=identity, shard_count=len(tasks)
        ),
        tmp_dir=options.tmp_dir,
        force=options.force,
        digits=output.oom_shard_count,
        processes_count=options.processes_count,
        retries=options.max_shard_retry,
    )


@contextmanager
def _advice_on_to() -> Iterator[None]:
    """Say `--to` where the advice of an error is about flags that reshard does not have."""
    try:
        yield
    except UsageError as error:
        problem, _, advice = str(error).rpartition(": ")
        if "--incremental_mode" not in advice:
            raise
        raise UsageError(f"{problem}: name another folder with --to") from None


@dataclass(frozen=True, slots=True)
class _Source:
    """The dataset that is packed: its shards in order, and their successes by their markers."""

    shards: list[tuple[str, int]]
    layout: Layout
    extension: str
    captions: bool
    fingerprint: dict[str, Any]

    @classmethod
    def read(cls, dataset: Dataset) -> _Source:
        """Read all commit markers, and one sample. Raises UsageError, OSError."""
        folder = dataset.folder
        layout = layout_of(dataset)
        if format_names(layout.output_format).suffix is None:
            raise UsageError(
                f"{folder.path} has shards of format {layout.output_format}, which keep no images"
            )
        holder = lock_holder(folder.path, folder.local)
        if holder is not None:
            raise UsageError(f"{folder.path} is in use by {holder}: wait for it, or stop it")
        last = dataset.last_shard()
        wanted = {number for segment in dataset.segments for number in segment.numbers(last)}
        missing = len(wanted - dataset.committed.keys())
        if missing:
            words = f"{counted(missing, 'shard')} of {folder.path} not committed yet: left out"
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
            raise UsageError(f"{folder.path} has no images: nothing to pack")
        size = sum(
            dataset.sizes[n] or 0 for number in dataset.committed for n in dataset.files_of(number)
        )
        file = FileFingerprint(
            folder.path.rstrip("/").rpartition("/")[2], size, digest.hexdigest(), successes
        )
        extension, captions = _look(dataset, layout, next(n for n, count in shards if count))
        return cls(shards, layout, extension, captions, fingerprint(RESHARDED, [file]))


def _look(dataset: Dataset, layout: Layout, shard: str) -> tuple[str, bool]:
    """Return the extension of the images and whether there are captions, by a sample if need be."""
    stored = open_stored(dataset.folder, shard, layout)
    if layout.encode_format is not None and layout.captions is not None:
        return layout.encode_format, layout.captions
    try:
        sample = next(iter(stored.samples()), None)
    except DamagedShardError as error:
        raise UsageError(f"shard {shard} cannot be read: {error}") from None
    found = [name for name in ENCODE_FORMATS if sample is not None and name in sample.parts]
    if sample is None or not found:
        raise UsageError(f"shard {shard} has no images: see img2ds verify")
    return found[0], "txt" in sample.parts


def pack(shards: Sequence[tuple[str, int]], per_shard: int) -> Iterator[PackTask]:
    """Yield full shards of `per_shard` samples, but for the last one, from shards in their order.

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
