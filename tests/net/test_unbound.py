"""The run's own unbound, a real one, in front of a name server on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from img2ds.core.failure import UsageError
from img2ds.net import unbound
from img2ds.net.dns_config import system_config
from img2ds.net.resolver import Resolver
from img2ds.net.unbound import CACHE_AGE, Unbound, cache_file
from tests.net.local_resolver import outcome
from tests.server.names import SERVFAIL, Entry, NameServer, addresses

PROGRAM = shutil.which("unbound", path=os.environ.get("PATH", "") + ":/usr/sbin")
needs_unbound = pytest.mark.skipif(PROGRAM is None, reason="unbound is not installed")

ZONE = {"a.example": addresses("127.0.0.5"), "servfail.example": Entry(code=SERVFAIL)}


@contextmanager
def serving() -> Iterator[NameServer]:
    """A name server in a thread, on the real clock, which unbound has."""
    server, ready, ended = NameServer(ZONE), threading.Event(), threading.Event()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            ready.set()
            await trio.to_thread.run_sync(ended.wait)
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        assert ready.wait(10)
        yield server
    finally:
        ended.set()
        thread.join()


def resolve(running: Unbound, *names: str) -> list[tuple[str, ...] | str]:
    async def main() -> list[tuple[str, ...] | str]:
        resolver = Resolver(system_config([running.address]), 10.0, ipv6=False)
        return [await outcome(resolver, name) for name in names]

    return trio.run(main)


def is_running(running: Unbound) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return sock.connect_ex(("127.0.0.1", int(running.address.partition(":")[2]))) == 0


@needs_unbound
@pytest.mark.slow
def test_it_answers_and_keeps_its_cache(tmp_path: Path) -> None:
    cache = tmp_path / "folder" / "unbound.cache"
    with serving() as server:
        with Unbound([server.text], cache) as running:
            assert resolve(running, "a.example") == [("127.0.0.5",)]
        assert not is_running(running)
        asked = server.times("a.example")
        assert asked > 0
        with Unbound([server.text], cache) as running:
            assert resolve(running, "a.example", "nowhere.example") == [
                ("127.0.0.5",), "dns_not_found",
            ]  # fmt: skip
        assert server.times("a.example") == asked
        old = time.time() - CACHE_AGE - 10
        os.utime(cache, (old, old))
        with Unbound([server.text], cache) as running:
            assert resolve(running, "a.example") == [("127.0.0.5",)]
        assert server.times("a.example") > asked
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


@needs_unbound
@pytest.mark.slow
def test_it_validates_without_forwarders(tmp_path: Path) -> None:
    with Unbound(cache=tmp_path / "unbound.cache") as running:
        config = running._config.read_text()
        assert 'module-config: "validator iterator"' in config
        assert config.count("trust-anchor:") == 2
        assert resolve(running, "localhost") == [("127.0.0.1",)]


@needs_unbound
@pytest.mark.slow
def test_it_ends_when_its_parent_is_killed() -> None:
    code = (
        "import time; from img2ds.net.unbound import Unbound\n"
        "running = Unbound(['127.0.0.1:9']); print(running.address, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    port = int(parent.stdout.readline().strip().partition(":")[2])
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)):
                return
    pytest.fail("unbound goes on")


@needs_unbound
@pytest.mark.slow
def test_one_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unbound, "_CONFIG", "server:\n    nonsense: yes\n")
    with pytest.raises(UsageError, match=r"does not start: .*error"):
        Unbound()


def test_one_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(UsageError, match="apt-get install unbound"):
        Unbound()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_file() == Path("/somewhere/img2ds/unbound.cache")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_file() == Path("/home/somebody/.cache/img2ds/unbound.cache")
