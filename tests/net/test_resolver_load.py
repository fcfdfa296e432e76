"""The resolver under load: limits of the machine, failing name servers, time given back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from img2ds.congestion.dns_names import DnsNames
from img2ds.congestion.machine import Machine
from img2ds.congestion.signals import Limit, Signal
from img2ds.net.deadline import Deadline
from img2ds.net.error import FetchError
from img2ds.net.resolver import MAX_QUESTIONS, Resolver
from tests.net.local_resolver import TIMEOUT, ZONE, outcome, resolving
from tests.run_on_virtual_clock import run
from tests.server.names import REFUSED, SERVFAIL, A, Entry, NameServer, Record, addresses

NAMES = [f"n{number}.example" for number in range(600)]
RECORD = (Record(A, "127.0.0.5"),)


async def resolve_all(resolver: Resolver, names: list[str]) -> list[tuple[str, ...] | str]:
    found: list[tuple[str, ...] | str] = []

    async def ask(name: str) -> None:
        found.append(await outcome(resolver, name))

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(ask, name)
    return found


class ChangingServer(NameServer):
    """A server whose entry for each question is computed from the time and its number."""

    def __init__(self, entry: Callable[[float, int], Entry]) -> None:
        super().__init__()
        self._entry = entry
        self._began: float | None = None
        self.count = 0

    def entry(self, name: str) -> Entry:
        now = trio.current_time()
        if self._began is None:
            self._began = now
        self.count += 1
        return self._entry(now - self._began, self.count)


def test_the_machine_limits_the_questions_in_flight() -> None:
    async def main() -> None:
        machine = Machine()
        machine.limits[Limit.DNS] = 10
        server = NameServer({name: Entry(RECORD, delay=0.5) for name in NAMES[:40]})
        async with resolving(server, machine=machine) as resolver:
            began = trio.current_time()
            found = await resolve_all(resolver, NAMES[:40])
            assert found == [("127.0.0.5",)] * 40
            assert trio.current_time() - began == pytest.approx(2.0, abs=0.2)
        assert server.most_at_once == 10
        assert machine.cell[Signal.DNS_ANSWERED] == 40
        assert machine.cell[Signal.DNS_SECONDS] == pytest.approx(20.0, abs=1.0)
        assert machine.cell[Signal.DNS_IN_FLIGHT] == machine.cell[Signal.WAITING_DNS] == 0

    run(main)


def test_a_process_has_a_limit_of_its_own() -> None:
    async def main() -> None:
        server = NameServer({name: Entry(RECORD, delay=0.5) for name in NAMES})
        async with resolving(server, machine=Machine()) as resolver:
            await resolve_all(resolver, NAMES)
        assert server.most_at_once == MAX_QUESTIONS

    run(main)


def test_waiting_for_the_gate_takes_no_time_of_the_row() -> None:
    async def main() -> None:
        machine = Machine()
        machine.limits[Limit.DNS_RATE] = 2
        server = NameServer({name: addresses("127.0.0.5") for name in NAMES[:60]})
        async with resolving(server, machine=machine) as resolver:

            async def ask(name: str) -> None:
                deadline = Deadline(10.0, 5.0)
                began = trio.current_time()
                await deadline.within(lambda: resolver.resolve(name, deadline))
                left = deadline.ends_at - trio.current_time()
                assert left == pytest.approx(5.0, abs=0.5), trio.current_time() - began

            async with trio.open_nursery() as nursery:
                for name in NAMES[:60]:
                    nursery.start_soon(ask, name)
            assert machine.cell[Signal.DNS_ANSWERED] == 60

    run(main)


def test_time_that_a_server_takes_is_not_given_back() -> None:
    async def main() -> None:
        async with resolving(NameServer(ZONE)) as resolver:
            deadline = Deadline(10.0, 2.0)
            with pytest.raises(FetchError) as caught:
                await deadline.within(lambda: resolver.resolve("slow.example", deadline))
            assert caught.value.failure.reason == "max_time"

    run(main)


@pytest.mark.parametrize(
    ("code", "counter"), [(SERVFAIL, Signal.DNS_FAILED), (REFUSED, Signal.DNS_FAILED)]
)
def test_a_server_that_is_out_for_a_while_loses_no_name(code: int, counter: int) -> None:
    async def main() -> None:
        machine = Machine()
        server = ChangingServer(lambda t, _: Entry(code=code) if t < 10 else Entry(RECORD))
        async with resolving(server, machine=machine) as resolver:
            began = trio.current_time()
            assert await resolve_all(resolver, NAMES[:100]) == [("127.0.0.5",)] * 100
            assert trio.current_time() - began < 13.0
        assert machine.cell[counter] == server.count - 100

    run(main)


def test_a_server_that_is_silent_for_a_while_loses_no_name() -> None:
    async def main() -> None:
        machine = Machine()
        server = ChangingServer(lambda t, _: Entry(RECORD, silent=t < 12))
        async with resolving(server, machine=machine) as resolver:
            assert await resolve_all(resolver, NAMES[:50]) == [("127.0.0.5",)] * 50
        assert machine.cell[Signal.DNS_TIMEOUTS] > 0

    run(main)


def test_silent_names_are_blamed_when_nothing_else_is_asked_for() -> None:
    """All good names are known by then: a question whose answer is known tells who is to blame."""

    async def main() -> None:
        table = {name: addresses("127.0.0.5") for name in NAMES[:20]}
        table.update({name: Entry(silent=True) for name in NAMES[20:50]})
        async with resolving(NameServer(table)) as resolver:
            await resolve_all(resolver, NAMES[:20])
            await trio.sleep(20)
            began = trio.current_time()
            assert await resolve_all(resolver, NAMES[20:50]) == ["dns_timeout"] * 30
            assert trio.current_time() - began < 1.6 * TIMEOUT

    run(main)


def test_a_server_that_falls_silent_loses_no_name() -> None:
    async def main() -> None:
        server = ChangingServer(lambda t, _: Entry(RECORD, silent=2 < t < 22))
        async with resolving(server) as resolver:
            await resolve_all(resolver, NAMES[:20])
            await trio.sleep(2)
            assert await resolve_all(resolver, NAMES[20:50]) == [("127.0.0.5",)] * 30

    run(main)


def test_half_of_the_questions_fail_but_hardly_a_name() -> None:
    async def main() -> None:
        server = ChangingServer(lambda _, n: Entry(RECORD, code=SERVFAIL if n % 2 else 0))
        async with resolving(server) as resolver:
            found = await resolve_all(resolver, NAMES[:300])
            assert found.count(("127.0.0.5",)) >= 298  # one in 2000 fails by chance

    run(main)


def test_a_failing_name_among_good_ones_fails_soon() -> None:
    async def main() -> None:
        table = {name: addresses("127.0.0.5") for name in NAMES[:100]}
        server = NameServer({**table, "servfail.example": Entry(code=SERVFAIL)})
        async with resolving(server) as resolver:
            began = trio.current_time()
            await resolve_all(resolver, NAMES[:100])
            assert await outcome(resolver, "servfail.example") == "dns_failure"
            assert server.times("servfail.example") == 2
            assert trio.current_time() - began < 1.5

    run(main)


def test_a_failure_is_not_kept() -> None:
    async def main() -> None:
        server = ChangingServer(lambda t, _: Entry(code=SERVFAIL) if t < 2 else Entry(RECORD))
        async with resolving(server) as resolver:
            assert await outcome(resolver, "a.example") == "dns_failure"
            asked = server.count
            assert await outcome(resolver, "a.example") == "dns_failure"
            assert server.count == asked + 1  # a name that failed is asked for once
            await trio.sleep(2)
            assert await outcome(resolver, "a.example") == ("127.0.0.5",)

    run(main)


def test_a_name_that_failed_while_all_did_is_not_suspected() -> None:
    async def main() -> None:
        # One in two questions fails again after all have failed for as long as a name may take.
        server = ChangingServer(lambda t, n: Entry(RECORD, code=SERVFAIL if t < 45 or n % 2 else 0))
        async with resolving(server) as resolver:
            assert await resolve_all(resolver, NAMES[:60]) == ["dns_failure"] * 60
            await trio.sleep(10)
            assert await resolve_all(resolver, NAMES[:60]) == [("127.0.0.5",)] * 60

    run(main)


def test_what_another_worker_found_is_not_asked_for() -> None:
    async def main() -> None:
        names = DnsNames()
        server = NameServer(ZONE)
        async with resolving(server, names=names) as one, resolving(names=names) as other:
            for name in ("both.example", "nowhere.example"):
                assert await outcome(one, name) == await outcome(other, name)
                assert server.times(name) == 1

    run(main)


def test_what_another_worker_finds_while_one_waits_is_not_asked_for() -> None:
    async def main() -> None:
        names, machine = DnsNames(), Machine()
        machine.limits[Limit.DNS] = 1
        server = NameServer({"a.example": Entry(RECORD, delay=1.0), "b.example": Entry(RECORD)})
        async with resolving(server, names=names, machine=machine) as resolver:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(resolver.resolve, "a.example")
                await trio.sleep(0.1)
                nursery.start_soon(resolver.resolve, "b.example")
                await trio.sleep(0.1)
                names.store("b.example", ("127.0.0.9",), 60.0)
            assert await outcome(resolver, "b.example") == ("127.0.0.9",)
            assert server.times("b.example") == 0

    run(main)


def test_a_network_that_is_not_there() -> None:
    async def main() -> None:
        machine = Machine()
        async with resolving(machine=machine, servers_at=(("192.0.2.1", 53),)) as resolver:
            began = trio.current_time()
            assert await outcome(resolver, "a.example") == "dns_failure"
            assert trio.current_time() - began < TIMEOUT
        assert machine.cell[Signal.DNS_UNREACHABLE] == 2

    run(main)
