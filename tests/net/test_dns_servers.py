"""How servers are asked: ports, spelling, time limits, late answers, which server first."""

from __future__ import annotations

import gc
import socket
from typing import Any

import pytest
import trio

from img2ds.congestion.machine import Machine
from img2ds.congestion.signals import Limit, Signal
from img2ds.net.dns_exchange import Exchange
from img2ds.net.dns_lookup import LookUp
from img2ds.net.dns_socket import RENEW_AFTER, SOCKETS
from tests.net.local_resolver import ZONE, outcome, resolving
from tests.net.test_resolver_load import NAMES, RECORD, ChangingServer, resolve_all
from tests.run_on_virtual_clock import run
from tests.server.names import SERVFAIL, Entry, NameServer, addresses


class CountingServer(NameServer):
    """Remembers the ports and the spellings of questions."""

    def __init__(self, **how: Any) -> None:
        super().__init__(how.pop("table", {}))
        self.ports: list[int] = []
        self.spellings: list[bytes] = []

    async def _datagram(
        self, udp: trio.socket.SocketType, message: bytes, client: tuple[Any, ...]
    ) -> None:
        self.ports.append(client[1])
        self.spellings.append(message[12:-4])
        await super()._datagram(udp, message, client)


def test_few_ports_are_used_and_renewed() -> None:
    async def main() -> None:
        server = CountingServer(table={name: addresses("127.0.0.5") for name in NAMES})
        async with resolving(server) as resolver:
            for name in NAMES[:200]:
                await resolver.resolve(name)
            assert len(set(server.ports)) == SOCKETS
            resolver._shared.servers[0].sockets._open[0].sent = RENEW_AFTER
            for name in NAMES[200:300]:
                await resolver.resolve(name)
            assert len(set(server.ports)) == SOCKETS + 1

    run(main)


def test_sockets_close_with_the_run_and_with_the_resolver() -> None:
    async def main() -> None:
        server = NameServer(ZONE)
        async with resolving(server) as resolver:
            await resolver.resolve("a.example")
            resolver.close()
            await trio.sleep(1)
            assert await outcome(resolver, "brief.example") == ("127.0.0.5",)  # opens new ones

    run(main)


def test_the_spelling_cannot_be_guessed() -> None:
    async def main() -> None:
        server = CountingServer(table=ZONE)
        async with resolving(server) as resolver:
            await resolver.resolve("x" * 63 + ".example")
            await outcome(resolver, "nowhere.example")
        for spelling in server.spellings:
            assert spelling not in (spelling.lower(), spelling.upper())

    run(main)


def test_an_answer_in_another_spelling_counts_only_where_none_keeps_it() -> None:
    async def main() -> None:
        lowers = addresses("127.0.0.5", lowers=True)
        server = NameServer({"a.example": lowers, "b.example": addresses("127.0.0.6"),
                             "c" * 60 + ".example": lowers})  # fmt: skip
        async with resolving(server) as resolver:
            assert await outcome(resolver, "a.example") == ("127.0.0.5",)
            assert await outcome(resolver, "b.example") == ("127.0.0.6",)
            assert await outcome(resolver, "c" * 60 + ".example") == "dns_timeout"

    run(main)


def test_a_server_without_edns() -> None:
    async def main() -> None:
        class Old(NameServer):
            async def _answers(self, message: bytes, *, tcp: bool) -> list[bytes]:
                if message[11]:  # additional records
                    return [message[:2] + b"\x81\x81" + message[4:11] + b"\0" + message[12:-11]]
                return await super()._answers(message, tcp=tcp)

        server = Old(ZONE)
        async with resolving(server) as resolver:
            assert await outcome(resolver, "a.example") == ("127.0.0.5",)
            assert server.times("a.example") == 1

    run(main)


@pytest.mark.parametrize(("rate", "seconds", "timeouts"), [(0, 0.6, 0), (20, 2.0, 2)])
def test_a_lost_question_is_repeated(rate: int, seconds: float, timeouts: int) -> None:
    async def main() -> None:
        machine = Machine()
        machine.limits[Limit.DNS_RATE] = rate
        server = ChangingServer(lambda _, n: Entry(RECORD, silent=n in (5, 6)))
        async with resolving(server, machine=machine) as resolver:
            for name in NAMES[:4]:
                await resolver.resolve(name)
            began = trio.current_time()
            assert await outcome(resolver, NAMES[5]) == ("127.0.0.5",)
            assert trio.current_time() - began == pytest.approx(seconds, abs=0.2)
        # Without a limit, the question is sent again before it has timed out.
        assert machine.cell[Signal.DNS_TIMEOUTS] == timeouts

    run(main)


