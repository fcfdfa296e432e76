"""What workers tell each other of robots.txt files; trouble with the file costs no row."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from img2ds.congestion.shared_file import make_run_token, remove_files
from img2ds.net import robots_store
from img2ds.net.robots_store import MAX_ENTRY, RobotsStore


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = make_run_token()
    yield made
    remove_files(made)
    assert not list(tmp_path.iterdir())


def entry(store: RobotsStore) -> tuple[Any, ...]:
    return store.get("http://a") or ()


def test_one_worker_asks_and_tells_the_others(token: str) -> None:
    one, other = RobotsStore(token), RobotsStore(token)
    assert one.get("http://a") is None
    assert one.claim("http://a", 60)
    assert not other.claim("http://a", 60)
    assert entry(other) == (b"", pytest.approx(60, abs=5))
    one.put("http://a", b"=rules", 100)
    assert entry(other) == (b"=rules", pytest.approx(100, abs=5))
    assert not other.claim("http://a", 60)
    assert other.claim("http://b", 60)
    one.close()
    other.close()


def test_a_claim_that_is_given_up_or_too_old_is_another_ones(token: str) -> None:
    one, other = RobotsStore(token), RobotsStore(token)
    assert one.claim("http://a", 60)
    one.release("http://a")
    assert other.claim("http://a", 0)
    assert one.claim("http://a", 60)
    one.put("http://a", b"=", 0)
    assert other.get("http://a") is None
    assert other.claim("http://a", 60)
    one.close()
    other.close()


def test_old_entries_go(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots_store, "MAX_HOSTS", 100)
    store = RobotsStore(token)
    for number in range(1024):
        store.put(f"http://{number}", b"=", 1000)
    assert store.get("http://1023") is not None
    assert store.get("http://0") is None
    assert store.get("http://900") is None
    store.close()


def test_a_full_file_makes_room(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots_store, "MAX_PAGES", 64)
    monkeypatch.setattr(robots_store, "MAX_HOSTS", 100)
    store = RobotsStore(token)
    for number in range(300):
        store.put(f"http://{number}", b"x" * 4000, 1000)
    found = [n for n in range(300) if store.get(f"http://{n}") is not None]
    assert 5 < len(found) < 64
    store.close()


def test_a_large_entry_is_kept_to_oneself(token: str) -> None:
    store = RobotsStore(token)
    assert store.claim("http://a", 60)
    store.put("http://a", bytes(MAX_ENTRY + 1), 100)
    assert store.get("http://a") is None
    assert store.claim("http://a", 60)
    store.close()


def test_a_worker_alone_stores_nothing() -> None:
    store = RobotsStore(None)
    assert store.claim("http://a", 60)
    store.put("http://a", b"=", 100)
    assert store.get("http://a") is None
    store.release("http://a")
    store.close()


def test_a_damaged_file_costs_nothing_but_requests(token: str, tmp_path: Path) -> None:
    store = RobotsStore(token)
    (path,) = tmp_path.glob(".*")
    path.write_bytes(b"not a database" * 1000)
    store.put("http://a", b"=", 100)
    assert store.get("http://a") is None
    assert store.claim("http://a", 60)
    store.close()
    other = RobotsStore(token)
    assert other.claim("http://a", 60)
    other.close()


def test_without_a_place_for_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    store = RobotsStore(make_run_token())
    assert store.claim("http://a", 60)
    store.close()


def test_sqlite_can_do_what_is_asked_of_it() -> None:
    assert sqlite3.sqlite_version_info >= (3, 24)  # ON CONFLICT DO UPDATE


#: What a run does first.
ANOTHER_RUN = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from img2ds.congestion.shared_file import remove_stale_files
remove_stale_files()
"""


def test_a_run_that_starts_leaves_what_others_use(token: str, tmp_path: Path) -> None:
    def start_run() -> None:
        subprocess.run([sys.executable, "-c", ANOTHER_RUN, str(tmp_path)], check=True)

    one = RobotsStore(token)
    one.put("http://a", b"=rules", 100)
    files = set(tmp_path.iterdir())
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    start_run()
    assert set(tmp_path.iterdir()) == files
    other = RobotsStore(token)
    assert entry(other)[0] == b"=rules"
    other.close()
    one.close()
    start_run()
    assert not list(tmp_path.iterdir())
