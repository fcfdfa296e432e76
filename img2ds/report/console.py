"""The progress of a run for people: one updated line in a terminal, a line per shard in a log."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any, TextIO, cast

from tqdm import tqdm

from img2ds.report.condition import Condition
from img2ds.report.counters import Counts
from img2ds.report.shard_report import ShardReport
from img2ds.report.units import counted, duration, share

#: Failure reasons shown during a run.
TOP_REASONS = 3
# No bar is drawn: in 80 columns the reasons are worth more. tqdm puts a comma before the postfix.
_LINE = "{percentage:.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}"
_LINE_WITHOUT_TOTAL = "{n_fmt} rows [{elapsed}]{postfix}"


@dataclass(frozen=True, slots=True)
class Labels:
    """The words for what a run makes.

    Attributes:
        shard: one of the things that are committed.
        rows: the things that are counted.
        rate: their rate.
        good: a success.
        stop: what a stop does to the things in flight; None if they are finished.
    """

    shard: str = "shard"
    rows: str = "images"
    rate: str = "img/s"
    good: str = "ok"
    stop: str | None = None


class _ForgivingStream:
    """A stream whose errors are ignored: a closed terminal or a full disk ends no run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Console:
    """Writes the progress of a run to a stream, in the form that suits a terminal or a log file.

    Call `expect` again whenever a better estimate is known. With `quiet` only shards that fail get
    a line.
    """

    def __init__(self, stream: TextIO, labels: Labels | None = None, quiet: bool = False) -> None:
        self._quiet = quiet
        # tqdm finds the terminal's size by the stream's attributes, which the wrapper passes on.
        self._stream = cast(TextIO, _ForgivingStream(stream))
        self._labels = labels or Labels()
        self._terminal = stream.isatty()
        self._bar: tqdm[None] | None = None
        self._live = Counts()
        self._condition = Condition()
        self._committed = Counts()
        self._started = time.monotonic()
        self._rows: int | None = None
        self._shards = 0
        self._expected_shards: int | None = None

    def start(self) -> None:
        """Start the clock: the first task is about to be given out."""
        self._started = time.monotonic()
        if self._terminal:
            self._bar = tqdm(
                file=self._stream,
                bar_format=_LINE_WITHOUT_TOTAL,
                dynamic_ncols=True,
                mininterval=0.3,
            )

    def expect(self, rows: int | None, shards: int | None) -> None:
        """Set how many rows and shards this run has to make; None if unknown."""
        self._rows, self._expected_shards = rows, shards
        if self._bar is not None and rows is not None and rows != self._bar.total:
            self._bar.total = max(rows, self._bar.n)
            self._bar.bar_format = _LINE

    def progress(self, tally: Counts, condition: Condition | None = None) -> None:
        """Add rows that ended in a worker.

        Args:
            condition: what bounds the run; what stops it gets a line that stays.
        """
        self._live.merge(tally)
        if condition is not None and condition != self._condition:
            if condition.waits:
                self.note(condition.fact)
            elif self._condition.waits:
                self.note(f"over: {self._condition.text.partition(';')[0]}")
            self._condition = condition
        if self._bar is None:
            return
        seconds = max(time.monotonic() - self._started, 1e-3)
        live = self._live
        facts = [
            f"{live.successes / seconds:.0f} {self._labels.rate}",
            f"{100 * live.successes / max(live.count, 1):.0f}% {self._labels.good}",
            f"{live.bytes_received / 1e6 / seconds:.1f} MB/s",
            *filter(None, (self._condition.fact,)),
            *(
                f"{reason} {100 * times / max(live.count, 1):.0f}%"
                for reason, times in live.reasons.most_common(TOP_REASONS)
            ),
        ]
        self._bar.set_postfix_str(", ".join(facts), refresh=False)
        self._bar.update(tally.count)

    def shard(self, name: str, report: ShardReport[Any]) -> None:
        """Report the end of a shard."""
        if report.later is not None:
            if not self._terminal and not self._quiet and report.tally.count:
                done = counted(report.tally.count, "row")
                self.note(f"{self._labels.shard} {name} saved as a partial shard: {done}")
            return
        if report.error is not None:
            self.note(f"{self._labels.shard} {name} failed: {report.error}")
        else:
            self._shards += 1
            self._committed.merge(report.tally)
        if self._terminal or self._quiet or report.error is not None:
            return
        tally = report.tally
        done = counted(self._shards, self._labels.shard)
        if self._expected_shards is not None:
            done = f"{self._shards} of {counted(self._expected_shards, self._labels.shard)}"
        good = share(tally.successes, tally.count)
        facts = [f"{tally.successes} of {tally.count} {self._labels.rows} ({good})", *_top(tally)]
        seconds = max(time.monotonic() - self._started, 1e-3)
        rate = f"{self._committed.successes / seconds:.0f} {self._labels.rate}"
        line = f"{self._labels.shard} {name}: {', '.join(facts)}; {done}, {rate}"
        if self._rows:
            left = seconds * (self._rows / max(self._committed.count, 1) - 1)
            line += f", {duration(max(left, 0))} left"
        print(line, file=self._stream, flush=True)

    def note(self, line: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._bar.clear()
        print(line, file=self._stream, flush=True)
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """Leave the terminal's line as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _top(tally: Counts) -> list[str]:
    return [
        f"{reason} {share(times, tally.count)}"
        for reason, times in tally.reasons.most_common(TOP_REASONS)
    ]
