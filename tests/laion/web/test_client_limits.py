"""The rate limit, and what one client may take at once."""

from __future__ import annotations

from typing import Any

import pytest

from laion.web.batch_queue import Overloaded
from laion.web.client_limits import MAX_CLIENTS, ClientSlots, RateLimit, RequestsAtOnce
from tests.laion.web.conftest import Make


async def nothing(*_: Any) -> None:
    return None


def test_the_rate_limit_counts_searches_fully_and_pages_little(make_client: Make) -> None:
    client = make_client(rate_limit=3)
    assert [client.get("/api/search?id=1").status_code for _ in range(4)] == [200] * 3 + [429]
    refused = client.get("/api/search?id=1")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert list(refused.json()) == ["error"]
    client = make_client(rate_limit=3)
    assert {client.get("/").status_code for _ in range(100)} == {200}


def test_a_forwarded_address_is_believed_from_trusted_proxies_only(make_client: Make) -> None:
    def statuses(peer: str, forwarded: str) -> list[int]:
        client = make_client(rate_limit=2, proxies=("10.0.0.0/8",), client=(peer, 1))
        headers = [{"X-Forwarded-For": forwarded.format(n)} for n in range(4)]
        return [client.get("/api/search?id=1", headers=h).status_code for h in headers]

    assert statuses("203.0.113.9", "198.51.100.{}") == [200, 200, 429, 429]
    assert statuses("10.1.2.3", "198.51.100.{}") == [200] * 4
    assert statuses("10.1.2.3", "198.51.100.{}, 203.0.113.9") == [200, 200, 429, 429]


def test_the_limit_passes_with_time_and_is_each_clients_own() -> None:
    now = 0.0
    limit = RateLimit(nothing, 60, lambda: now)
    assert [limit.take("a", 1) for _ in range(60)] == [0] * 60
    assert limit.take("a", 1) == 1
    assert limit.take("b", 1) == 0
    now = 0.5
    assert limit.take("a", 1) == 1, "a rejection costs nothing, and half a token is not enough"
    now = 1.5
    assert limit.take("a", 1) == 0
    now = 10_000
    assert [limit.take("a", 1) for _ in range(61)].count(0) == 60


def test_clients_are_forgotten_before_they_fill_the_memory() -> None:
    limit = RateLimit(nothing, 60, lambda: 0.0)
    for number in range(MAX_CLIENTS + 500):
        limit.take(str(number), 1)
    assert len(limit._buckets) == MAX_CLIENTS


def test_slots_are_bounded_in_all_and_for_each_client() -> None:
    slots = ClientSlots(total=3, each=2, things="uploads")
    with slots.hold("a"), slots.hold("a"):
        with pytest.raises(Overloaded, match="too many uploads at once"), slots.hold("a"):
            pass
        with slots.hold("b"), pytest.raises(Overloaded), slots.hold("c"):
            pass
        assert slots.take("c")
        slots.release("c")
    assert [slots.take("a") for _ in range(3)] == [True, True, False]


def test_a_client_may_have_few_requests_in_progress() -> None:
    """Run by hand: one request waits in the app while others come."""
    limited = RequestsAtOnce(waiting, each=1)
    first = request(limited, "10.0.0.1")
    assert first.send(None) == "waiting"
    assert answered(limited, "10.0.0.1") == [503]
    other = request(limited, "10.0.0.2")
    assert other.send(None) == "waiting"
    other.close()
    first.close()  # cancelled: the slot is free
    again = request(limited, "10.0.0.1")
    assert again.send(None) == "waiting"
    again.close()


class Waiting:
    def __await__(self) -> Any:
        yield "waiting"


async def waiting(*_: Any) -> None:
    await Waiting()


def request(app: Any, client: str, send: Any = None) -> Any:
    return app({"type": "http", "client": (client, 1), "headers": []}, None, send)


def answered(app: Any, client: str) -> list[int]:
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            assert (b"retry-after", b"1") in message["headers"]

    with pytest.raises(StopIteration):
        request(app, client, send).send(None)
    return statuses
