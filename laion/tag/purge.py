"""Removes dropped pairs from the shards and scores they came from: `laion tag --purge`.

What goes is the difference between a scored and a tagged shard, so the order is: image shards
first, then the scores' data, then the scores' commit markers. Killed at any point, the same
command finds what is left to do and ends with the same files.
"""

from __future__ import annotations

import tarfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from img2ds.core.failure import Status, UsageError
from img2ds.core.naming import (
    STATS_SUFFIX,
    committed_shards,
    parse_key,
    shard_name,
    stats_name,
)
from img2ds.core.sample import FileRecord
from img2ds.engine.build import BuildSpec, open_build
from img2ds.engine.manifest import follow_sizes, read_segments
from img2ds.engine.marker import load_markers, marker_names, record_purge
from img2ds.engine.run_report import RunReport
from img2ds.engine.shard_output import DIGITS
from img2ds.report.console import Labels, Verbosity
from img2ds.report.counters import Counts
from img2ds.report.shard_report import ShardReport
from img2ds.storage import OutputFolder, file_record, open_seekable
from laion.data.embedding_folder import EmbeddingShard
from laion.data.embedding_layout import IMAGES, METADATA, TEXTS
from laion.data.embedding_writer import copy_array
from laion.provenance import options_of
from laion.stage import StageOptions

LABELS = Labels("shard", "pairs", "pairs/s", "purged")


@dataclass(frozen=True, slots=True)
class ImageShards:
    """A folder of webdataset shards, and how they are named."""

    folder: OutputFolder
    rows: int
    digits: int


@dataclass(frozen=True, slots=True)
class PurgeTask:
    """A scored shard whose dropped rows are to be removed; `left` rows of it are tagged."""

    shard_id: int
    scored: EmbeddingShard
    tagged: EmbeddingShard
    left: int


@dataclass(slots=True)
class PurgeReport(RunReport):
    """How many pairs were removed, and from how many image shards."""

    labels: Labels = field(default_factory=lambda: LABELS)

    @property
    def pairs(self) -> int:
        return self.tally.successes

    @property
    def shards(self) -> int:
        return self.tally.metrics["shards"]


def open_shards(path: str) -> ImageShards:
    """Open the folder of the shards that were scored.

    Raises:
        UsageError: it is not a folder of webdataset shards that img2ds or img2dataset made.
    """
    folder = OutputFolder.open(path)
    options = options_of(folder)
    if options.get("output_format") == "webdataset":
        return ImageShards(folder, options["number_sample_per_shard"], options["oom_shard_count"])
    if not options and (shards := _by_img2dataset(folder)) is not None:
        return shards
    raise UsageError(
        f"--shards {path} is not a folder of webdataset shards: give the one that laion download "
        "wrote"
    )


def _by_img2dataset(folder: OutputFolder) -> ImageShards | None:
    """Return the shards of a folder without a manifest, named as a key and its tar tell.

    None where there are no shards with a table, a tar and keys that begin with its name.
    """
    names = set(folder.names())
    for marker in marker_names(names):
        name = marker.removesuffix(STATS_SUFFIX)
        if not {f"{name}.tar", f"{name}.parquet"} <= names:
            continue
        try:
            keys = pq.read_table(open_seekable(f"{folder.path}/{name}.parquet"), columns=["key"])
        except (OSError, pa.ArrowException, UsageError):
            return None
        if keys.num_rows:
            key = str(keys["key"][0])
            rows = 10 ** max(len(key) - len(name), 0)
            right = key.isdigit() and parse_key(key, rows)[0] == int(name)
            return ImageShards(folder, rows, len(name)) if right else None
    return None


def pending(shards: Sequence[EmbeddingShard], tagged: OutputFolder) -> list[PurgeTask]:
    """Return the shards that are not purged yet; tagged shard i is made of the i-th of `shards`.

    Raises OSError.
    """
    tasks = []
    scored = OutputFolder.open(shards[0].folder)
    committed = committed_shards(scored.names())
    own = [shard.number for shard in shards if shard.number in committed]
    left = _successes(scored, own)
    for place, (shard, kept) in enumerate(
        zip(shards, _successes(tagged, range(len(shards))), strict=True)
    ):
        # A folder that clip-retrieval wrote has no commit markers.
        there = next(left) if shard.number in committed else shard.rows()
        if there != kept:
            source = EmbeddingShard(tagged.path, shard_name(place, DIGITS))
            tasks.append(PurgeTask(shard.number, shard, source, kept))
    return tasks


def _successes(folder: OutputFolder, numbers: Iterable[int]) -> Iterator[int]:
    """Yield the rows that each of these shards has. Raises OSError, UsageError."""
    names = (stats_name(number, DIGITS) for number in numbers)
    return (marker.counts.successes for _, marker in load_markers(folder, names))


