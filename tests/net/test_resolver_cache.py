"""The resolver's cache, its limits, and the system's files."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from img2ds.core.failure import UsageError
from img2ds.net.dns_config import DnsConfig, read_hosts, read_resolv_conf, system_config
from img2ds.net.resolver import MAX_NOT_FOUND_TTL, MAX_TTL, MIN_TTL, UNCONTROLLED
from tests.net.local_resolver import ZONE, outcome, resolving
from tests.run_on_virtual_clock import run
from tests.server.names import A, Entry, NameServer, Record, addresses


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("a.example", 300.0),
        ("alias.example", 90.0),
        ("brief.example", MIN_TTL),
        ("lasting.example", MAX_TTL),
        ("nowhere.example", MIN_TTL),
        ("empty.example", MIN_TTL),
        ("gone.example", 90.0),
        ("long-gone.example", MAX_NOT_FOUND_TTL),
    ],
)
def test_an_answer_is_kept_for_its_time(name: str, seconds: float) -> None:
    async def main() -> None:
        server = NameServer(ZONE)
        async with resolving(server) as resolver:
            first = await outcome(resolver, name)
            asked = server.times(name)
            await trio.sleep(seconds - 0.5)
            assert await outcome(resolver, name) == first
            assert server.times(name) == asked
            await trio.sleep(1)
            assert await outcome(resolver, name) == first
            assert server.times(name) == 2 * asked

    run(main, limit=2 * MAX_TTL)


@pytest.mark.parametrize("name", ["slow.example", "nowhere.example", "silent.example"])
def test_a_question_is_asked_once_for_all_who_wait(name: str) -> None:
    async def main() -> None:
        server = NameServer(ZONE)
        found = []

        async def ask() -> None:
            found.append(await outcome(resolver, name))

        async with resolving(server) as resolver:
            alone = await outcome(resolver, name)
            asked = server.times(name)
            await trio.sleep(MAX_NOT_FOUND_TTL + 1)
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(ask)
            assert found == [alone] * 20
            assert server.times(name) == 2 * asked

    run(main, limit=2 * MAX_TTL)


def test_who_gives_up_leaves_the_question_to_the_others() -> None:
    async def main() -> None:
        server = NameServer(ZONE)
        async with resolving(server) as resolver:
            found = []

            async def ask(seconds: float) -> None:
                with trio.move_on_after(seconds):
                    found.append(await outcome(resolver, "slow.example"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, 1.0)
                await trio.sleep(0.5)
                for _ in range(3):
                    nursery.start_soon(ask, 60.0)
            assert found == [("127.0.0.5",)] * 3
            assert await resolver.resolve("slow.example") == ("127.0.0.5",)

    run(main)


def test_the_hosts_file_comes_first() -> None:
    async def main() -> None:
        server = NameServer(ZONE)
        hosts = {"a.example": ("127.0.0.99", "::99")}
        async with resolving(server, hosts=hosts) as resolver:
            assert await resolver.resolve("a.example") == ("127.0.0.99", "::99")
            assert server.asked.total() == 0

    run(main)


def test_a_server_is_not_drowned() -> None:
    async def main() -> None:
        names = [f"n{number}.example" for number in range(3 * UNCONTROLLED)]
        record = (Record(A, "127.0.0.5"),)
        server = NameServer({name: Entry(record, delay=0.5) for name in names})
        async with resolving(server) as resolver, trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(resolver.resolve, name)
        assert server.most_at_once == UNCONTROLLED
        assert server.asked.total() == len(names)

    run(main)


def test_message_numbers_cannot_be_guessed() -> None:
    async def main() -> None:
        names = [f"n{number}.example" for number in range(50)]
        server = NameServer({name: addresses("127.0.0.5") for name in names})
        async with resolving(server) as resolver:
            for name in names:
                await resolver.resolve(name)
        steps = {b - a for a, b in zip(server.numbers, server.numbers[1:], strict=False)}
        assert len(steps) > 40

    run(main)


def test_system_files(tmp_path: Path) -> None:
    resolv, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    resolv.write_text(
        "# none\nsearch example\nnameserver 127.0.0.3\nnameserver bad\nnameserver ::1\n"
    )
    assert read_resolv_conf(resolv).servers == (("127.0.0.3", 53), ("::1", 53))
    hosts.write_text("127.0.0.4 One one.Example # four\n\n::4 one\nnonsense two\n127.0.0.5\n")
    assert read_hosts(hosts) == {"one": ("127.0.0.4", "::4"), "one.example": ("127.0.0.4",)}
    missing = tmp_path / "missing"
    assert read_resolv_conf(missing) == DnsConfig((("127.0.0.1", 53),), {})
    assert read_hosts(missing) == {}


def test_given_servers() -> None:
    given = ("127.0.0.3", "127.0.0.3:5353", "::1", "[::1]:5353")
    assert system_config(given).servers == (
        ("127.0.0.3", 53),
        ("127.0.0.3", 5353),
        ("::1", 53),
        ("::1", 5353),
    )
    for wrong in ("dns.example", "127.0.0.3:port", "127.0.0"):
        with pytest.raises(UsageError, match="dns_servers"):
            system_config((wrong,))


def test_options_of_resolv_conf(tmp_path: Path) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text(
        "domain old.example\nsearch One.example. two.example\nnameserver 127.0.0.3\n"
        "options ndots:2 timeout:40 attempts:3 rotate nonsense ndots:x\n"
    )
    config = read_resolv_conf(resolv)
    assert config.search == ("one.example", "two.example")
    assert (config.ndots, config.timeout, config.attempts, config.rotate) == (2, 30.0, 3, True)


@pytest.mark.parametrize(
    ("host", "ndots", "names"),
    [
        ("a", 1, ("a.one", "a.two", "a")),
        ("a.b", 1, ("a.b",)),
        ("a.b", 2, ("a.b", "a.b.one", "a.b.two")),
        ("a.", 1, ("a.",)),
    ],
)
def test_names_to_ask_for(host: str, ndots: int, names: tuple[str, ...]) -> None:
    config = DnsConfig((), {}, search=("one", "two"), ndots=ndots)
    assert config.candidates(host) == names


def test_a_name_of_a_search_domain() -> None:
    async def main() -> None:
        server = NameServer({"image.inside.example": addresses("127.0.0.5")})
        config = {"search": ("none.example", "inside.example")}
        async with resolving(server, config=config) as resolver:
            assert await outcome(resolver, "image") == ("127.0.0.5",)
            assert await outcome(resolver, "nothing") == "dns_not_found"
            assert await outcome(resolver, "image") == ("127.0.0.5",)
            assert server.times("image.none.example") == 1

    run(main)


def test_servers_in_turn() -> None:
    async def main() -> None:
        table = {f"n{number}.example": addresses("127.0.0.5") for number in range(20)}
        first, second = NameServer(table), NameServer(table)
        async with resolving(first, second, config={"rotate": True}) as resolver:
            for name in table:
                await resolver.resolve(name)
        assert first.asked.total() == second.asked.total() == 10

    run(main)
