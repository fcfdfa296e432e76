"""The limits of simulated networks, on a clock that the tests set."""

from __future__ import annotations

import math
import struct

import pytest

from benchmark.counting_cdn import BAN, CountingCdn
from benchmark.icmp import host_unreachable
from benchmark.limited_dns import LimitedResolver, Question
from benchmark.link_queue import LinkQueue
from benchmark.nat_table import CLIENT, SERVER, UDP, UNANSWERED, NatTable
from benchmark.network_bounds import bound_of
from benchmark.network_list import address_of, kind_of, make_rows
from benchmark.network_settings import Cdn, Link, NameServer, Nat, Outage, Path, World
from benchmark.network_worlds import WORLDS
from benchmark.router import Router
from benchmark.token_bucket import TokenBucket

SYN, FIN, RST, ACK = 2, 1, 4, 16


def test_token_bucket_allows_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert bucket.take(0.1)
    assert not bucket.take(0.15)
    assert [bucket.take(60.0) for _ in range(5)] == [True, True, True, False, False]


def test_link_queue_sends_in_turn_and_drops_what_does_not_fit() -> None:
    link = LinkQueue([8000.0], capacity=2500)
    assert link.leaves(0.0, 1000) == 1.0
    assert link.leaves(0.0, 1000) == 2.0
    assert link.leaves(0.0, 1000) is None
    assert link.leaves(0.5, 1000) == 3.0
    assert link.leaves(10.0, 1000) == 11.0


def test_link_queue_changes_its_rate() -> None:
    link = LinkQueue([8000.0, 800.0], capacity=5000, period=10.0)
    assert link.leaves(5.0, 1000) == 6.0
    assert link.leaves(12.0, 1000) == 22.0
    assert link.leaves(30.0, 1000) == 40.0
    assert link.leaves(45.0, 1000) == 46.0


def test_nat_table_refuses_new_flows_until_both_sides_have_ended_one() -> None:
    table = NatTable(2)
    assert table.syn(b"a", 0)
    assert table.syn(b"b", 0)
    assert not table.syn(b"c", 0)
    assert table.syn(b"a", 1), "a repeated SYN has its entry"
    table.fin(b"a", CLIENT, 2)
    table.fin(b"a", CLIENT, 2)
    assert not table.syn(b"c", 2)
    table.fin(b"a", SERVER, 3)
    assert table.syn(b"c", 3)
    table.reset(b"b", 4)
    assert table.syn(b"d", 4)
    assert (len(table), table.most) == (2, 2)


def test_nat_table_keeps_open_connections_and_lets_unanswered_ones_expire() -> None:
    table = NatTable(1)
    assert table.syn(b"a", 0)
    assert not table.syn(b"b", UNANSWERED - 1)
    assert table.syn(b"b", UNANSWERED)
    table.answered(b"b")
    assert not table.syn(b"c", 10_000)


def test_nat_table_entries_linger() -> None:
    table = NatTable(1, linger=60)
    assert table.syn(b"a", 0)
    table.answered(b"a")
    table.reset(b"a", 5)
    table.fin(b"a", CLIENT, 20)
    table.fin(b"a", SERVER, 20)
    assert not table.syn(b"b", 64)
    assert table.syn(b"b", 65)


def test_nat_table_counts_udp_flows_until_they_are_silent() -> None:
    table = NatTable(1)
    assert table.udp(b"dns", 0)
    assert table.udp(b"dns", 20)
    assert not table.syn(b"a", UDP + 19)
    assert table.syn(b"a", UDP + 20)


def test_cdn_refuses_what_exceeds_its_rate_and_bans_who_goes_on() -> None:
    cdn = CountingCdn(Cdn(rate=20, ban="403"))
    polite = [cdn.request(tick / 20) for tick in range(400)]
    assert set(polite) == {200}
    rude = {cdn.request(20 + tick / 100) for tick in range(490)}
    assert rude == {200, 429}
    assert {cdn.request(25.1 + tick / 100) for tick in range(100)} >= {403}
    assert cdn.request(26.2 + BAN) == 200


def test_cdn_forgives_who_pauses() -> None:
    cdn = CountingCdn(Cdn(rate=20, ban="reset"))
    for second in range(0, 60, 3):
        assert {cdn.request(second + tick / 1000) for tick in range(100)} == {200, 429}
    assert cdn.connect(60)


def test_cdn_limits_connections() -> None:
    cdn = CountingCdn(Cdn(parallel=2))
    assert [cdn.connect(0) for _ in range(3)] == [True, True, False]
    cdn.disconnect()
    assert cdn.connect(0)


def _packet(flags: int, server: str = "198.19.0.1", port: int = 4000) -> bytes:
    header = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]) + bytes([198, 18, 0, 2])
    address = bytes(map(int, server.split(".")))
    return header + address + struct.pack("!HH", port, 80) + bytes(9) + bytes([flags]) + bytes(6)


def _reply(packet: bytes, flags: int) -> bytes:
    swapped = packet[:12] + packet[16:20] + packet[12:16] + packet[22:24] + packet[20:22]
    return swapped + packet[24:33] + bytes([flags]) + packet[34:]


def test_router_drops_syns_while_its_table_is_full() -> None:
    router = Router(Path(nat=Nat(1)), rows=100, now=0)
    first, second = _packet(SYN), _packet(SYN, port=4001)
    router.from_tool(first, 0)
    router.from_tool(second, 0)
    assert [packet for _, packet in router.up.flying] == [first]
    router.from_web(_reply(first, SYN | ACK), 0.1)
    router.from_tool(_packet(FIN | ACK), 0.2)
    router.from_web(_reply(first, FIN | ACK), 0.3)
    router.from_tool(second, 0.4)
    assert router.up.flying[-1] == (0.4 + 0.015, second)
    assert router.syns_refused == 1


