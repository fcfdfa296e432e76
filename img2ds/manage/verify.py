"""`img2ds verify`: every committed shard against its commit marker, on all cores; `--repair`."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from img2ds.core.naming import STATS_SUFFIX
from img2ds.engine.build import BuildSpec, open_build
from img2ds.engine.run_report import RunReport
from img2ds.engine.tar_sizes import tar_sizes_problem
from img2ds.manage.check import ShardCheck
from img2ds.manage.dataset import Dataset
from img2ds.manage.layout import Layout, layout_of, open_stored
from img2ds.manage.options import VerifyOptions
from img2ds.manage.status_page import LISTED, numbers
from img2ds.manage.verdict import Problem
from img2ds.report.console import Labels, Verbosity
from img2ds.report.counters import Counts
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.report.units import counted, duration
from img2ds.storage import OutputFolder
from img2ds.storage.filesystem import as_usage_error


@dataclass(frozen=True, slots=True)
class CheckTask:
    """A shard to check, and the files that there are with its number."""

    shard_id: int
    name: str
    files: dict[str, int | None]


@dataclass(slots=True)
class Findings(Counts):
    """Rows of sound shards and of others, and what is wrong with these.

    `successes` are the rows of sound shards; `reasons` has rows of broken ones.
    """

    broken: dict[int, list[Problem]] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    key_digits: dict[int, int] = field(default_factory=dict)
    shards: int = 0

    def merge(self, other: Counts) -> None:
        Counts.merge(self, other)
        if isinstance(other, Findings):
            self.broken.update(other.broken)
            self.strays += other.strays
            self.key_digits.update(other.key_digits)
            self.shards += other.shards


@dataclass(frozen=True, slots=True)
class CheckWorker:
    """Checks shards one after another: the callable that distributors run."""

    folder: OutputFolder
    layout: Layout
    fast: bool
    decode: bool

    def __call__(self, tasks: Iterator[CheckTask], emit: Callable[[Any], None]) -> None:
        check = ShardCheck(self.folder, self.layout, self.fast, self.decode)
        for task in tasks:
            started = time.monotonic()
            verdict = check.check(task.name, task.files)
            found = Findings(strays=verdict.strays, bytes_received=verdict.read, shards=1)
            if verdict.problems:
                found.broken[task.shard_id] = verdict.problems
                found.drop("broken", verdict.rows)
            else:
                found.successes = verdict.rows
            if verdict.key_digits is not None:
                found.key_digits[task.shard_id] = verdict.key_digits
            emit(Progress(Counts(found.successes, found.bytes_received, Counter(found.reasons))))
            emit(ShardReport(task.shard_id, found, time.monotonic() - started))


@dataclass(slots=True)
class VerifyRun(RunReport):
    """The run over the shards, with what it found."""

    tally: Findings = field(default_factory=Findings)
    labels: Labels = field(default_factory=lambda: Labels("shard", "rows", "rows/s", "sound"))


@dataclass(slots=True)
class VerifyReport:
    """What was found out; `repaired` once the commit markers of broken shards were removed.

    `sizes_json` is what is wrong with the folder's `sizes.json`, None if nothing is.
    """

    dataset: Dataset
    run: VerifyRun
    repaired: bool = False
    sizes_json: str | None = None
    as_json: bool = False

    @property
    def findings(self) -> Findings:
        return self.run.tally

    @property
    def leftovers(self) -> list[int]:
        """Shards with files and no commit marker."""
        return self.dataset.leftovers()

    @property
    def beyond(self) -> list[int]:
        """Committed shards that no input of the manifest has."""
        segments, last = self.dataset.segments, self.dataset.last_shard()
        if not segments:
            return []
        known = {number for segment in segments for number in segment.numbers(last)}
        return [number for number in self.dataset.committed if number not in known]

    @property
    def exit_code(self) -> int:
        if self.run.exit_code:
            return self.run.exit_code
        return 1 if self.findings.broken else 0

    @property
    def text(self) -> str:
        return json.dumps(self.document(), indent=1) if self.as_json else self._page()

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "folder": self.dataset.folder.path,
            "checked": self.findings.shards,
            "of_shards": len(self.dataset.committed),
            "rows": self.findings.count,
            "broken": {
                self.dataset.committed[number]: [
                    {"kind": p.kind, "words": p.message} for p in problems
                ]
                for number, problems in sorted(self.findings.broken.items())
            },
            "not_checked": {
                self.dataset.committed[n]: why for n, why in sorted(self.run.failed.items())
            },
            "stopped": self.run.stopped,
            "repaired": self.repaired,
            "leftovers": self.leftovers,
            "sizes_json": self.sizes_json,
            "stray_files": self.findings.strays,
            "beyond_the_manifest": self.beyond,
        }

    def _page(self) -> str:
        found = self.findings
        lines = []
        for number, problems in sorted(found.broken.items()):
            lines.append(f"shard {self.dataset.committed[number]} is broken")
            lines += [f"  {problem.message}" for problem in problems]
        for number, why in sorted(self.run.failed.items()):
            lines.append(f"shard {self.dataset.committed[number]} could not be checked: {why}")
        seconds = self.run.wall_time
        lines.append(
            f"{counted(found.shards, 'shard')} checked, {counted(found.count, 'row')}, in "
            f"{duration(seconds)}: {len(found.broken) or 'none'} broken"
        )
        if self.leftovers:
            lines.append(f"not finished, rebuilt by the next run: {numbers(self.leftovers)}")
        if self.beyond:
            lines.append(f"not of any input in the manifest: {numbers(self.beyond)}")
        if found.strays:
            more = len(found.strays) - LISTED
            listed = ", ".join(found.strays[:LISTED]) + (f" and {more} more" if more > 0 else "")
            lines.append(f"unrecognized files with a shard's number: {listed}")
        if self.sizes_json is not None:
            lines.append(
                f"{self.sizes_json}: img2ds status --output_folder {self.dataset.folder.path} "
                "--sizes_json rewrites it"
            )
        if self.repaired:
            lines.append(
                "commit markers removed: rerun the command that made the dataset to rebuild the "
                "broken shards"
                if found.broken
                else "nothing to repair"
            )
        elif found.broken:
            lines.append(
                f"to rebuild them: img2ds verify --output_folder {self.dataset.folder.path} "
                "--repair, then the command that made the dataset"
            )
        if self.run.stopped is not None:
            lines.append(
                f"{self.run.stopped}: {len(self.dataset.committed) - found.shards} not checked"
            )
        return "\n".join(lines)


def run(options: VerifyOptions) -> VerifyReport:
    """Check a dataset. Raises UsageError: there is none, or it cannot be checked like this."""
    dataset = Dataset.open(options.output_folder)  # before the folder is locked
    report = VerifyReport(dataset, VerifyRun(), as_json=options.json)
    spec = BuildSpec(
        output_folder=options.output_folder,
        lock=options.repair,
        force=options.force,
        digits=dataset.digits,
        processes_count=options.processes_count,
        verbosity=Verbosity(shards=False),
    )
    with open_build(spec, report.run) as build:
        report.dataset = dataset = Dataset.open(options.output_folder)
        layout = layout_of(dataset)
        if not options.fast:
            open_stored(dataset.folder, "", layout)  # what workers could only fail at
        tasks = [
            CheckTask(number, name, {n: dataset.sizes[n] for n in dataset.files_of(number)})
            for number, name in dataset.committed.items()
        ]
        build.run(CheckWorker(dataset.folder, layout, options.fast, options.decode), tasks)
        _compare_keys(report.findings)
        with as_usage_error(f"read {options.output_folder}"):
            report.sizes_json = tar_sizes_problem(dataset.folder, dataset.sizes)
        if options.repair and not build.lost:
            with as_usage_error(f"repair {options.output_folder}"):
                dataset.folder.remove(
                    dataset.committed[number] + STATS_SUFFIX
                    for number in sorted(report.findings.broken)
                )
            report.repaired = True
    return report


def _compare_keys(findings: Findings) -> None:
    """Report shards whose keys have another width than most: their keys may be another's."""
    widths = Counter(findings.key_digits.values())
    if len(widths) < 2:
        return
    usual = widths.most_common(1)[0][0]
    for number, digits in findings.key_digits.items():
        if digits != usual:
            words = f"its keys have {digits} digits after the shard's, others {usual}"
            findings.broken.setdefault(number, []).append(Problem("wrong_key", words))
