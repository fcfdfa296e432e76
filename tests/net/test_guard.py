"""The address guard at every hop; only `local_connector.PUBLIC` counts as public here."""

from __future__ import annotations

import pytest
import trio

from img2ds.config.options import NetworkOptions
from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.core.failure import Failure
from img2ds.net.budget import Budget
from img2ds.net.connector import Connector
from img2ds.net.context import FetchContext
from img2ds.net.dns_config import DnsConfig
from img2ds.net.fetcher import open_fetcher
from img2ds.net.resolver import Resolver
from tests.net.local_connector import PUBLIC, attempt, connector, listening
from tests.run_on_virtual_clock import run, serving
from tests.server import certificates
from tests.server.names import NameServer, addresses
from tests.server.registry import BEHAVIOURS
from tests.server.web import Server


@pytest.fixture(autouse=True)
def _guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("img2ds.net.connector.is_public", lambda address: address in PUBLIC)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "169.254.1.1",
        "192.168.0.1",
        "127.0.0.2",
        "0.0.0.0",
        "fe80::1",
        "::ffff:10.0.0.1",
    ],
)
def test_a_private_address_is_refused(address: str) -> None:
    async def main() -> list[str]:
        named = connector(hosts={"a.example": (address,), "b.example": (address, address)})
        literal = f"[{address}]" if ":" in address else address
        routed = connector(connect_to=(f"*:80:{literal}:80",))
        return [
            await attempt(named, address, 80),
            await attempt(named, "a.example", 80),
            await attempt(named, "b.example", 80),
            await attempt(routed, "a.example", 80),
        ]

    assert run(main) == ["blocked_address"] * 4


def test_private_addresses_of_a_name_are_left_out() -> None:
    async def main() -> None:
        async with listening("127.0.0.1") as public, listening("127.0.0.2", public.port) as private:
            mixed = {"a.example": ("127.0.0.2", "127.0.0.1")}
            assert await attempt(connector(hosts=mixed), "a.example", public.port) == "127.0.0.1"
            assert private.connections == 0
            allowed = connector(hosts=mixed, allow_private_addresses=True)
            assert await attempt(allowed, "a.example", public.port) == "127.0.0.2"

    run(main)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_name_that_leads_inside(allowed: bool) -> None:
    """By a DNS answer, at the first URL and behind a redirect."""

    async def main() -> None:
        names = NameServer(
            {"out.example": addresses("127.0.0.1"), "in.example": addresses("127.0.0.2")}
        )
        inside = Server(BEHAVIOURS, host="127.0.0.2")
        outside = Server(BEHAVIOURS)
        async with serving(names, inside, outside):
            options = NetworkOptions(
                allow_private_addresses=allowed, ca_bundle=certificates.bundle()
            )
            resolver = Resolver(DnsConfig((names.address,), {}), 10.0, ipv6=False)
            fetcher = open_fetcher(options, resolver)
            goal = f"http://in.example:{inside.port}/good.jpg"
            hop = f"http://out.example:{outside.port}/redirect?to={goal}"
            for url in (goal, hop):
                context = FetchContext.start(options, Budget(1 << 30).lease())
                outcome = await fetcher.fetch(url, context)
                if allowed:
                    assert not isinstance(outcome, Failure), outcome
                else:
                    assert isinstance(outcome, Failure)
                    assert outcome.reason == "blocked_address"
            assert outside.requests == 1
            assert inside.requests == (2 if allowed else 0)
            await fetcher.aclose()

    run(main)


def test_a_name_whose_addresses_change_is_checked_again() -> None:
    async def main() -> None:
        table = {"a.example": addresses("127.0.0.1", ttl=60)}
        names = NameServer(table)
        async with serving(names), listening("127.0.0.1") as server:
            resolver = Resolver(DnsConfig((names.address,), {}), 10.0, ipv6=False)
            opened = Connector(
                NetworkOptions(ca_bundle=certificates.bundle()), resolver, NetworkPath(Machine())
            )
            assert await attempt(opened, "a.example", server.port) == "127.0.0.1"
            table["a.example"] = addresses("127.0.0.2")
            await trio.sleep(61)
            assert await attempt(opened, "a.example", server.port) == "blocked_address"

    run(main)