def test_router_drops_syns_to_dead_hosts_and_for_a_while_to_waking_ones() -> None:
    router = Router(Path(), rows=100, now=0)
    for name, now in (("dead0", 0.0), ("waking0", 0.0), ("waking0", 11.9), ("waking0", 12.0)):
        address = address_of(f"{name}.example")
        assert address is not None
        router.from_tool(_packet(SYN, address), now)
    assert [round(arrives - 0.015, 3) for arrives, _ in router.up.flying] == [12.0]


def test_router_answers_that_hosts_are_unreachable_after_a_fifth_of_the_rows() -> None:
    router = Router(Path(outage=Outage("unreachable", 20.0)), rows=10, now=0)
    router.from_tool(_packet(SYN), 0)
    router.from_tool(_packet(SYN), 1)
    router.from_tool(_packet(SYN), 2)
    assert len(router.up.flying) == 2
    (_, answer) = router.down.flying[0]
    assert answer[20:22] == bytes([3, 1])
    router.from_tool(_packet(SYN), 21.1)
    assert len(router.up.flying) == 3


def test_router_shares_a_link() -> None:
    router = Router(Path(rtt=0.2, down=Link(0.00032, queue=50)), rows=10, now=0)
    for _ in range(3):
        router.from_web(_reply(_packet(ACK), ACK), 0)
    assert [round(arrives, 3) for arrives, _ in router.down.flying] == [1.1]
    assert router.down.dropped == 2


def test_icmp_checksums_add_up() -> None:
    answer = host_unreachable(_packet(SYN))
    for part in (answer[:20], answer[20:]):
        total = sum(struct.unpack(f"!{len(part) // 2}H", part))
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def _question(name: str) -> Question:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return Question.parse(bytes([1, 2]) + bytes(10) + labels + bytes([0, 0, 1, 0, 1]))


def _codes(replies: list[bytes]) -> list[int]:
    return [reply[3] & 15 for reply in replies]


def test_name_server_refuses_beyond_its_rate() -> None:
    replies: list[bytes] = []
    resolver = LimitedResolver(NameServer(rate=50), lambda: 1.0, lambda wait, call: None)
    for number in range(6):
        resolver.ask(_question(f"site{number}.example"), replies.append)
    assert _codes(replies) == [0, 0, 0, 0, 0, 2]
    assert replies[0].endswith(bytes([198, 19, 0, 1]))


def test_name_server_looks_up_a_limited_number_of_cold_names() -> None:
    replies: list[bytes] = []
    later: list[tuple[float, object]] = []
    settings = NameServer(cold=(0.3, 3.0), at_once=1)
    resolver = LimitedResolver(settings, lambda: 1.0, lambda wait, call: later.append((wait, call)))
    resolver.ask(_question("site1.example"), replies.append)
    resolver.ask(_question("SITE1.example"), replies.append)
    assert (replies, len(later)) == ([], 1)
    resolver.ask(_question("site2.example"), replies.append)
    assert _codes(replies) == [2]
    wait, call = later[0]
    assert 0.3 <= wait <= 3.0
    assert callable(call)
    call()
    assert _codes(replies) == [2, 0, 0]


def test_name_server_that_is_out_recovers_after_its_first_question() -> None:
    replies: list[bytes] = []
    now = 100.0
    resolver = LimitedResolver(
        NameServer(out=10, beyond="refused"), lambda: now, lambda wait, call: None
    )
    resolver.ask(_question("gone1.example"), replies.append)
    now = 110.0
    resolver.ask(_question("gone1.example"), replies.append)
    assert _codes(replies) == [5, 3]


@pytest.mark.parametrize("name", ["site0", "dead300", "waking2", "refused9", "missing1100"])
def test_a_hosts_kind_is_in_its_address(name: str) -> None:
    address = address_of(f"{name}.example")
    assert address is not None
    assert kind_of(int(address.split(".")[2])) == name.rstrip("0123456789")


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_lists_have_every_row_once(world: World) -> None:
    rows = make_rows(world, 1000)
    assert len(set(rows.urls)) == 1000
    assert rows.available <= set(rows.urls)


def bound(name: str) -> float:
    world = WORLDS[name]
    return bound_of(world, make_rows(world, 1500), 2).seconds


@pytest.mark.parametrize(
    ("name", "slowest_syn"), [("loss-5", 3.0), ("loss-10", 7.0), ("syn-loss-20", 7.0)]
)
def test_the_bound_of_a_lossy_line_is_its_slowest_row(name: str, slowest_syn: float) -> None:
    """A SYN or its answer is lost once in 10, 5 and 5 times; there are 600 connections.

    Rows that start late, and data that is lost as well, make it more.
    """
    world = WORLDS[name]
    bound = bound_of(world, make_rows(world, 1500), 2)
    at_once, in_turn = bound.total(0.0), bound.total(3.0)
    assert 0.7 * slowest_syn < at_once < 1.5 * slowest_syn
    assert at_once < in_turn < at_once + 3.0
    assert bound.strictest(3.0) == "retransmissions"


def test_the_bound_of_a_cold_resolver_is_that_of_its_last_name() -> None:
    mean = (12.0 - 1.0) / math.log(12.0)
    assert 600 * mean / 200 < bound("dns-cold-slow") < 600 * mean / 200 + 12.0
