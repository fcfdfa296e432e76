"""Silence of a server: how long it is waited for."""

from __future__ import annotations

import socket

import pytest
import trio

from img2ds.core.failure import Failure, Reason
from img2ds.net.deadline import EARLY, Deadline
from img2ds.net.error import FetchError
from img2ds.net.stream import ByteStream
from tests.run_on_virtual_clock import run

TIMEOUT = 10.0


def read(impatient_after: float) -> tuple[Failure, float]:
    """Read from a silent server. Returns the failure, and the seconds it took."""

    async def main() -> tuple[Failure, float]:
        began = trio.current_time()
        deadline = Deadline(TIMEOUT, 60.0)
        deadline.gives_up = lambda: trio.current_time() >= began + impatient_after
        server, client = socket.socketpair()
        with server, client:
            client.setblocking(False)
            with pytest.raises(FetchError) as caught:
                await ByteStream(client).receive_into(memoryview(bytearray(9)), deadline)
        return caught.value.failure, trio.current_time() - began

    return run(main)


@pytest.mark.parametrize(("after", "seconds"), [(0.0, EARLY), (EARLY + 1, 2 * EARLY)])
def test_a_lost_response_is_given_up_early(after: float, seconds: float) -> None:
    failure, took = read(after)
    assert (failure.reason, failure.shared) == (Reason.STALLED.value, True)
    assert took == pytest.approx(seconds)


def test_a_silent_server_has_all_of_its_time() -> None:
    failure, took = read(TIMEOUT)
    assert (failure.reason, failure.shared) == (Reason.STALLED.value, False)
    assert took == pytest.approx(TIMEOUT)
