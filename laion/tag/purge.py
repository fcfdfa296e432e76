"""Removes dropped pairs from the shards and scores they came from: `laion tag --purge`.

What goes is the difference between the scored and the tagged part, so the order is: shards first,
then the scores' data, then the scores' marks. Killed at any point, the same command finds what is
left to do and ends at the same files.
"""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from img2ds.core.failure import Status, UsageError
from img2ds.core.naming import committed_shards, parse_key, shard_name, stats_name
from img2ds.core.sample import FileRecord
from img2ds.engine.distributors.contract import TaskLost, Worker
from img2ds.engine.distributors.factory import open_distributor
from img2ds.engine.manifest import MANIFEST
from img2ds.report.counters import Counts
from img2ds.report.shard_report import ShardReport
from img2ds.storage import OutputFolder, file_record, open_seekable
from laion.data.embedding_folder import EmbeddingShard
from laion.data.embedding_layout import IMAGES, METADATA, TEXTS
from laion.data.embedding_writer import copy_array
from laion.part import DIGITS, read_marker
from laion.provenance import read_segments


@dataclass(frozen=True, slots=True)
class ShardNames:
    """How the shards of a folder are named, as its manifest tells."""

    folder: OutputFolder
    rows: int
    digits: int


@dataclass(frozen=True, slots=True)
class PurgeTask:
    """The part whose dropped rows are to go."""

    shard_id: int
    scored: EmbeddingShard
    tagged: EmbeddingShard


@dataclass(slots=True)
class PurgeReport:
    """How many pairs were removed, and from how many shards."""

    pairs: int = 0
    shards: int = 0
    failed: dict[int, str] = field(default_factory=dict)


def open_shards(path: str) -> ShardNames:
    """The folder with the shards that were scored.

    Raises:
        UsageError: it is no folder of webdataset shards that img2ds made.
    """
    folder = OutputFolder.open(path)
    segments = read_segments(folder)
    options = segments[-1]["options"] if segments else {}
    if options.get("output_format") != "webdataset":
        raise UsageError(
            f"--shards {path} is no folder of webdataset shards: name the one that laion download "
            "wrote"
        )
    return ShardNames(folder, options["number_sample_per_shard"], options["oom_shard_count"])


def pending(parts: Sequence[EmbeddingShard], tagged: OutputFolder) -> list[PurgeTask]:
    """The parts that are not purged yet, by their markers; tagged part i is of the i-th of `parts`.

    Raises OSError.
    """
    tasks = []
    scored = OutputFolder.open(parts[0].folder)
    marked = committed_shards(scored.names())
    for place, part in enumerate(parts):
        kept = read_marker(tagged, place)["successes"]
        # A folder that clip-retrieval wrote has no commit markers.
        there = (
            read_marker(scored, part.number)["successes"] if part.number in marked else part.rows()
        )
        if there != kept:
            tasks.append(
                PurgeTask(part.number, part, EmbeddingShard(tagged.path, shard_name(place, DIGITS)))
            )
    return tasks


def purge(
    tasks: Sequence[PurgeTask], shards: ShardNames | None, distributor: str, processes: int
) -> PurgeReport:
    """Run the tasks on a distributor; the folders are locked meanwhile.

    Raises:
        UsageError: another run holds one of the folders.
    """
    report = PurgeReport()
    if not tasks:
        return report
    scored = OutputFolder.open(tasks[0].scored.folder)
    folders = [scored] + ([shards.folder] if shards else [])
    locks = []
    try:
        for folder in folders:
            locks.append(folder.lock())
            folder.clean_staging()
        worker: Worker = Purger(scored, shards)
        for message in open_distributor(distributor, processes).stream(worker, iter(tasks)):
            if isinstance(message, TaskLost):
                report.failed[message.shard_id] = message.why
            elif isinstance(message, ShardReport):
                report.pairs += message.tally.successes
                report.shards += message.tally.metrics["shards"]
                if message.error is not None:
                    report.failed[message.shard_id] = message.error
        if shards is not None and not report.failed:
            _follow_sizes(scored, shards.folder)
    finally:
        for folder, lock in zip(folders, locks, strict=False):
            folder.close()
            lock.release()
    return report


