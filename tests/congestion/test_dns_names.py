"""The names that the workers of a machine share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from img2ds.congestion import dns_names
from img2ds.congestion.dns_names import MAX_ADDRESSES, DnsNames
from img2ds.congestion.shared_file import make_run_token, remove_files


@pytest.fixture
def token() -> Iterator[str]:
    token = make_run_token()
    yield token
    remove_files(token)


@pytest.mark.parametrize(
    "addresses",
    [
        (), ("127.0.0.5",), ("2001:db8::5", "127.0.0.5", "::6"),
        tuple(f"127.0.0.{n}" for n in range(9)),
    ],
)  # fmt: skip
def test_what_one_worker_stores_another_finds(token: str, addresses: tuple[str, ...]) -> None:
    one, other = DnsNames(token), DnsNames(token)
    assert other.find("a.example") is None
    one.store("a.example", addresses, 60.0)
    found = other.find("a.example")
    assert found is not None
    assert found[0] == addresses[:MAX_ADDRESSES]
    assert found[1] == pytest.approx(60.0, abs=1.0)
    assert other.find("b.example") is None
    one.close()
    other.close()


def test_addresses_of_one_link_are_not_shared() -> None:
    names = DnsNames()
    names.store("a.example", ("fe80::1%eth0", "127.0.0.5"), 60.0)
    found = names.find("a.example")
    assert found is not None
    assert found[0] == ("127.0.0.5",)


def test_an_old_answer_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    names = DnsNames()
    names.store("a.example", ("127.0.0.5",), 60.0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61.0)
    assert names.find("a.example") is None


def test_a_row_that_was_torn_is_not_found() -> None:
    names = DnsNames()
    names.store("a.example", ("127.0.0.5",), 60.0)
    memory = names._file.memory
    place = next(n for n in range(0, len(memory), 4096) if any(memory[n : n + 4096]))
    page = bytearray(memory[place : place + 4096])
    last = page.rindex(5)  # of the address
    page[last] = 6
    memory[place : place + 4096] = bytes(page)
    assert names.find("a.example") is None


def test_a_later_name_takes_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_names, "ROWS", 1)
    names = DnsNames()
    names.store("a.example", ("127.0.0.5",), 60.0)
    names.store("b.example", ("127.0.0.6",), 60.0)
    assert names.find("a.example") is None
    assert names.find("b.example") is not None
