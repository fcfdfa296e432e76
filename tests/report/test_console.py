"""The console output: in a terminal, in a log file, at the end."""

from __future__ import annotations

import io
import time

import pytest

from img2ds.core.failure import Failure, Reason, failure
from img2ds.report.console import Console
from img2ds.report.shard_report import ShardReport
from img2ds.report.summary import hints, speed, table
from img2ds.report.tally import Tally
from img2ds.report.units import (
    clock,
    counted,
    duration,
    effort,
    percent,
    share,
    size,
    three_digits,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tally(good: int, **failures: int) -> Tally:
    found = Tally()
    for _ in range(good):
        found.add_success(1000)
    for reason, times in failures.items():
        for _ in range(times):
            found.add_failure(Failure(reason, reason))
    found.bytes_received = 5000 * good
    return found


@pytest.fixture(autouse=True)
def ten_seconds_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which ten seconds have always passed since the start."""
    times = iter([0.0, 0.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times, 10.0))


def test_a_log_gets_a_line_a_shard() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.start()
    console.expect(400, 4)
    console.progress(tally(50))
    console.shard("00000", ShardReport(0, tally(90, http_404=9, dns_not_found=1), 2.0))
    console.close()
    assert stream.getvalue() == (
        "shard 00000: 90 of 100 images (90.0 %), http_404 9.0 %, dns_not_found 1.0 %; "
        "1 of 4 shards, 9 img/s, 30 s left\n"
    )


def test_a_broken_shard_is_reported() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.start()
    console.shard("00007", ShardReport(7, tally(1), 2.0, error="no space left"))
    assert stream.getvalue() == "shard 00007 failed: no space left\n"


def test_a_terminal_gets_one_living_line() -> None:
    stream = Terminal()
    console = Console(stream)
    console.start()
    console.expect(200, 2)
    failures = {"http_404": 9, "dns_not_found": 5, "stalled": 4, "not_an_image": 2}
    console.progress(tally(80, **failures))
    console.shard("00000", ShardReport(0, tally(80), 2.0))
    console.note("a note")
    console.close()
    last = stream.getvalue().split("\r")[-1]
    assert last.startswith("50% 100/200, 1/2 shards, 0:10<0:10, 8 img/s (avg 8), 80% ok,")
    assert "not_an_image" not in last
    assert "shard 00000" not in stream.getvalue()
    assert "a note\n" in stream.getvalue()


def test_the_table_adds_up() -> None:
    lines = table(tally(9000, http_404=900, not_an_image=100)).splitlines()
    rows = {line[:20].strip(): line[20:].rsplit(maxsplit=2) for line in lines[1:]}
    assert {
        name: (words[0].strip().replace(",", ""), words[1]) for name, words in rows.items()
    } == {
        "success": ("9000", "90.0"),
        "failed_to_download": ("900", "9.0"),
        "http_404": ("900", "9.0"),
        "failed_to_resize": ("100", "1.0"),
        "not_an_image": ("100", "1.0"),
        "total": ("10000", "100.0"),
    }
    assert len({len(line) for line in lines}) == 1


def test_rates() -> None:
    line = speed(tally(2000), wall=8.0, cpu=5.0)
    assert line == (
        "2,000 images in 8 s: 250 img/s, 2.50 ms CPU per image; "
        "10.0 MB received (1.25 MB/s), 2.00 MB of images written"
    )
    line = speed(tally(0, http_404=1), wall=1.0, cpu=1.0)
    assert line == (
        "0 images in 1 s: 0 img/s; 0 bytes received (0 bytes/s), 0 bytes of images written"
    )


def test_rows_of_partial_shards_count_for_no_rate() -> None:
    line = speed(tally(2000), wall=8.0, cpu=5.0, resumed=tally(1200))
    assert line == (
        "800 images in 8 s: 100 img/s, 6.25 ms CPU per image; 4.00 MB received (500 kB/s); "
        "1,200 more images were in partial shards"
    )
    console = Console(Terminal())
    console.start()
    console.expect(2000, 2)
    console.progress(tally(1200), resumed=True)
    console.progress(tally(80))
    state = console.state
    assert (state.average, state.recent, state.recent_bytes) == (8, 8, 40_000)
    assert (state.share_done, state.seconds_left) == (0.64, 90)


def test_hints_for_reasons_that_stand_out() -> None:
    assert hints(tally(100, dns_timeout=2)) == []
    (hint,) = hints(tally(80, dns_timeout=20))
    assert "--dns_servers" in hint
    (fault,) = hints(tally(1000, internal_error=1))
    assert "report" in fault


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_place_in_the_table(reason: Reason) -> None:
    found = Tally()
    found.add_failure(failure(reason))
    text = table(found)
    assert f"  {reason.value} " in text


def test_formatting() -> None:
    assert [share(1, 3), share(0, 0)] == ["33.3 %", "- %"]
    assert [counted(1, "shard"), counted(12000, "shard")] == ["1 shard", "12,000 shards"]
    assert counted(2, "process") == "2 processes"
    assert [clock(7), clock(754), clock(11045)] == ["0:07", "12:34", "3:04:05"]
    assert [effort(value) for value in (29.34e-6, 1.5e-3, 0.1234, 1.5, 1234.0, 0.0)] == [
        "29.3 µs", "1.50 ms", "123 ms", "1.50 s", "1,234 s", "0 µs",
    ]  # fmt: skip
    assert [duration(n) for n in (4.44, 5, 30.2, 200, 7800)] == [
        "4.4 s", "5 s", "30 s", "3 min", "2 h 10 min"
    ]  # fmt: skip
    assert [size(n) for n in (0, 999, 1500, 31.25e6, 999_600, 2 * 10**12)] == [
        "0 bytes", "999 bytes", "1.50 kB", "31.2 MB", "1.00 MB", "2.00 TB"
    ]  # fmt: skip
    assert [percent(n) for n in (0, 1, 0.99609, 0.001, 1.234e-6, 1e-9)] == [
        "0 %", "100 %", "99.6 %", "0.1 %", "0.000123 %", "less than 0.0001 %"
    ]  # fmt: skip
    assert [three_digits(n) for n in (0, 0.424, 9.996, 99.96, 1234.5)] == [
        "0", "0.42", "10.0", "100", "1,234"
    ]  # fmt: skip


def test_a_closed_stream_does_not_fail_the_run() -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise OSError("input/output error")

    console = Console(Gone())
    console.start()
    console.expect(100, 2)
    console.progress(tally(9, http_404=1))
    console.note("a line")
    console.shard("00000", ShardReport(0, tally(9, http_404=1), 1.0))
    console.close()
