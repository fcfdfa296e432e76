"""The progress of a run for people.

In a terminal, one line that is updated; in a notebook, a bar; in a log file, a line per shard and a
heartbeat with the time.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any, TextIO

from img2ds.report.condition import Condition
from img2ds.report.counters import Counts
from img2ds.report.live_line import LiveLine, TerminalLine
from img2ds.report.log import ForgivingStream, Log
from img2ds.report.notebook_bar import in_notebook, notebook_line
from img2ds.report.run_state import RunState
from img2ds.report.shard_report import ShardReport
from img2ds.report.units import clock, counted, duration, share

#: Failure reasons shown during a run.
TOP_REASONS = 3
#: Seconds between two updates of the live line, and between two heartbeats in a log.
UPDATE_INTERVAL, HEARTBEAT = 0.3, 60.0


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


@dataclass(frozen=True, slots=True)
class Verbosity:
    """What a console shows.

    Attributes:
        shards: whether each shard that is committed gets a line in a log.
        quiet: only warnings and errors are shown.
        logger: the name of the logger that lines go to.
    """

    shards: bool = True
    quiet: bool = False
    logger: str = "img2ds"


class Console:
    """Writes the progress of a run to a stream, in the form that suits it.

    Call `expect` again whenever a better estimate is known.

    Attributes:
        state: how far the run is.
    """

    def __init__(
        self, stream: TextIO, labels: Labels | None = None, verbosity: Verbosity | None = None
    ) -> None:
        verbosity = verbosity or Verbosity()
        self.state = RunState()
        self._stream = ForgivingStream(stream)
        self._log = Log(self._stream, verbosity.logger, verbosity.quiet)
        self._shards_shown = verbosity.shards
        self._labels = labels or Labels()
        self._has_line = not verbosity.quiet and (stream.isatty() or in_notebook())
        self._terminal = stream.isatty()
        self._line: LiveLine | None = None
        self._next_update = 0.0
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def start(self, heartbeat: float = HEARTBEAT) -> None:
        """Start the clock: the first task is about to be given out."""
        self.state.start()
        if self._has_line:
            stream: Any = self._stream
            self._line = TerminalLine(stream) if self._terminal else notebook_line(stream)
        elif self._heart is None:
            self._heart = threading.Thread(
                target=self._beat, args=(heartbeat,), name="heartbeat", daemon=True
            )
            self._heart.start()

    def expect(self, rows: int | None, shards: int | None) -> None:
        """Set how many rows and shards this run has to make; None if unknown."""
        self.state.rows_expected, self.state.shards_expected = rows, shards

    def progress(
        self, tally: Counts, condition: Condition | None = None, resumed: bool = False
    ) -> None:
        """Add rows that ended in a worker.

        Args:
            condition: what bounds the run; what stops it gets a line that stays.
            resumed: whether they ended in an earlier run.
        """
        state = self.state
        state.progress(tally, resumed)
        if condition is not None and condition != state.condition:
            if condition.waits:
                self.warn(condition.fact)
            elif state.condition.waits:
                self.warn(f"over: {state.condition.text.partition(';')[0]}")
            state.condition = condition
        now = time.monotonic()
        if self._line is not None and now >= self._next_update:
            self._next_update = now + UPDATE_INTERVAL
            self._line.draw(self._facts(), state.share_done)

    def shard(self, name: str, report: ShardReport[Any]) -> None:
        """Report the end of a shard."""
        noun = self._labels.shard
        if report.later is not None:
            if not self._has_line and self._shards_shown and report.tally.count:
                done = counted(report.tally.count, "row")
                self.note(f"{noun} {name} saved as a partial shard: {done}")
            return
        if report.error is not None:
            self.state.failed_shards += 1
            self.warn(f"{noun} {name} failed: {report.error}")
            return
        self.state.commit(report.tally)
        if not self._has_line and self._shards_shown:
            self.note(self._shard_line(name, report.tally))

    def note(self, line: str, dated: bool = False) -> None:
        """Print a line that stays.

        Args:
            dated: whether it begins with the time in a log.
        """
        self._print(line, logging.INFO, dated)

    def warn(self, line: str) -> None:
        """Print a line that stays, and that is shown even by a quiet console."""
        self._print(line, logging.WARNING)

    def complete(self) -> None:
        """All shards are committed: what was estimated is known now."""
        state = self.state
        if self._line is None or not state.live.count:
            return
        state.rows_expected = state.live.count
        state.shards_expected = state.shards
        self._line.draw(self._facts(), 1.0)

    def close(self) -> None:
        """Leave the live line as it is, and end the heartbeat."""
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
            self._heart = None
        if self._line is not None:
            self._line.close()
            self._line = None

    def _print(self, line: str, level: int, dated: bool = False) -> None:
        if self._line is not None:
            self._line.hide()
        self._log.write(line, level, dated and not self._has_line)
        if self._line is not None and self.state.live.count:
            self._line.draw(self._facts(), self.state.share_done)

    def _beat(self, interval: float) -> None:
        while not self._ended.wait(interval):
            self._log.write(self._heartbeat_line(), dated=True)

    def _facts(self) -> list[str]:
        """Return what the live line says, the most important first."""
        state, labels = self.state, self._labels
        rows = max(state.live.count, 1)
        facts = [_progress(state, labels)]
        if state.shards_expected is None:
            facts.append(counted(state.shards, labels.shard))
        else:
            facts.append(f"{state.shards:,}/{counted(state.shards_expected, labels.shard)}")
        left = "" if state.seconds_left is None else f"<{clock(state.seconds_left)}"
        return [
            *facts,
            f"{clock(state.seconds)}{left}",
            f"{state.recent:,.0f} {labels.rate} (avg {state.average:,.0f})",
            f"{100 * state.live.successes / rows:.0f}% {labels.good}",
            f"{state.recent_bytes / 1e6:.1f} MB/s",
            *filter(None, (state.condition.fact,)),
            *(
                f"{reason} {100 * times / rows:.0f}%"
                for reason, times in state.live.reasons.most_common(TOP_REASONS)
            ),
        ]

    def _heartbeat_line(self) -> str:
        state, labels = self.state, self._labels
        live = state.live
        done = f"{live.count:,} rows"
        if state.share_done is not None:
            total = f"{_about(state)}{state.rows_expected:,}"
            done = f"{100 * state.share_done:.1f} %: {live.count:,} of {total} rows"
        facts = [
            f"{done}, {self._shards_done()}",
            f"{state.recent:,.0f} {labels.rate} (average {state.average:,.0f})",
            f"{share(live.successes, live.count)} {labels.good}",
            f"{state.recent_bytes / 1e6:.1f} MB/s",
            *filter(None, (state.condition.fact,)),
            *_top(live),
        ]
        if state.seconds_left is not None:
            facts.append(f"{duration(state.seconds_left)} left")
        return "; ".join([facts[0], ", ".join(facts[1:])])

    def _shard_line(self, name: str, tally: Counts) -> str:
        state, labels = self.state, self._labels
        good = share(tally.successes, tally.count)
        rows = counted(tally.count, labels.rows.removesuffix("s"))
        facts = [f"{tally.successes:,} of {rows} ({good})", *_top(tally)]
        rate = f"{state.committed.successes / state.seconds:,.0f} {labels.rate}"
        line = f"{labels.shard} {name}: {', '.join(facts)}; {self._shards_done()}, {rate}"
        if state.rows_expected:
            left = state.seconds * (state.rows_expected / max(state.committed.count, 1) - 1)
            line += f", {duration(max(left, 0))} left"
        return line

    def _shards_done(self) -> str:
        state, noun = self.state, self._labels.shard
        if state.shards_expected is None:
            return counted(state.shards, noun)
        return f"{state.shards:,} of {counted(state.shards_expected, noun)}"


def _progress(state: RunState, labels: Labels) -> str:
    if state.share_done is None or state.rows_expected is None:
        return f"{state.live.count:,} rows"
    # Never 100 % before the end: the number of rows may be an estimate, and shards be rebuilt.
    percent = min(100 * state.share_done, 99 if state.live.count < state.rows_expected else 100)
    total = max(state.rows_expected, state.live.count)
    return f"{percent:.0f}% {state.live.count:,}/{_about(state)}{total:,}"


def _about(state: RunState) -> str:
    """The mark of an estimate: a list that has not been read to its end."""
    return "~" if state.shards_expected is None else ""


def _top(tally: Counts) -> list[str]:
    return [
        f"{reason} {share(times, tally.count)}"
        for reason, times in tally.reasons.most_common(TOP_REASONS)
    ]