@dataclass(frozen=True, slots=True)
class Purger:
    """The worker: purges one part after the other."""

    scored: OutputFolder
    shards: ShardNames | None

    def __call__(self, tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
        for task in tasks:
            counts = Counts()
            error = None
            try:
                self._part(task, counts)
            except (OSError, UsageError, pa.ArrowException, tarfile.TarError) as trouble:
                error = str(trouble) or type(trouble).__name__
            emit(ShardReport(task.shard_id, counts, 0.0, error))

    def _part(self, task: PurgeTask, counts: Counts) -> None:
        table = task.scored.table()
        kept = pc.is_in(table["key"], task.tagged.table(["key"])["key"].combine_chunks())
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
        _update_scored_marker(folder, task.scored, int(mask.sum()))
        counts.successes += len(gone)


def _update_scored_marker(folder: OutputFolder, part: EmbeddingShard, rows: int) -> None:
    """Let the commit marker of a scored part vouch for what is there now."""
    if not folder.exists(stats_name(part.number, DIGITS)):
        return
    marker = read_marker(folder, part.number)
    names = [kind.format(part.name) for kind in (IMAGES, TEXTS, METADATA)]
    purged = marker["successes"] - rows
    marker.setdefault("files_before_purge", marker["files"])
    marker["files"] = [_record(r) for r in _records(folder, names)]
    marker["successes"] = rows
    marker["dropped"] += purged
    marker["reasons"]["purged"] = marker["reasons"].get("purged", 0) + purged
    _write_marker(folder, stats_name(part.number, DIGITS), marker)


def purge_shard(shards: ShardNames, number: int, keys: Collection[str]) -> None:
    """Remove samples from a webdataset shard: from its tar, its table and its commit marker.

    The rows are gone from the shard's count as well, and counted as `purged`.

    Raises:
        OSError, ArrowException, TarError: it cannot be done; the commit marker is as it was.
    """
    folder, name = shards.folder, shard_name(number, shards.digits)
    table = pq.read_table(open_seekable(f"{folder.path}/{name}.parquet"))
    kept = pc.invert(pc.is_in(table["key"], pa.array(list(keys), pa.string())))
    rest = table.filter(kept)
    tar, parquet = f"{name}.tar", f"{name}.parquet"
    _copy_tar(f"{folder.path}/{tar}", folder.staging_path(tar), set(keys))
    pq.write_table(rest, folder.staging_path(parquet))
    records = [file_record(each, folder.staging_path(each)) for each in (tar, parquet)]
    for each in (tar, parquet):
        folder.publish(each)
    marker_name = stats_name(number, shards.digits)
    marker = json.loads(folder.read_bytes(marker_name))
    purged = marker["count"] - rest.num_rows
    marker["count"] -= purged
    marker["successes"] = pc.sum(pc.equal(rest["status"], Status.SUCCESS.value)).as_py() or 0
    if "success" in marker.get("status_dict", {}):
        marker["status_dict"]["success"] = marker["successes"]
    marker["purged"] = marker.get("purged", 0) + purged
    marker["files"] = [_record(record) for record in records]
    _write_marker(folder, marker_name, marker)


def _copy_tar(source: str, target: str, keys: set[str]) -> None:
    """All members but those of `keys`, in their order."""
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
    """Let the scored folder's manifest know the sizes that the shards have now: it is the same
    input, so that scoring can be resumed and extended.
    """
    if not read_segments(scored):
        return
    document = json.loads(scored.read_bytes(MANIFEST))
    sizes = {}
    for segment in document["segments"]:
        for file in segment["fingerprint"]["files"]:
            folder, _, name = str(file["name"]).rpartition("/")
            if folder == shards.path and name.endswith(".tar"):
                sizes[name] = file
    changed = False
    for name, file in sizes.items():
        record = json.loads(shards.read_bytes(name.removesuffix(".tar") + "_stats.json"))
        size = next((r["size"] for r in record["files"] if r["name"] == name), file["size"])
        changed |= size != file["size"]
        file["size"] = size
    if changed:
        scored.write_bytes(MANIFEST, json.dumps(document, indent=1).encode())


def _records(folder: OutputFolder, names: Iterable[str]) -> Iterator[FileRecord]:
    """Records of published files."""
    for name in names:
        if folder.local:
            yield file_record(name, f"{folder.path}/{name}")
        else:
            with open(folder.staging_path(name), "wb") as file:
                file.write(folder.read_bytes(name))
            yield file_record(name, folder.staging_path(name))


def _record(record: FileRecord) -> dict[str, Any]:
    return {"name": record.name, "size": record.size, "sha256": record.sha256}


def _write_marker(folder: OutputFolder, name: str, marker: dict[str, Any]) -> None:
    folder.write_bytes(name, orjson.dumps(marker, option=orjson.OPT_INDENT_2))
