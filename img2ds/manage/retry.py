"""`img2ds retry`: download rows that failed again, as a run of its own into the same folder.

The rows are written to a list in the folder, the input of a further segment; see `retried`.
Committed shards stay as they are. A row is listed once: its outcome in the retry counts, and if it
failed there too, a further retry lists the retry's row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from img2ds.config.options import FLAGS, Options
from img2ds.core.failure import Retryability, UsageError, retryability
from img2ds.core.naming import format_names
from img2ds.core.state import retry_of_file
from img2ds.downloader import job
from img2ds.downloader.planner import open_input
from img2ds.downloader.retried_rows import list_name
from img2ds.engine.build import hold_folder
from img2ds.engine.manifest import Segment
from img2ds.manage import status
from img2ds.manage.dataset import RESHARDED, Dataset
from img2ds.manage.failed import failed_rows
from img2ds.manage.options import RetryOptions
from img2ds.manage.retried import RetryList
from img2ds.manage.retry_list import write_list
from img2ds.report.units import counted
from img2ds.storage import move_state
from img2ds.storage.filesystem import as_usage_error


@dataclass(frozen=True, slots=True)
class RetryReport:
    """What came of it; `rows` were tried, `report` is None where there were none."""

    rows: int
    report: job.Report | None
    nothing_done: str = ""

    @property
    def exit_code(self) -> int:
        return 0 if self.report is None else self.report.exit_code

    @property
    def text(self) -> str:
        return self.nothing_done if self.report is None else job.describe(self.report)


def run(options: RetryOptions) -> RetryReport:
    """Download the failed rows again. Blocks until that is done or stopped.

    Raises:
        UsageError: it cannot be done; nothing was downloaded.
    """
    own = options.own
    dataset = Dataset.open(own.output_folder)
    run_options = _run_options(options, dataset)
    if run_options.run.dry_run:
        return _dry_run(options, dataset)
    job.check(run_options)  # finding the rows can take minutes
    folder = dataset.folder
    with hold_folder(folder, own.force) as lock:
        dataset = Dataset.open(own.output_folder)  # as it is now that the lock is held
        dataset.folder = folder
        with as_usage_error(f"use the folder {own.output_folder}"):
            move_state(folder)
            found = _unfinished(options, dataset) or _new_list(options, dataset, run_options)
        if lock.lost:
            raise UsageError("another run took the folder over")
    if found is None:
        words = "nothing to retry: no row failed for " + (
            " or ".join(own.reasons) if own.reasons else "a transient reason"
        )
        return RetryReport(0, None, words)
    provenance = {"retry": {"list": found.name, "reasons": list(found.reasons)}}
    with as_usage_error(f"read the list of {own.output_folder}"):
        files = found.inputs(folder)
    report = job.run(run_options, provenance, open_input(run_options.input, files))
    report.shortfall = None  # the rows were tried once more, which is all that was asked
    return RetryReport(found.rows, report)


def _run_options(options: RetryOptions, dataset: Dataset) -> Options:
    """Return the options of the folder with the flags given: same output, another way to fetch.

    Their input is a placeholder.
    """
    flags = {
        **_folder_flags(dataset),
        **options.shared,
        "url_list": "list",
        "input_format": "parquet",
        "output_folder": options.own.output_folder,
        "incremental_mode": "extend",
        "tmp_dir": options.own.tmp_dir,
        "force": options.own.force,
    }
    built = Options.from_flags(flags)
    if built.shard_identity() != dataset.options:
        now = built.shard_identity()
        differing = [name for name in {**now, **dataset.options}
                     if now.get(name) != dataset.options.get(name)]  # fmt: skip
        raise UsageError(
            f"{dataset.folder.path} was made by a version of img2ds that understands "
            f"{', '.join(differing)} differently: use that version"
        )
    return built


def _folder_flags(dataset: Dataset) -> dict[str, Any]:
    """Return the flags that the shards of a folder were made with, by its manifest."""
    path = dataset.folder.path
    if not dataset.segments:
        raise UsageError(
            f"{path} has no record of the options it was made with (img2dataset keeps none): run "
            "img2ds once with the flags and the list that made it; this writes the record and "
            "keeps all shards"
        )
    if format_names(dataset.output_format).suffix is None:
        raise UsageError(
            f"{path} has shards of format {dataset.output_format}, which keep no rows to retry"
        )
    last = dataset.segments[-1]
    if last.fingerprint["format"] == RESHARDED:
        raise UsageError(
            f"{path} was made by img2ds reshard and has no failed rows: retry in the folder that "
            "it was packed from"
        )
    if last.shard_count is None:
        raise UsageError(
            f"the last input of {path} was never read to its end, so it is unknown where its "
            "shards end: finish it first, with the command that made it"
        )
    identity = dict(dataset.options)
    flags: dict[str, Any] = {"caption_col": "caption" if identity.pop("captions") else None}
    unknown = [name for name in identity if name not in FLAGS]
    if unknown:
        raise UsageError(f"{path} was made by a newer img2ds, with --{unknown[0]}: use that one")
    verify = identity["verify_hash"]
    if verify and verify[0] not in identity["save_additional_columns"]:
        raise UsageError(
            f"{path} was made with --verify_hash, and its column {verify[0]} was not saved "
            "(--save_additional_columns): its rows cannot be verified again"
        )
    return {**flags, **identity}


def _wants(options: RetryOptions) -> Callable[[str], bool]:
    chosen = frozenset(options.own.reasons)
    if chosen:
        return chosen.__contains__
    return lambda reason: retryability(reason) is not Retryability.PERMANENT


def _dry_run(options: RetryOptions, dataset: Dataset) -> RetryReport:
    with as_usage_error(f"read {options.own.output_folder}"):
        counts: Mapping[str, int] = status.look(dataset).tally.reasons
    wants = _wants(options)
    chosen = {reason: times for reason, times in counts.items() if wants(reason)}
    lines = [f"  {reason:<24} {times:>12,}" for reason, times in chosen.items()]
    total = counted(sum(chosen.values()), "row")
    return RetryReport(0, None, "\n".join([*lines, f"{total} to retry; nothing was done"]))


def _missing(dataset: Dataset, segment: Segment) -> bool:
    return any(n not in dataset.committed for n in segment.numbers(dataset.last_shard()))


def _unfinished(options: RetryOptions, dataset: Dataset) -> RetryList | None:
    """Return the list of a retry that was stopped, to resume it."""
    for segment in dataset.segments:
        name = list_name(segment)
        if name is None or not _missing(dataset, segment):
            continue
        found = RetryList.read(dataset.folder, name)
        if not options.own.reasons or set(options.own.reasons) == set(found.reasons):
            print("resuming the unfinished retry", file=sys.stderr)
            return found
        if not any(n in dataset.committed for n in segment.numbers(dataset.last_shard())):
            continue  # nothing came of it
        of = ",".join(found.reasons) or "transient reasons"
        raise UsageError(
            f"a retry of other reasons ({of}) is not finished: run img2ds retry without --reasons "
            "to finish it, then rerun this command"
        )
    return None


def _new_list(options: RetryOptions, dataset: Dataset, run_options: Options) -> RetryList | None:
    """Find the rows and write their list; None without any. Raises UsageError, OSError."""
    folder = dataset.folder
    wants = _wants(options)
    by_name = {name: s for s in dataset.segments if (name := list_name(s)) is not None}
    # A retry without a committed shard is not resumed, see `open_manifest`.
    kept = [
        RetryList.read(folder, name)
        for name, segment in by_name.items()
        if any(n in dataset.committed for n in segment.numbers(dataset.last_shard()))
    ]
    names = {retry.name for retry in kept}
    there = {file: retry_of_file(file) for file in folder.names()}
    folder.remove(file for file, of in there.items() if of is not None and of not in names)
    shards = []
    for number, marker in dataset.markers():
        if isinstance(marker, ValueError):
            raise UsageError(
                f"the commit marker of shard {dataset.committed[number]} is damaged ({marker}): "
                f"img2ds verify --output_folder {folder.path} --repair"
            )
        # img2dataset's messages are counted up to a limit: there only the table knows.
        if marker.by_img2dataset or any(map(wants, marker.tally.reasons)):
            shards.append((number, dataset.committed[number]))
    print(f"looking for rows to retry in {counted(len(shards), 'shard')}", file=sys.stderr)
    per_shard = run_options.output.number_sample_per_shard
    columns = list(run_options.input.columns)
    tables = failed_rows(folder, shards, columns, wants, kept, per_shard)
    number = max((int(name) for name in names if name.isdigit()), default=0) + 1
    found = write_list(folder, f"{number:04d}", options.own.reasons, tables, per_shard)
    if found is not None:
        print(f"trying {counted(found.rows, 'row')} again", file=sys.stderr)
    return found
