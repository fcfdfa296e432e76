"""Connections on loopback: happy eyeballs, connect_to, time limits, trust."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trio

from img2ds.config.options import NetworkOptions
from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.core.failure import UsageError
from img2ds.net.connector import Connector
from img2ds.net.deadline import Deadline
from img2ds.net.dns_config import DnsConfig
from img2ds.net.error import FetchError
from img2ds.net.family_order import LOST_ENOUGH, TRY_AGAIN, FamilyOrder
from img2ds.net.resolver import Resolver
from img2ds.net.tcp import HEAD_START, MAX_ADDRESSES
from img2ds.net.tls_context import open_context
from img2ds.net.url import parse_url
from tests.net.local_connector import (
    DISCARD,
    PUBLIC,
    attempt,
    connect,
    connector,
    full,
    listening,
)
from tests.run_on_virtual_clock import run, serving
from tests.server import certificates
from tests.server.names import Entry, NameServer


@pytest.fixture(autouse=True)
def _guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("img2ds.net.connector.is_public", lambda address: address in PUBLIC)


PRIVATE = {"allow_private_addresses": True}


def test_the_next_address_is_tried_at_once_when_one_refuses() -> None:
    async def main() -> None:
        async with listening("127.0.0.3") as server:
            hosts = {"a.example": ("127.0.0.1", "127.0.0.3")}
            began = trio.current_time()
            assert await attempt(connector(hosts=hosts), "a.example", server.port) == "127.0.0.3"
            assert trio.current_time() == began

    run(main)


def test_the_next_address_is_tried_while_one_is_unresponsive() -> None:
    async def main() -> None:
        with full("127.0.0.1") as listener:
            port = listener.getsockname()[1]
            async with listening("127.0.0.3", port):
                hosts = {"a.example": ("127.0.0.1", "127.0.0.3")}
                began = trio.current_time()
                assert await attempt(connector(hosts=hosts), "a.example", port) == "127.0.0.3"
                assert trio.current_time() - began == pytest.approx(HEAD_START)

    run(main)


def test_an_address_family_that_is_missing_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel without IPv6: socket() itself fails."""
    make = socket.socket

    class Only4(make):  # type: ignore[misc, valid-type]
        def __init__(self, family: int = -1, *rest: Any, **named: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "not here")
            super().__init__(family, *rest, **named)

    async def main() -> None:
        async with listening("127.0.0.1") as server:
            opened = connector(hosts={"a.example": ("::1", "127.0.0.1")})
            monkeypatch.setattr("img2ds.net.tcp.socket.socket", Only4)
            assert await attempt(opened, "a.example", server.port) == "127.0.0.1"
            monkeypatch.undo()

    run(main)


def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")

    async def main() -> None:
        async with listening("::1") as server:
            url = parse_url(f"http://[::1]:{server.port}/good.jpg")
            assert url.authority == f"[::1]:{server.port}"
            assert await attempt(connector(), url.host, url.port) == "::1"
            hosts = {"a.example": ("::1", "127.0.0.1")}
            assert await attempt(connector(hosts=hosts), "a.example", server.port) == "::1"

    run(main)


@pytest.mark.parametrize("hosts", [("127.0.0.1",), ("127.0.0.1", "127.0.0.3")])
def test_refused_connections(hosts: tuple[str, ...]) -> None:
    async def main() -> str:
        return await attempt(connector(hosts={"a.example": hosts}), "a.example", DISCARD)

    assert run(main) == "connect_refused"


@pytest.mark.parametrize(
    ("silence", "max_time", "reason", "seconds"),
    [(10.0, 60.0, "connect_timeout", 10.0), (10.0, 4.0, "max_time", 4.0)],
)
def test_unanswered_connections(
    silence: float, max_time: float, reason: str, seconds: float
) -> None:
    async def main() -> None:
        with full("127.0.0.1") as listener:
            host, port = listener.getsockname()
            began = trio.current_time()
            with pytest.raises(FetchError) as caught:
                await connect(connector(), host, port, Deadline(silence, max_time))
            assert caught.value.failure.reason == reason
            assert trio.current_time() - began == pytest.approx(seconds)

    run(main)


def test_waiting_for_a_name_counts_as_well() -> None:
    async def main() -> None:
        names = NameServer({"a.example": Entry(silent=True)})
        async with serving(names):
            resolver = Resolver(DnsConfig((names.address,), {}), 30.0, ipv6=False)
            opened = Connector(
                NetworkOptions(ca_bundle=certificates.bundle()), resolver, NetworkPath(Machine())
            )
            began = trio.current_time()
            with pytest.raises(FetchError) as caught:
                await connect(opened, "a.example", 80, Deadline(30.0, 12.0))
            assert caught.value.failure.reason == "max_time"
            assert trio.current_time() - began == pytest.approx(12.0)

    run(main)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
