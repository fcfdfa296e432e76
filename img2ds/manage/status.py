"""`img2ds status`: what a dataset holds and lacks, by its manifest and commit markers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from img2ds.core.failure import Retryability, UsageError, retryability
from img2ds.downloader.retried_rows import list_name
from img2ds.engine.build import hold_folder
from img2ds.engine.manifest import Segment
from img2ds.engine.marker import CommitMarker
from img2ds.engine.partial import partial_shards
from img2ds.engine.tar_sizes import tar_sizes_problem, write_tar_sizes
from img2ds.manage.dataset import Dataset
from img2ds.manage.options import StatusOptions
from img2ds.manage.retried import RetryList, take_back
from img2ds.manage.status_page import page
from img2ds.report.tally import Tally
from img2ds.report.units import counted
from img2ds.storage import lock_holder
from img2ds.storage.filesystem import as_usage_error


@dataclass(slots=True)
class SegmentStatus:
    """The shards of one input, or of one retry.

    Attributes:
        first_shard, shard_count: its shards; the count is None while it is not known.
        missing: the numbers of those without a commit marker, as far as they are known.
        tally: what became of the rows of its committed shards.
        retry_of: the reasons its rows had failed for; None for an input of its own.
    """

    input: str
    first_shard: int
    shard_count: int | None
    committed: int = 0
    missing: list[int] = field(default_factory=list)
    rows: int = 0
    tally: Tally = field(default_factory=Tally)
    retry_of: Counter[str] | None = None

    @property
    def complete(self) -> bool:
        return self.shard_count is not None and not self.missing


@dataclass(slots=True)
class Status:
    """What a folder holds. `tally` and `rows` count each row of the inputs once, as it is now.

    Attributes:
        by_img2dataset: committed shards that img2dataset made.
        tried_again: rows that were retried, in committed shards of retries.
        lost: rows of img2dataset's shards that are in none of its counts.
        damaged: by number of a shard what is wrong with its commit marker.
        leftovers: shards with files and no commit marker; making: those that a run works on now.
        partial: shards that the next run completes.
        files, size: how many there are of shards, and their bytes.
        sizes_json: what is wrong with the folder's `sizes.json`; None if nothing is.
    """

    folder: str
    output_format: str
    options: dict[str, Any]
    segments: list[SegmentStatus] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    rows: int = 0
    by_img2dataset: int = 0
    tried_again: int = 0
    lost: int = 0
    damaged: dict[int, str] = field(default_factory=dict)
    leftovers: list[int] = field(default_factory=list)
    making: list[int] = field(default_factory=list)
    partial: list[int] = field(default_factory=list)
    files: int = 0
    size: int = 0
    holder: str | None = None
    sizes_json: str | None = None
    as_json: bool = False

    @property
    def complete(self) -> bool:
        """Whether every expected shard is committed, as far as is known."""
        return not self.damaged and not self.leftovers and all(s.complete for s in self.segments)

    @property
    def committed(self) -> int:
        return sum(segment.committed for segment in self.segments)

    @property
    def transient(self) -> int:
        """Rows that failed for a reason that may have passed."""
        reasons = self.tally.reasons.items()
        return sum(
            times for reason, times in reasons if retryability(reason) is not Retryability.PERMANENT
        )

    @property
    def exit_code(self) -> int:
        return 0 if self.complete else 1

    @property
    def text(self) -> str:
        return json.dumps(self.document(), indent=1) if self.as_json else page(self)

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        tally = self.tally
        return {
            "folder": self.folder,
            "complete": self.complete,
            "output_format": self.output_format,
            "options": self.options,
            "shards": {
                "committed": self.committed,
                "missing": [number for s in self.segments for number in s.missing],
                "in_the_making": self.making,
                "leftovers": self.leftovers,
                "partial": self.partial,
                "damaged_marks": {str(number): why for number, why in self.damaged.items()},
                "by_img2dataset": self.by_img2dataset,
            },
            "rows": self.rows,
            "successes": tally.successes,
            "failed_to_download": tally.failed_to_download,
            "failed_to_resize": tally.failed_to_resize,
            "reasons": dict(tally.reasons.most_common()),
            "worth_a_retry": self.transient,
            "tried_again": self.tried_again,
            "lost_rows": self.lost,
            "files": self.files,
            "bytes": self.size,
            "held_by": self.holder,
            "sizes_json": self.sizes_json,
            "segments": [
                {
                    "input": s.input,
                    "first_shard": s.first_shard,
                    "shard_count": s.shard_count,
                    "committed": s.committed,
                    "missing": s.missing,
                    "rows": s.rows,
                    "successes": s.tally.successes,
                    "reasons": dict(s.tally.reasons.most_common()),
                    "retry_of": None if s.retry_of is None else dict(s.retry_of.most_common()),
                }
                for s in self.segments
            ],
        }


def run(options: StatusOptions) -> Status:
    """The status of a folder. Raises UsageError."""
    dataset = Dataset.open(options.output_folder)
    if options.sizes_json:
        _write_sizes(dataset)
        dataset = Dataset.open(options.output_folder)
    with as_usage_error(f"read {options.output_folder}"):
        status = look(dataset)
    status.as_json = options.json
    return status


def _write_sizes(dataset: Dataset) -> None:
    if dataset.output_format != "webdataset":
        raise UsageError(
            f"{dataset.folder.path} has shards of format {dataset.output_format}: --sizes_json "
            "counts the samples of tars"
        )
    with hold_folder(dataset.folder), as_usage_error(f"write to {dataset.folder.path}"):
        write_tar_sizes(dataset.folder)


def look(dataset: Dataset) -> Status:
    """Return the status of a dataset.

    Raises:
        UsageError: the list of a retry is damaged.
        OSError: the folder cannot be read.
    """
    folder = dataset.folder
    status = Status(folder.path, dataset.output_format, dataset.options)
    status.holder = lock_holder(folder.path, folder.local)
    status.making = dataset.in_progress() if status.holder is not None else []
    status.leftovers = [n for n in dataset.leftovers() if n not in status.making]
    status.sizes_json = tar_sizes_problem(folder, dataset.sizes)
    status.partial = sorted(partial_shards(folder).difference(dataset.committed))
    last = dataset.last_shard()
    lists: list[RetryList | None] = []
    places: list[tuple[range, SegmentStatus, RetryList | None]] = []
    for segment in dataset.segments:
        name = list_name(segment)
        lists.append(None if name is None else RetryList.read(folder, name))
        of = SegmentStatus(input_words(segment), segment.first_shard, segment.shard_count)
        status.segments.append(of)
        places.append((segment.numbers(last), of, lists[-1]))
        of.missing = [n for n in segment.numbers(last) if n not in dataset.committed]
        if lists[-1] is not None:
            of.retry_of = Counter()
    if not dataset.segments:
        of = SegmentStatus("unknown input", 0, last + 1)
        of.missing = [n for n in range(last + 1) if n not in dataset.committed]
        status.segments.append(of)
        places = [(range(last + 1), of, None)]
    for number, marker in dataset.markers():
        names = dataset.files_of(number)
        status.files += len(names)
        records = (
            {} if isinstance(marker, ValueError) else {r.name: r.size for r in marker.files or ()}
        )
        # Of a folder of files its mark alone knows the size.
        status.size += sum(dataset.sizes[n] or records.get(n, 0) for n in names)
        if isinstance(marker, ValueError):
            status.damaged[number] = str(marker)
            continue
        for numbers, of, retried in reversed(places):
            if number in numbers:
                _add(status, of, number, marker, retried)
                break
    # A row that a rebuilt shard has now may be in a retry's shard as well.
    tally = status.tally
    failed = tally.failed_to_download + tally.failed_to_resize
    tally.successes = min(tally.successes, status.rows - status.lost - failed)
    return status


def _add(
    status: Status, of: SegmentStatus, number: int, marker: CommitMarker, retried: RetryList | None
) -> None:
    of.committed += 1
    of.rows += marker.count
    of.tally.merge(marker.tally)
    status.tally.merge(marker.tally)
    status.by_img2dataset += marker.by_img2dataset
    status.lost += marker.count - marker.tally.count
    if retried is None:
        status.rows += marker.count
        return
    reasons = retried.shards[number - of.first_shard]
    assert of.retry_of is not None
    of.retry_of.update(reasons)
    status.tried_again += marker.count
    take_back(status.tally, reasons)


def input_words(segment: Segment) -> str:
    """What the shards of a segment are made from, in a few words."""
    read_from = segment.fingerprint
    files: list[dict[str, Any]] = read_from["files"]
    if list_name(segment) is not None:
        return "retried rows"
    names = files[0]["name"] if len(files) == 1 else f"{len(files):,} files"
    if len(files) > 1:
        names += f", {files[0]['name']} to {files[-1]['name']}"
    if names == "-":
        names = "standard input"
    limit = read_from.get("max_rows")
    return f"{names} ({read_from['format']}{_first(limit)})"


def _first(limit: int | None) -> str:
    return f", first {counted(limit, 'row')}" if limit else ""