def test_time_limits_follow_slow_answers() -> None:
    async def main() -> None:
        # The slower ones take longer than any mean of the first answers would let them.
        table = {name: Entry(RECORD, delay=1.0 + n / 8) for n, name in enumerate(NAMES[:64])}
        server = NameServer(table)
        machine = Machine()
        async with resolving(server, machine=machine) as resolver:
            assert await resolve_all(resolver, NAMES[:64]) == [("127.0.0.5",)] * 64
        assert machine.cell[Signal.DNS_TIMEOUTS] == 0

    run(main)


def test_a_late_answer_is_an_answer_and_kept() -> None:
    async def main() -> None:
        table = {"a.example": addresses("127.0.0.5"), "late.example": Entry(RECORD, delay=25.0)}
        server = NameServer(table)
        async with resolving(server) as resolver:
            await resolver.resolve("a.example")
            assert await outcome(resolver, "late.example") == "dns_timeout"
            asked = server.times("late.example")
            await trio.sleep(26)
            assert await outcome(resolver, "late.example") == ("127.0.0.5",)
            assert server.times("late.example") == asked

    run(main)


def test_a_late_answer_ends_the_look_up() -> None:
    async def main() -> None:
        server = ChangingServer(
            lambda _, n: Entry(RECORD, delay=2.5 if n == 5 else 0.0, silent=n > 5)
        )
        async with resolving(server) as resolver:
            for name in NAMES[:4]:
                await resolver.resolve(name)
            began = trio.current_time()
            assert await outcome(resolver, NAMES[5]) == ("127.0.0.5",)
            assert trio.current_time() - began == pytest.approx(2.5, abs=0.2)

    run(main)


def test_a_dead_server_costs_little() -> None:
    async def main() -> None:
        dead = NameServer({name: Entry(silent=True) for name in NAMES[:200]})
        good = NameServer({name: addresses("127.0.0.5") for name in NAMES[:200]})
        async with resolving(dead, good) as resolver:
            began = trio.current_time()
            assert await resolve_all(resolver, NAMES[:200]) == [("127.0.0.5",)] * 200
            assert trio.current_time() - began < 2.0
            asked = dead.asked.total()
            for name in NAMES[200:300]:
                await outcome(resolver, name)
            assert dead.asked.total() == asked
            await trio.sleep(11)
            await outcome(resolver, "nowhere.example")  # the probe
            assert dead.asked.total() == asked + 1

    run(main)


def test_a_server_that_is_back_is_asked_again() -> None:
    async def main() -> None:
        back = ChangingServer(lambda t, _: Entry(RECORD, silent=t < 20))
        other = NameServer({name: Entry(RECORD, delay=0.3) for name in NAMES})
        async with resolving(back, other) as resolver:
            await resolve_all(resolver, NAMES[:50])
            await trio.sleep(21)
            await resolve_all(resolver, NAMES[50:52])
            await trio.sleep(1)
            asked = back.count
            await resolve_all(resolver, NAMES[60:90])
            assert back.count == asked + 30

    run(main)


def test_a_server_that_fails_is_left_for_one_that_does_not() -> None:
    async def main() -> None:
        failing = ChangingServer(lambda _, __: Entry(code=SERVFAIL))
        good = NameServer({name: addresses("127.0.0.5") for name in NAMES[:100]})
        async with resolving(failing, good) as resolver:
            for name in NAMES[:100]:
                assert await outcome(resolver, name) == ("127.0.0.5",)
        assert failing.count < 10

    run(main)


def test_whether_anybody_answers() -> None:
    async def main() -> None:
        silent, good = ChangingServer(lambda _, __: Entry(silent=True)), NameServer(ZONE)
        async with resolving(silent, good) as resolver:
            assert await resolver.answers(2.0)
        async with resolving(silent) as resolver:
            began = trio.current_time()
            assert not await resolver.answers(2.0)
            assert trio.current_time() - began == pytest.approx(2.0, abs=0.1)

    run(main)


def test_no_socket_can_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with resolving(NameServer(ZONE)) as resolver:

            def full(*_: Any) -> None:
                raise OSError(24, "Too many open files")

            monkeypatch.setattr(socket, "socket", full)
            try:
                assert await outcome(resolver, "a.example") == "no_descriptors"
            finally:
                monkeypatch.undo()

    run(main)


def test_a_question_leaves_no_work_for_the_garbage_collector() -> None:
    """There is one for each host: cycles among its objects would fill the memory until a search."""

    async def main() -> None:
        async with resolving(NameServer(ZONE)) as resolver:
            await resolver.resolve("a.example")
            gc.collect()
            gc.disable()
            await resolver.resolve("brief.example")
            left = [each for each in gc.get_objects() if isinstance(each, (Exchange, LookUp))]
            assert not left

    try:
        run(main)
    finally:
        gc.enable()
