"""Calls at set times, and waits for sockets that end with them."""

from __future__ import annotations

import socket
from functools import partial

import pytest
import trio

from img2ds.net.alarms import MAX_CALLED_OFF, alarms
from tests.run_on_virtual_clock import run


def test_calls_come_at_their_times_whatever_order_they_were_set_in() -> None:
    made: list[tuple[str, float]] = []

    async def main() -> None:
        began = trio.current_time()

        def call(name: str) -> None:
            made.append((name, trio.current_time() - began))

        for name, seconds in (("late", 9.0), ("early", 1.0), ("between", 5.0), ("never", 3.0)):
            number = alarms().set(began + seconds, partial(call, name))
        assert alarms().call_off(number)
        assert not alarms().call_off(number)
        await trio.sleep(10.0)
        alarms().set(trio.current_time() + 0.5, partial(call, "later"))
        await trio.sleep(10.0)
        assert not len(alarms())

    run(main)
    assert [name for name, _ in made] == ["early", "between", "late", "later"]
    assert [seconds for _, seconds in made] == pytest.approx([1.0, 5.0, 9.0, 10.5])


def test_waits_that_end_in_time_take_no_memory() -> None:
    async def main() -> None:
        most = 0
        for _ in range(20 * MAX_CALLED_OFF):
            alarms().call_off(alarms().set(trio.current_time() + 60.0, trio.Event().set))
            most = max(most, len(alarms()))
        assert most < 2 * MAX_CALLED_OFF

    run(main)


def test_a_socket_that_is_ready_in_time_and_one_that_is_not() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            began = trio.current_time()
            for wait in (2.0, 3.0):  # the socket can be waited for again
                until = trio.current_time() + wait
                assert not await alarms().is_ready(trio.lowlevel.wait_readable, ours, until)
                assert trio.current_time() == pytest.approx(until)
            theirs.send(b"x")
            assert await alarms().is_ready(trio.lowlevel.wait_readable, ours, until + 9.0)
            assert trio.current_time() - began == pytest.approx(5.0)

    run(main)


def test_what_has_arrived_wins_over_a_time_that_has_passed() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.send(b"x")
            past = trio.current_time() - 1.0
            assert await alarms().is_ready(trio.lowlevel.wait_readable, ours, past)

    run(main)


def test_a_wait_that_is_cancelled_or_closed_leaves_nothing() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            wait = partial(alarms().is_ready, trio.lowlevel.wait_readable, ours)
            with trio.move_on_after(1.0) as scope:
                await wait(trio.current_time() + 5.0)
            assert scope.cancelled_caught
            later = trio.current_time() + 9.0
            assert not await wait(later)  # the first wait's time does not end this one
            assert trio.current_time() == pytest.approx(later)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_close_after, 1.0, ours)
                with pytest.raises(trio.ClosedResourceError):
                    await wait(trio.current_time() + 5.0)
            await trio.sleep(10.0)  # nothing is called
            assert not len(alarms())

    run(main)


async def _close_after(seconds: float, sock: socket.socket) -> None:
    await trio.sleep(seconds)
    trio.lowlevel.notify_closing(sock)
