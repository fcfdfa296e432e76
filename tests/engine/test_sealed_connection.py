"""Messages between a driver and its workers: only the other side's, each once, in order."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection, Pipe

import pytest

from img2ds.engine.distributors.sealed_connection import ForgedMessageError, SealedConnection

KEY = b"k" * 32


def sealed(worker_key: bytes = KEY) -> tuple[SealedConnection, SealedConnection, Connection]:
    """Return the driver's end, the worker's, and what an attacker on the wire could write to."""
    ours, theirs = Pipe()
    made: list[SealedConnection] = []
    worker = threading.Thread(
        target=lambda: made.append(SealedConnection(theirs, worker_key, driver=False))
    )
    worker.start()
    driver = SealedConnection(ours, KEY, driver=True)
    worker.join()
    return driver, made[0], theirs


def test_messages_arrive_in_both_directions() -> None:
    driver, worker, _ = sealed()
    for number in range(3):
        driver.send({"task": number})
        assert worker.recv() == {"task": number}
        worker.send(("report", number))
        assert driver.recv() == ("report", number)


def test_forged_repeated_and_reflected_messages_are_refused() -> None:
    driver, worker, wire = sealed()
    wire.send_bytes(b"x" * 100)
    with pytest.raises(ForgedMessageError):
        driver.recv()
    driver, worker, wire = sealed()
    worker.send("once")
    driver.recv()
    message = _recorded(driver, worker)
    wire.send_bytes(message)
    with pytest.raises(ForgedMessageError):
        driver.recv()


def _recorded(driver: SealedConnection, worker: SealedConnection) -> bytes:
    """Return a message as the driver has sent it to the worker."""
    driver.send("task")
    return worker._connection.recv_bytes()


def test_another_key_is_refused() -> None:
    driver, worker, _ = sealed(b"other")
    worker.send("hello")
    with pytest.raises(ForgedMessageError):
        driver.recv()
