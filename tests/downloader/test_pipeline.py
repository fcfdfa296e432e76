"""The pipeline with a scripted fetcher, on the virtual clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import trio

from img2ds.config.options import Options
from img2ds.congestion.controller import Controller
from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.sample import Fetched
from img2ds.downloader.blame import MIN_EVIDENCE
from img2ds.downloader.pipeline import Pipeline
from img2ds.downloader.renderer import Renderer
from img2ds.downloader.shard import Shard
from img2ds.downloader.silence import SHORT
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
        self.count = self.left = len(urls)
        self.error: OSError | None = None
        self.notes: list[str] = []
        self.tally = Tally()
        self.ended: dict[int, Failure] = {}
        self.ended_at: list[float] = []

    def fail(self, index: int, outcome: Failure) -> None:
        assert index not in self.ended
        self.ended[index] = outcome
        self.ended_at.append(trio.current_time())

    def has_ended(self, index: int) -> bool:
        return index in self.ended

    def end_row(self) -> bool:
        self.left -= 1
        return not self.left


class Fetcher:
    """Fails every URL when its time to connect is over; `asked` are the URLs in turn."""

    def __init__(self, outcome: Callable[[str, int], Failure]) -> None:
        self.asked: list[str] = []
        self._outcome = outcome

    async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
        assert url is not None
        self.asked.append(url)
        number = len(self.asked)
        async with context.connecting:
            await trio.sleep(0 if "quick" in url else context.deadline.timeout)
        return self._outcome(url, number)

    async def aclose(self) -> None:
        pass


def idle_controller() -> Controller:
    """Return a controller that sees a network on which nothing happens."""

    async def probe() -> tuple[bool, bool]:
        return True, False

    return Controller(NetworkPath(Machine()), 8, probe)


def download(rows: Rows, fetcher: Fetcher, retries: int = 0, slots: int = 8) -> float:
    """Download the rows of one shard. Returns the virtual seconds it took."""
    options = Options.from_flags(
        {"url_list": "list.txt", "output_format": "webdataset", "retries": retries,
         "thread_count": slots, "per_host_concurrency": 5}
    )  # fmt: skip

    async def main() -> float:
        finished: list[Shard] = []
        pipeline = Pipeline(
            options, fetcher, finished.append, idle_controller(), Renderer(options.image)
        )
        pipeline.scheduler.add(cast(Shard, rows))
        pipeline.scheduler.close()
        began = trio.current_time()
        await pipeline.run()
        assert finished == [cast(Shard, rows)]
        return trio.current_time() - began

    return run(main)


def test_a_dead_host_is_asked_three_times() -> None:
    """Its first row asks twice, the second time for less long; then another one asks for all."""
    rows = Rows([f"http://dead/{number}" for number in range(70)])
    fetcher = Fetcher(lambda url, number: TIMED_OUT)
    assert download(rows, fetcher, slots=64) == pytest.approx(13 + 7 + 3 * SHORT)
    assert fetcher.asked == [f"http://dead/{number}" for number in (0, 0, 1, 65)]
    assert {failure.reason for failure in rows.ended.values()} == {"connect_timeout"}
    asked = [index for index in rows.ended if rows.ended[index] == TIMED_OUT]
    assert asked == [0, 1, 65]
    assert rows.ended[2].message == "host did not answer 3 times, not asked again"
    assert rows.ended[69].message == "host did not answer 4 times, not asked again"


def test_a_dead_host_with_one_row_costs_two_waits() -> None:
    fetcher = Fetcher(lambda url, number: TIMED_OUT)
    assert download(Rows(["http://dead/"]), fetcher) == pytest.approx(13 + SHORT)
    assert len(fetcher.asked) == 2


def test_the_wait_before_connecting_is_no_evidence_of_a_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row that waited for its name in an outage connects after it."""
    spans = []

    def was_out(controller: Controller, started: float) -> bool:
        spans.append(trio.current_time() - started)
        return False

    class Waiting(Fetcher):
        async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
            async with context.connecting:
                await trio.sleep(20)
            return await super().fetch(url, context)

    monkeypatch.setattr(Controller, "was_out", was_out)
    download(Rows(["http://dead/"]), Waiting(lambda url, number: TIMED_OUT))
    assert spans == pytest.approx([10, MIN_EVIDENCE])


def test_retries_do_not_repeat_what_was_asked_for_others() -> None:
    rows = Rows([f"http://dead/{number}" for number in range(5)])
    fetcher = Fetcher(lambda url, number: TIMED_OUT)
    assert download(rows, fetcher, retries=1) == pytest.approx(13 + 2 * SHORT)
    assert len(fetcher.asked) == 3


def test_a_name_server_that_times_out_is_not_the_hosts_silence() -> None:
    failed = failure(Reason.DNS_TIMEOUT, "no answer")
    rows = Rows([f"http://unknown/{number}" for number in range(5)])
    fetcher = Fetcher(lambda url, number: failed)
    # The first row alone, then the others at once: nothing is shared.
    assert download(rows, fetcher) == pytest.approx(10 + 10)
    assert Counter(fetcher.asked) == dict.fromkeys(rows.urls, 1)


def test_a_response_that_was_lost_is_asked_for_again_at_once() -> None:
    """That uses no attempt, and no time but that until it was given up."""
    lost = replace(failure(Reason.STALLED, "lost on the way"), shared=True)
    rows = Rows(["http://lossy/0"])
    fetcher = Fetcher(lambda url, number: lost if number == 1 else GONE)
    assert download(rows, fetcher) == pytest.approx(2 * 10)  # of the test's fetcher
    assert fetcher.asked == 2 * rows.urls
    assert rows.ended[0] == GONE


def test_rows_that_a_host_refuses_use_no_attempt() -> None:
    """The host answers 429 for the first five seconds."""
    began: list[float] = []

    def outcome(url: str, number: int) -> Failure:
        began.append(trio.current_time())
        early = trio.current_time() < began[0] + 5
        return Failure("http_429", "", retry_after=2.0) if early and number > 1 else GONE

    rows = Rows([f"http://quick/{number}" for number in range(20)])
    fetcher = Fetcher(outcome)
    download(rows, fetcher)
    assert rows.ended == dict.fromkeys(range(20), GONE)
    assert len(fetcher.asked) > 20


def test_a_host_that_responds_the_second_time_loses_nothing() -> None:
    rows = Rows([f"http://late/{number}" for number in range(5)])
    fetcher = Fetcher(lambda url, number: TIMED_OUT if number == 1 else GONE)
    download(rows, fetcher)
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
    assert download(rows, fetcher) == pytest.approx(13 + SHORT)
    last = max(rows.ended_at)
    assert [round(last - at, 1) for at in rows.ended_at] == [11.5 + SHORT] * 50 + [0] * 8


def test_the_time_of_an_attempt_leaves_out_what_it_waited_for_this_process() -> None:
    class Slow(Fetcher):
        async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
            context.resolving = 0.3
            await trio.sleep(3.0)
            context.deadline.extend(2.4)  # of these, it waited for a slot
            return GONE

    rows = Rows(["http://a.test/1"])
    download(rows, Slow(lambda url, number: GONE))
    assert rows.tally.fetches.rows() == [("500 ms to 1 s", 1)]
    assert rows.tally.lookups.rows() == [("200 ms to 500 ms", 1)]