@pytest.mark.parametrize("hosts", [("127.0.0.1",), ("127.0.0.1", "127.0.0.3")])
def test_a_lack_of_descriptors_is_a_local_failure(
    code: int, hosts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*args: Any) -> socket.socket:
        raise OSError(code, "none left")

    async def main() -> str:
        opened = connector(hosts={"a.example": hosts})
        with monkeypatch.context() as patch:
            patch.setattr("img2ds.net.tcp.socket.socket", none_left)
            return await attempt(opened, "a.example", 80)

    assert run(main) == "no_descriptors"


@pytest.mark.parametrize(
    ("rules", "host", "port", "reached"),
    [
        (("a.example:80:127.0.0.3:PORT",), "a.example", 80, "127.0.0.3"),
        (("*:80:127.0.0.3:PORT",), "b.example", 80, "127.0.0.3"),
        (("::127.0.0.3:PORT",), "b.example", 443, "127.0.0.3"),
        (("a.example:80:127.0.0.1:PORT", "*:*:127.0.0.3:PORT"), "b.example", 80, "127.0.0.3"),
        (("*:*:127.0.0.3:PORT", "a.example:80:127.0.0.1:PORT"), "a.example", 80, "127.0.0.3"),
        (("a.example::127.0.0.3:",), "a.example", None, "127.0.0.3"),
        (("a.example:80:c.example:PORT",), "a.example", 80, "127.0.0.3"),
        (("a.example:80:127.0.0.2:PORT",), "a.example", 80, "blocked_address"),
        (("a.example:81:127.0.0.3:PORT",), "a.example", 80, "connect_refused"),
    ],
)
def test_connect_to(rules: tuple[str, ...], host: str, port: int | None, reached: str) -> None:
    async def main() -> str:
        async with listening("127.0.0.3") as server:
            filled = tuple(rule.replace("PORT", str(server.port)) for rule in rules)
            hosts = {"a.example": ("127.0.0.1",), "c.example": ("127.0.0.3",)}
            opened = connector(hosts=hosts, connect_to=filled)
            # Port 80 of 127.0.0.1 may be in use: what is not rerouted goes to DISCARD.
            other = port if reached != "connect_refused" else DISCARD
            return await attempt(opened, host, other or server.port)

    assert run(main) == reached


def test_a_bundle_without_certificates(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    with pytest.raises(UsageError, match="ca_bundle"):
        open_context(NetworkOptions(ca_bundle=str(wrong)))
    with pytest.raises(UsageError, match="ca_bundle"):
        NetworkOptions(ca_bundle=str(tmp_path / "missing.pem"))


def test_certificates_are_verified_by_default() -> None:
    context = open_context(NetworkOptions())
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    context = open_context(NetworkOptions(ignore_ssl_certificate=True))
    assert context.verify_mode is ssl.CERT_NONE


def test_ipv6_that_does_not_work_loses_its_head_start() -> None:
    async def main() -> list[float]:
        with full("::1") as listener:
            port = listener.getsockname()[1]
            async with listening("127.0.0.3", port):
                opened = connector(
                    hosts={"a.example": ("::1", "127.0.0.3")}, allow_private_addresses=True
                )
                seconds = []
                for _ in range(LOST_ENOUGH + 2):
                    began = trio.current_time()
                    assert await attempt(opened, "a.example", port) == "127.0.0.3"
                    seconds.append(trio.current_time() - began)
                await trio.sleep(TRY_AGAIN)
                for _ in range(2):
                    began = trio.current_time()
                    assert await attempt(opened, "a.example", port) == "127.0.0.3"
                    seconds.append(trio.current_time() - began)
                return seconds

    slow = [HEAD_START] * LOST_ENOUGH + [0.0, 0.0, HEAD_START, 0.0]
    assert run(main) == pytest.approx(slow, abs=0.1)


def test_ipv6_that_works_again_goes_first() -> None:
    async def main() -> list[str]:
        order = FamilyOrder()
        addresses = ("::1", "127.0.0.3")
        for _ in range(LOST_ENOUGH):
            order.connected(order.sort(addresses), socket.AF_INET)
        first = [order.sort(addresses)[0]]
        order.connected(addresses, socket.AF_INET6)
        return [*first, order.sort(addresses)[0]]

    assert run(main) == ["127.0.0.3", "::1"]


def test_no_more_addresses_than_a_few_are_tried() -> None:
    async def main() -> None:
        many = tuple(f"127.0.0.{n}" for n in range(10, 10 + MAX_ADDRESSES))
        async with listening("127.0.0.3") as server:
            opened = connector(hosts={"a.example": (*many, "127.0.0.3")}, **PRIVATE)
            assert await attempt(opened, "a.example", server.port) == "connect_refused"
            opened = connector(hosts={"a.example": (*many[1:], "127.0.0.3")}, **PRIVATE)
            assert await attempt(opened, "a.example", server.port) == "127.0.0.3"

    run(main)
