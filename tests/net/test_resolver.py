"""The resolver's answers from real DNS servers on loopback, on the virtual clock."""

from __future__ import annotations

import pytest
import trio

from img2ds.net.dns_config import DnsConfig
from img2ds.net.dns_exchange import LATE_ANSWER
from img2ds.net.resolver import Resolver
from tests.net.local_resolver import TIMEOUT, ZONE, outcome, resolving
from tests.run_on_virtual_clock import run, serving
from tests.server.names import AAAA, REFUSED, SERVFAIL, A, Entry, NameServer


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.example", ("127.0.0.5",)),
        ("both.example", ("127.0.0.5", "127.0.0.6", "127.0.0.7")),
        ("x" * 63 + ".example", ("127.0.0.5",)),
        ("alias.example", ("127.0.0.9", "127.0.0.8")),
        ("six.example", "dns_not_found"),
        ("dangling.example", "dns_not_found"),
        ("empty.example", "dns_not_found"),
        ("nowhere.example", "dns_not_found"),
        ("x" * 64 + ".example", "dns_not_found"),
        ("servfail.example", "dns_failure"),
        ("refused.example", "dns_failure"),
        ("silent.example", "dns_timeout"),
        ("forged.example", "dns_timeout"),
        ("raced.example", ("127.0.0.5",)),
        ("slow.example", ("127.0.0.5",)),
        ("large.example", tuple(f"127.1.0.{n}" for n in range(200))),
        ("no-tcp.example", "dns_failure"),
        ("127.0.0.77", ("127.0.0.77",)),
        ("::77", ("::77",)),
        ("localhost", ("127.0.0.1",)),
        ("deep.below.localhost", ("127.0.0.1",)),
    ],
)
def test_names(name: str, expected: tuple[str, ...] | str) -> None:
    async def main() -> tuple[str, ...] | str:
        server = NameServer(ZONE)
        async with resolving(server) as resolver:
            return await outcome(resolver, name)

    assert run(main) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("both.example", ("::5", "127.0.0.5", "::6", "127.0.0.6", "127.0.0.7")),
        ("six.example", ("::5",)),
        ("a.example", ("127.0.0.5",)),
        ("nowhere.example", "dns_not_found"),
        ("silent.example", "dns_timeout"),
        ("large.example", tuple(f"127.1.0.{n}" for n in range(200))),
    ],
)
def test_names_with_ipv6(name: str, expected: tuple[str, ...] | str) -> None:
    async def main() -> None:
        server = NameServer(ZONE)
        async with resolving(server, ipv6=True) as resolver:
            assert await outcome(resolver, name) == expected
            assert server.asked[name, A] == server.asked[name, AAAA] > 0

    run(main)


@pytest.mark.parametrize("name", ["127.0.0.77", "::77", "localhost", "x" * 64 + ".example"])
def test_what_needs_no_question(name: str) -> None:
    async def main() -> int:
        server = NameServer(ZONE)
        async with resolving(server) as resolver:
            await outcome(resolver, name)
        return server.asked.total()

    assert run(main) == 0


def test_an_unanswered_name_takes_its_timeout_and_no_more() -> None:
    async def main() -> None:
        server = NameServer(ZONE)
        async with resolving(server) as resolver:
            began = trio.current_time()
            assert await outcome(resolver, "silent.example") == "dns_timeout"
            assert trio.current_time() - began == pytest.approx(TIMEOUT)
            assert server.times("silent.example") == 2

    run(main)


def test_a_server_that_knows_no_ipv6_is_not_waited_for_long() -> None:
    async def main() -> None:
        async with resolving(NameServer(ZONE), ipv6=True) as resolver:
            began = trio.current_time()
            assert await resolver.resolve("old.example") == ("127.0.0.5",)
            assert trio.current_time() - began == pytest.approx(LATE_ANSWER)

    run(main)


def test_the_second_server_is_asked_when_the_first_is_unresponsive() -> None:
    async def main() -> None:
        unresponsive, answering = NameServer({"a.example": Entry(silent=True)}), NameServer(ZONE)
        async with resolving(unresponsive, answering) as resolver:
            began = trio.current_time()
            assert await outcome(resolver, "a.example") == ("127.0.0.5",)
            assert trio.current_time() - began < TIMEOUT / 2
            assert (unresponsive.times("a.example"), answering.times("a.example")) == (1, 1)

    run(main)


@pytest.mark.parametrize(
    ("first", "expected", "asked"),
    [
        (Entry(code=SERVFAIL), ("127.0.0.5",), 1),
        (Entry(code=REFUSED), ("127.0.0.5",), 1),
        (Entry(truncated=True, tcp_closes=True), ("127.0.0.5",), 1),
        (Entry(code=3), "dns_not_found", 0),
        (Entry(), "dns_not_found", 0),
    ],
)
def test_the_second_server_is_asked_when_the_first_fails(
    first: Entry, expected: tuple[str, ...] | str, asked: int
) -> None:
    async def main() -> None:
        failing, answering = NameServer({"a.example": first}), NameServer(ZONE)
        async with resolving(failing, answering) as resolver:
            assert await outcome(resolver, "a.example") == expected
            assert answering.times("a.example") == asked

    run(main)


def test_no_server_there() -> None:
    async def main() -> None:
        gone, answering = NameServer(), NameServer(ZONE)
        async with serving(gone):
            pass  # its port is free again
        async with resolving(answering):
            resolver = Resolver(DnsConfig((gone.address,), {}), TIMEOUT, ipv6=False)
            assert await outcome(resolver, "a.example") == "dns_failure"
            both = DnsConfig((gone.address, answering.address), {})
            resolver = Resolver(both, TIMEOUT, ipv6=False)
            assert await outcome(resolver, "a.example") == ("127.0.0.5",)

    run(main)


def test_truncated_answers_are_asked_for_over_tcp() -> None:
    async def main() -> None:
        server = NameServer(ZONE)
        async with resolving(server) as resolver:
            await resolver.resolve("a.example")
            assert server.over_tcp == 0
            await resolver.resolve("large.example")
            assert server.over_tcp == 1

    run(main)
