"""The line that is updated in place: it fits, and leaves nothing behind when it gets narrower."""

from __future__ import annotations

import io
import logging
import threading
import time

import pytest

from img2ds.report.console import Console, Verbosity
from img2ds.report.counters import Counts
from img2ds.report.live_line import TerminalLine, fitting
from img2ds.report.notebook_bar import TextLine, in_notebook
from img2ds.report.run_state import Rate
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally


class Screen:
    """A terminal: it keeps rows, breaks long lines, and knows the few codes that are used."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows = [""]
        self.row = 0

    def resize(self, columns: int) -> None:
        """As terminals do: what does not fit is broken into rows."""
        self.columns = columns
        rows = []
        for row in self.rows:
            pieces = [row[at : at + columns] for at in range(0, len(row), columns)]
            rows += pieces or [""]
        self.rows, self.row = rows, len(rows) - 1

    def write(self, text: str) -> None:
        while text:
            if text.startswith("\x1b["):
                code, at = next((c, text.index(c)) for c in "AJ" if c in text)
                if code == "A":
                    self.row -= int(text[2:at])
                else:
                    self.rows[self.row :] = [""]
                text = text[at + 1 :]
            elif text[0] == "\n":
                self.rows.append("")
                self.row, text = self.row + 1, text[1:]
            elif text[0] == "\r":
                text = text[1:]
            else:
                self.rows[self.row] += text[0]
                assert len(self.rows[self.row]) < self.columns, "it would break"
                text = text[1:]

    def flush(self) -> None: ...


def test_it_leaves_nothing_behind_when_the_terminal_gets_narrower() -> None:
    screen = Screen(40)
    line = TerminalLine(screen, lambda: screen.columns)  # type: ignore[arg-type]
    facts = ["50% 100/200", "1/2 shards", "12 img/s", "97% ok"]
    line.draw(facts, 0.5)
    assert screen.rows == ["50% 100/200, 1/2 shards, 12 img/s"]
    screen.resize(13)
    assert len(screen.rows) == 3
    line.draw(facts, 0.5)
    assert screen.rows == ["50% 100/200"]
    screen.resize(60)
    line.draw(facts, 0.5)
    assert screen.rows == [", ".join(facts)]
    line.hide()
    screen.write("a note\n")
    line.draw(facts, 0.5)
    line.close()
    assert screen.rows == ["a note", ", ".join(facts), ""]


@pytest.mark.parametrize(("width", "text"), [(99, "a, bb"), (5, "a, bb"), (4, "a"), (1, "a")])
def test_facts_that_do_not_fit_are_left_out(width: int, text: str) -> None:
    assert fitting(["a", "bb"], width) == text


def test_a_first_fact_that_is_too_long_is_cut() -> None:
    assert fitting(["100%"], 2) == "10"


def test_the_recent_rate_forgets() -> None:
    rate = Rate(10.0, 0.0)
    assert rate.at(0.0) == 0
    for second in range(1, 21):
        rate.add(100.0 * second, float(second))
    assert rate.at(20.0) == pytest.approx(100)
    for second in range(21, 31):
        rate.add(2000.0, float(second))
    assert rate.at(30.0) == 0
    assert rate.at(1000.0) == 0


def test_a_short_run_has_a_rate() -> None:
    rate = Rate(10.0, 0.0)
    rate.add(50.0, 2.0)
    assert rate.at(2.0) == 25


def test_a_line_of_text_for_notebooks_without_widgets() -> None:
    stream = io.StringIO()
    line = TextLine(stream)
    line.draw(["100 rows", "12 img/s"], None)
    line.draw(["110 rows"], None)
    line.hide()
    line.close()
    assert stream.getvalue() == (
        "\r100 rows, 12 img/s" + "\r110 rows".ljust(19) + "\r" + " " * 8 + "\r"
    )
    assert not in_notebook()


class Beats(io.StringIO):
    """A log that is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


def counts(good: int, **reasons: int) -> Tally:
    found = Tally()
    for _ in range(good):
        found.add_success(1)
    for reason, times in reasons.items():
        found.drop(reason, times)
    return found


def test_a_log_has_a_heartbeat_with_the_time() -> None:
    stream = Beats()
    console = Console(stream)
    console.expect(200, 2)
    console.start(heartbeat=0.01)
    assert stream.written.wait(60)
    console.close()
    console.close()
    first = stream.getvalue().splitlines()[0]
    time.strptime(first[:19], "%Y-%m-%d %H:%M:%S")
    assert first[20:] == (
        "0.0 %: 0 of 200 rows, 0 of 2 shards; 0 img/s (average 0), - % ok, 0.0 MB/s"
    )


def test_the_line_ends_at_100_percent() -> None:
    """The number of rows of a text list is an estimate, and shards can be rebuilt."""
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    console = Console(screen)
    console.start()
    console.expect(1000, None)
    console.progress(counts(90, http_404=10))
    console.shard("00000", ShardReport(0, counts(90, http_404=10), 1.0))
    console.complete()
    console.close()
    assert "\x1b[J100% 100/100, 1/1 shard, " in screen.getvalue()
    assert screen.getvalue().endswith("\n")


def test_a_quiet_console_warns_only() -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    console = Console(stream, verbosity=Verbosity(quiet=True))
    console.start()
    console.note("a note")
    console.progress(Counts(successes=1))
    console.shard("00000", ShardReport(0, counts(1), 1.0))
    console.shard("00001", ShardReport(1, counts(1), 1.0, error="disk full"))
    console.close()
    assert stream.getvalue() == "shard 00001 failed: disk full\n"


def test_lines_go_to_logging_where_it_is_set_up(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    with caplog.at_level(logging.INFO, logger="laion"):
        console = Console(stream, verbosity=Verbosity(logger="laion"))
        console.note("began", dated=True)
        console.warn("a shard was lost")
        Console(stream).note("not for the logger of laion")
    assert [(r.name, r.levelname, r.message) for r in caplog.records] == [
        ("laion", "INFO", "began"),
        ("laion", "WARNING", "a shard was lost"),
    ]
    assert stream.getvalue() == "not for the logger of laion\n"
