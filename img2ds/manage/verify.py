"""`img2ds verify`: every committed shard against its commit marker, on all cores; `--repair`."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import STATS_SUFFIX
from img2ds.engine.distributors.factory import open_distributor
from img2ds.engine.runner import Runner, RunReport
from img2ds.engine.stop import StopSwitch
from img2ds.manage.check import ShardCheck
from img2ds.manage.dataset import Dataset, span
from img2ds.manage.layout import Layout, layout_of, open_stored
from img2ds.manage.options import VerifyOptions
from img2ds.manage.status_page import LISTED, numbers
from img2ds.manage.verdict import Problem
from img2ds.report.console import Console, Labels, counted, duration
from img2ds.report.counters import Counts
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.storage import FolderLock, OutputFolder
from img2ds.storage.filesystem import said_plainly

#: Times a shard is checked again whose worker died.
_RETRIES = 1


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


class _Quiet(Console):
    """Says nothing of a shard that came to its end: all is said at the end."""

    def shard(self, name: str, report: ShardReport[Any]) -> None:
        if report.error is not None:
            super().shard(name, report)


class _NoLock:
    """In place of a folder's lock, for looking alone."""

    lost = False

    def release(self) -> None:
        pass

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass(slots=True)
class VerifyReport:
    """What was found out. `committed` are the shards there were to check, by name.

    Attributes:
        leftovers: shards with files and no commit marker.
        beyond: committed shards that no input of the manifest has.
        repaired: whether the commit markers of broken shards were removed.
    """

    folder: str
    committed: dict[int, str]
    run: RunReport
    findings: Findings
    leftovers: list[int] = field(default_factory=list)
    unrecognized: list[str] = field(default_factory=list)
    beyond: list[int] = field(default_factory=list)
    repaired: bool = False
    as_json: bool = False

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
            "folder": self.folder,
            "checked": self.findings.shards,
            "of_shards": len(self.committed),
            "rows": self.findings.count,
            "broken": {
                self.committed[number]: [{"kind": p.kind, "words": p.message} for p in problems]
                for number, problems in sorted(self.findings.broken.items())
            },
            "not_checked": {self.committed[n]: why for n, why in sorted(self.run.failed.items())},
            "stopped": self.run.stopped,
            "repaired": self.repaired,
            "leftovers": self.leftovers,
            "stray_files": self.findings.strays,
            "beyond_the_manifest": self.beyond,
        }

    def _page(self) -> str:
        found = self.findings
        lines = []
        for number, problems in sorted(found.broken.items()):
            lines.append(f"shard {self.committed[number]} is broken")
            lines += [f"  {problem.message}" for problem in problems]
        for number, why in sorted(self.run.failed.items()):
            lines.append(f"shard {self.committed[number]} could not be checked: {why}")
        seconds = self.run.wall_time
        lines.append(
            f"{counted(found.shards, 'shard')} checked, {counted(found.count, 'row')}, in "
            f"{duration(seconds)}: {len(found.broken) or 'none'} broken"
        )
        if self.leftovers:
            lines.append(
                f"begun and never finished, to be made again by the next run: "
                f"{numbers(self.leftovers)}"
            )
        if self.beyond:
            lines.append(f"of no input that the manifest has: {numbers(self.beyond)}")
        if found.strays:
            more = len(found.strays) - LISTED
            listed = ", ".join(found.strays[:LISTED]) + (f" and {more} more" if more > 0 else "")
            lines.append(f"with the number of a shard, and not part of it: {listed}")
        if self.repaired:
            lines.append(
                "their marks are removed: the command that made them makes them again"
                if found.broken
                else "there is nothing to repair"
            )
        elif found.broken:
            lines.append(
                "to have them made again: img2ds verify "
                f"--output_folder {self.folder} --repair, then the command that made them"
            )
        if self.run.stopped is not None:
            lines.append(f"{self.run.stopped}: {len(self.committed) - found.shards} not checked")
        return "\n".join(lines)


def run(options: VerifyOptions) -> VerifyReport:
    """Check a data set. Raises UsageError: there is none, or it cannot be checked like this."""
    started = time.monotonic()
    with ExitStack() as stack:
        lock: FolderLock = _NoLock()
        Dataset.open(options.output_folder)  # what is no data set is not locked, nor written to
        if options.repair:
            folder = OutputFolder.open(options.output_folder)
            lock = stack.enter_context(folder.lock(options.force))
            stack.callback(folder.close)
        dataset = Dataset.open(options.output_folder)
        layout = layout_of(dataset)
        if not options.fast:
            open_stored(dataset.folder, "", layout)  # what workers could only fail at
        report = RunReport(dataset.folder.path, tally=Findings())
        stop = stack.enter_context(StopSwitch())
        console = _Quiet(sys.stderr, Labels("shard", "rows", "rows/s", "sound"))
        stack.callback(console.close)
        tasks = [
            CheckTask(number, name, {n: dataset.sizes[n] for n in dataset.files_of(number)})
            for number, name in dataset.committed.items()
        ]
        _check(options, dataset, layout, tasks, report, stop, lock, console)
        findings = report.tally
        assert isinstance(findings, Findings)
        _compare_keys(findings)
        last = dataset.last_shard()
        known = {number for segment in dataset.segments for number in span(segment, last)}
        result = VerifyReport(
            dataset.folder.path, dataset.committed, report, findings, dataset.leftovers(),
            beyond=[n for n in dataset.committed if n not in known] if dataset.segments else [],
            as_json=options.json,
        )  # fmt: skip
        if options.repair and not lock.lost:
            with said_plainly(f"repair {options.output_folder}"):
                names = [dataset.committed[n] + STATS_SUFFIX for n in sorted(findings.broken)]
                dataset.folder.remove(names)
            result.repaired = True
    report.wall_time = time.monotonic() - started
    return result


def _check(
    options: VerifyOptions,
    dataset: Dataset,
    layout: Layout,
    tasks: list[CheckTask],
    report: RunReport,
    stop: StopSwitch,
    lock: FolderLock,
    console: Console,
) -> None:
    runner = Runner(
        report,
        CheckWorker(dataset.folder, layout, options.fast, options.decode),
        stop,
        lock,
        console,
        lambda number: dataset.committed[number],
        lambda: console.expect(
            round(report.tally.count * len(tasks) / max(report.shards_committed, 1)) or None,
            len(tasks),
        ),
        Labels("shard", "rows", "rows/s", "sound"),
    )
    distributor = open_distributor("multiprocessing", options.processes_count)
    try:
        runner.run(distributor, iter(tasks), _RETRIES)
    except OSError as error:
        raise UsageError(f"cannot start worker processes: {error}") from None


def _compare_keys(findings: Findings) -> None:
    """Keys of all shards have one width: else those of two shards may be the same."""
    widths = Counter(findings.key_digits.values())
    if len(widths) < 2:
        return
    usual = widths.most_common(1)[0][0]
    for number, digits in findings.key_digits.items():
        if digits != usual:
            words = f"its keys have {digits} digits behind the shard's, others {usual}"
            findings.broken.setdefault(number, []).append(Problem("wrong_key", words))
