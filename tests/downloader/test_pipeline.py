"""The pipeline with a scripted fetcher, on the virtual clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest
import trio

from img2ds.config.options import Options
from img2ds.congestion.controller import Controller
from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.sample import Fetched
from img2ds.downloader.pipeline import Pipeline
from img2ds.downloader.shard import Shard
from img2ds.net.context import FetchContext
from img2ds.report.tally import Tally
from tests.run_on_virtual_clock import run

TIMED_OUT = failure(Reason.CONNECT_TIMEOUT, "no answer")
GONE = Failure("http_404", "HTTP status 404")


class Rows:
    """A fake shard for the pipeline; `ended` has every row's failure, `ended_at` its time."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls
        self.boxes: list[Any] | None = None
        self.count = self._unended = len(urls)
        self.error: OSError | None = None
        self.notes: list[str] = []
        self.tally = Tally()
        self.ended: dict[int, Failure] = {}
        self.ended_at: list[float] = []

    def fail(self, index: int, outcome: Failure) -> None:
        assert index not in self.ended
        self.ended[index] = outcome
        self.ended_at.append(trio.current_time())

    def end_row(self) -> bool:
        self._unended -= 1
        return not self._unended


class Fetcher:
    """Fails every URL after ten seconds; `asked` are the URLs in turn."""

    def __init__(self, outcome: Callable[[str, int], Failure]) -> None:
        self.asked: list[str] = []
        self._outcome = outcome

    async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
        assert url is not None
        self.asked.append(url)
        number = len(self.asked)
        async with context.connecting:
            await trio.sleep(0 if "quick" in url else 10)
        return self._outcome(url, number)

    async def aclose(self) -> None:
        pass


def idle_controller() -> Controller:
    """Return a controller that sees a network on which nothing happens."""

    async def probe() -> tuple[bool, bool]:
        return True, False

    return Controller(NetworkPath(Machine()), 8, probe)


def download(rows: Rows, fetcher: Fetcher, retries: int = 0) -> float:
    """Download the rows of one shard. Returns the virtual seconds it took."""
    options = Options.from_flags(
        {"url_list": "list.txt", "output_format": "webdataset", "retries": retries,
         "thread_count": 8, "per_host_concurrency": 5}
    )  # fmt: skip

    async def main() -> float:
        finished: list[Shard] = []
        pipeline = Pipeline(options, fetcher, finished.append, idle_controller())
        pipeline.scheduler.add(cast(Shard, rows))
        pipeline.scheduler.close()
        began = trio.current_time()
        await pipeline.run()
        assert finished == [cast(Shard, rows)]
        return trio.current_time() - began

    return run(main)


def test_an_unresponsive_hosts_rows_share_one_attempt() -> None:
    rows = Rows([f"http://dead/{number}" for number in range(5)])
    fetcher = Fetcher(lambda url, number: TIMED_OUT)
    assert download(rows, fetcher) == pytest.approx(10)
    assert len(fetcher.asked) == 1
    assert rows.ended == dict.fromkeys(range(5), TIMED_OUT)


def test_no_more_rows_share_it_than_could_have_been_active() -> None:
    rows = Rows([f"http://dead/{number}" for number in range(8)])
    fetcher = Fetcher(lambda url, number: TIMED_OUT)
    assert download(rows, fetcher) == pytest.approx(20)
    assert fetcher.asked == ["http://dead/0", "http://dead/5"]


def test_an_unresponsive_host_is_tried_as_often_as_retries_say() -> None:
    rows = Rows([f"http://dead/{number}" for number in range(5)])
    fetcher = Fetcher(lambda url, number: TIMED_OUT)
    assert 20 < download(rows, fetcher, retries=1) < 22
    assert len(fetcher.asked) == 2
    assert len(rows.ended) == 5


def test_a_host_that_responds_the_second_time_loses_nothing() -> None:
    rows = Rows([f"http://late/{number}" for number in range(5)])
    fetcher = Fetcher(lambda url, number: TIMED_OUT if number == 1 else GONE)
    download(rows, fetcher, retries=1)
    assert rows.ended == dict.fromkeys(range(5), GONE)
    assert sorted(Counter(fetcher.asked).values()) in ([1, 1, 1, 1, 1], [1, 1, 1, 1, 2])


def test_a_timeout_behind_a_redirect_is_not_the_hosts() -> None:
    """A response restores the host's full limit."""
    elsewhere = Failure(TIMED_OUT.reason, TIMED_OUT.message, via_other_host=True)
    rows = Rows([f"http://shortener/{number}" for number in range(6)])
    fetcher = Fetcher(lambda url, number: elsewhere)
    assert download(rows, fetcher) == pytest.approx(20)
    assert len(fetcher.asked) == 6


def test_dead_hosts_hold_no_slot_until_their_time_out() -> None:
    rows = Rows([f"http://dead{n}/" for n in range(8)] + [f"http://quick/{n}" for n in range(50)])
    fetcher = Fetcher(lambda url, number: GONE if "quick" in url else TIMED_OUT)
    assert download(rows, fetcher) == pytest.approx(10)
    last = max(rows.ended_at)
    assert [round(last - at, 1) for at in rows.ended_at] == [8.5] * 50 + [0] * 8