def purge(
    tasks: Sequence[PurgeTask], shards: ImageShards | None, options: StageOptions
) -> PurgeReport:
    """Purge the scored shards of `tasks` and, where given, the image shards they came from.

    The folders are locked meanwhile.

    Args:
        options: who runs the workers.

    Raises:
        UsageError: another run holds one of the folders.
    """
    report = PurgeReport()
    if not tasks:
        return report
    spec = BuildSpec(
        output_folder=tasks[0].scored.folder,
        more_folders=(shards.folder,) if shards else (),
        distributor=options.distributor,
        processes_count=options.processes,
        retries=options.max_shard_retry,
        verbosity=Verbosity(shards=False, logger="laion"),
    )
    with open_build(spec, report) as build:
        build.run(Purger(build.folder, shards), tasks)
        if shards is not None and not report.exit_code:
            _follow_sizes(build.folder, shards.folder)
    return report


@dataclass(frozen=True, slots=True)
class Purger:
    """The worker: purges one scored shard after the other."""

    scored: OutputFolder
    shards: ImageShards | None

    def __call__(self, tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
        for task in tasks:
            counts = Counts()
            error = None
            try:
                self._purge(task, counts)
            except (OSError, UsageError, pa.ArrowException, tarfile.TarError) as trouble:
                error = str(trouble) or type(trouble).__name__
            emit(ShardReport(task.shard_id, counts, 0.0, error))

    def _purge(self, task: PurgeTask, counts: Counts) -> None:
        table = task.scored.table()
        left = pa.array([], pa.string())
        if task.left:  # without any the tagged shard has no files
            left = task.tagged.table(["key"])["key"].combine_chunks()
        kept = pc.is_in(table["key"], left)
        gone = table.filter(pc.invert(kept))["key"].to_pylist()
        if gone and self.shards is not None:
            by_shard: dict[int, list[str]] = defaultdict(list)
            for key in gone:
                by_shard[parse_key(key, self.shards.rows)[0]].append(key)
            for number, keys in sorted(by_shard.items()):
                purge_shard(self.shards, number, keys)
                counts.metrics["shards"] += 1
        mask = np.asarray(kept)
        folder, own = self.scored, task.scored.name
        for kind in (IMAGES, TEXTS):
            source = task.scored.embeddings(kind)
            if len(source) == int(mask.sum()):
                continue  # a run that was cut off came this far
            name = kind.format(own)
            copy_array(source, mask, folder.staging_path(name))
            folder.publish(name)
        if gone:
            name = METADATA.format(own)
            pq.write_table(table.filter(kept), folder.staging_path(name))
            folder.publish(name)
        marker = stats_name(task.scored.number, DIGITS)
        if folder.exists(marker):
            names = [kind.format(own) for kind in (IMAGES, TEXTS, METADATA)]
            record_purge(folder, marker, int(mask.sum()), [_record(folder, n) for n in names])
        counts.successes += len(gone)


def purge_shard(shards: ImageShards, number: int, keys: Collection[str]) -> None:
    """Remove samples from a webdataset shard: from its tar, its table and its commit marker.

    Raises:
        OSError, ArrowException, TarError: it cannot be done; the commit marker is as it was.
    """
    folder, name = shards.folder, shard_name(number, shards.digits)
    table = pq.read_table(open_seekable(f"{folder.path}/{name}.parquet"))
    rest = table.filter(pc.invert(pc.is_in(table["key"], pa.array(list(keys), pa.string()))))
    tar, parquet = f"{name}.tar", f"{name}.parquet"
    _copy_tar(f"{folder.path}/{tar}", folder.staging_path(tar), set(keys))
    pq.write_table(rest, folder.staging_path(parquet))
    records = [file_record(each, folder.staging_path(each)) for each in (tar, parquet)]
    for record in records:
        folder.publish(record.name)
    successes = pc.sum(pc.equal(rest["status"], Status.SUCCESS.value)).as_py() or 0
    record_purge(folder, stats_name(number, shards.digits), successes, records)


def _copy_tar(source: str, target: str, keys: set[str]) -> None:
    """Copy all members but those of `keys`, in their order."""
    opened = open_seekable(source)
    place: dict[str, Any] = {"name": opened} if isinstance(opened, str) else {"fileobj": opened}
    with (
        tarfile.open(mode="r", **place) as old,
        tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for member in old:
            if member.name.rpartition("/")[2].partition(".")[0] not in keys:
                new.addfile(member, old.extractfile(member))


def _follow_sizes(scored: OutputFolder, shards: OutputFolder) -> None:
    """Record the sizes that the shards have now in the scored folder's manifest.

    They are the same input still, so that scoring can be resumed and extended.
    """
    start = f"{shards.path}/"
    paths = {
        path.removeprefix(start).removesuffix(".tar") + STATS_SUFFIX: path
        for segment in read_segments(scored)
        for path in segment.file_names
        if path.startswith(start) and path.endswith(".tar") and "/" not in path[len(start) :]
    }
    sizes = {
        paths[name]: record.size
        for name, marker in load_markers(shards, paths)
        for record in marker.files or ()
        if f"{start}{record.name}" == paths[name]
    }
    follow_sizes(scored, sizes)


def _record(folder: OutputFolder, name: str) -> FileRecord:
    """Return the record of a published file."""
    if folder.local:
        return file_record(name, f"{folder.path}/{name}")
    path = folder.staging_path(name)
    with open(path, "wb") as file:
        file.write(folder.read_bytes(name))
    return file_record(name, path)
