"""Batches: what waits is taken at once, clients take turns, and too much is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from laion.web.batch_queue import BatchLimits, BatchQueue, Overloaded
from laion.web.fair_queue import FairQueue

#: Seconds after which a test that waits has failed.
TIMEOUT = 30.0


class Work:
    """Work that waits for `go`, and keeps the batches it gets."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.started = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, batch: list[Any]) -> Sequence[Any]:
        self.batches.append(batch)
        self.started.release()
        self.go.acquire(timeout=TIMEOUT)
        return [ValueError("odd") if item == "odd" else f"{item} done" for item in batch]

    async def wait(self) -> None:
        """Wait until another batch has been taken."""
        await asyncio.get_running_loop().run_in_executor(None, self.started.acquire)


async def submit_all(*submits: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.ensure_future(submit) for submit in submits]
    await asyncio.sleep(0)  # each runs up to where it waits
    return tasks


def queue_of(work: Any, **limits: int) -> BatchQueue[Any, Any]:
    return BatchQueue("test", work, BatchLimits(**limits))


def test_what_waits_while_the_thread_is_busy_is_the_next_batch() -> None:
    async def main() -> None:
        work = Work()
        queue = queue_of(work, batch=3)
        first = await submit_all(queue.submit("a"))
        await work.wait()
        others = await submit_all(*(queue.submit(item) for item in "bcde"))
        assert len(queue) == 4
        work.go.release(3)
        assert await asyncio.gather(*first, *others) == [f"{item} done" for item in "abcde"]
        assert work.batches == [["a"], ["b", "c", "d"], ["e"]]
        queue.close()

    asyncio.run(main())


def test_several_threads_do_a_batch_each() -> None:
    async def main() -> None:
        work = Work()
        queue = queue_of(work, threads=2)
        tasks = await submit_all(*(queue.submit(item) for item in "abc"))
        await work.wait()
        await work.wait()
        assert sorted(work.batches) == [["a"], ["b"]]
        work.go.release(3)
        assert await asyncio.gather(*tasks) == ["a done", "b done", "c done"]
        queue.close()

    asyncio.run(main())


def test_more_than_may_wait_is_refused() -> None:
    async def main() -> None:
        work = Work()
        queue = queue_of(work, waiting=2)
        tasks = await submit_all(queue.submit("a"))
        await work.wait()
        tasks += await submit_all(queue.submit("b"), queue.submit("c"))
        with pytest.raises(Overloaded) as caught:
            await queue.submit("d")
        assert caught.value.retry_after >= 1
        work.go.release(3)
        assert await asyncio.gather(*tasks) == ["a done", "b done", "c done"]
        work.go.release()
        assert await queue.submit("d") == "d done"
        queue.close()

    asyncio.run(main())


def test_a_failure_is_its_items_own_and_a_broken_batch_fails_whole() -> None:
    async def main() -> None:
        work = Work()
        queue = queue_of(work, batch=8)
        first = await submit_all(queue.submit("a"))
        await work.wait()
        others = await submit_all(queue.submit("odd"), queue.submit("even"))
        work.go.release(2)
        await asyncio.gather(*first)
        assert await asyncio.gather(*others, return_exceptions=True) == [
            others[0].exception(),
            "even done",
        ]
        assert isinstance(others[0].exception(), ValueError)
        queue.close()

        def broken(batch: list[Any]) -> Sequence[Any]:
            raise RuntimeError("broken")

        queue = queue_of(broken)
        for _ in range(2):  # the thread goes on
            with pytest.raises(RuntimeError, match="broken"):
                await queue.submit("a")
        queue.close()

    asyncio.run(main())


def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    async def main() -> None:
        work = Work()
        queue = queue_of(work)
        tasks = await submit_all(queue.submit("a"))
        await work.wait()
        tasks += await submit_all(queue.submit("b"), queue.submit("c"))
        tasks[1].cancel()
        await asyncio.sleep(0)
        work.go.release(2)
        assert await tasks[2] == "c done"
        assert work.batches == [["a"], ["c"]]
        queue.close()

    asyncio.run(main())


def test_clients_take_turns() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(4):
        queue.put("much", f"much {number}")
    queue.put("little", "little 0")
    assert queue.take(3) == ["much 0", "little 0", "much 1"]
    queue.put("little", "little 1")
    assert len(queue) == 3
    assert queue.take(9) == ["much 2", "little 1", "much 3"]
    assert (queue.take(1), len(queue)) == ([], 0)
