"""A listing in little memory finds what a dictionary of all names would."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2ds.storage import Listing
from img2ds.storage.listed import version_number

NAMES = st.one_of(
    st.from_regex(r"(img_emb/img_emb_)?[0-9]{1,19}(\.tar|_stats\.json|)", fullmatch=True),
    st.from_regex(r"part-[0-9]{2}-of-[0-9]{2}\.parquet", fullmatch=True),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12),
)
FILES = st.dictionaries(NAMES, st.tuples(st.none() | st.integers(0, 2**50), st.integers(0, 9)))


def listing(files: dict[str, tuple[int | None, int]]) -> Listing:
    found = Listing()
    for name, (size, version) in files.items():
        found.add(name, size, version)
    return found.sort()


@given(FILES, NAMES)
def test_it_is_a_mapping_in_order_of_names(
    files: dict[str, tuple[int | None, int]], other: str
) -> None:
    found = listing(files)
    assert list(found) == sorted(files)
    assert dict(found) == {name: size for name, (size, _) in files.items()}
    assert all(found.version(name) == version for name, (_, version) in files.items())
    assert (other in found) == (other in files)
    assert found.find(other) == files.get(other)
    assert sorted(found.starting(other[:3])) == sorted(n for n in files if n.startswith(other[:3]))


def test_a_name_that_is_listed_twice_is_there_once() -> None:
    found = Listing()
    for size in (1, 2):
        found.add("00007.tar", size)
        found.add("00003.tar", size)
    assert dict(found.sort()) == {"00003.tar": 2, "00007.tar": 2}


def test_names_of_one_number_and_of_one_end() -> None:
    found = listing(dict.fromkeys(["00007.tar", "00007_stats.json", "7_stats.json", "x"], (1, 0)))
    assert sorted(found.numbered(7)) == ["00007.tar", "00007_stats.json", "7_stats.json"]
    assert list(found.ending("_stats.json")) == ["00007_stats.json", "7_stats.json"]


def test_a_million_shards_take_little_memory() -> None:
    tracemalloc.start()
    found = Listing()
    for number in range(20_000):
        for end in (".parquet", ".tar", "_stats.json"):
            found.add(f"{number:07d}{end}", 1 << 30, 1 << 62)
    found.sort()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 60_000
    assert taken / len(found) < 40


@pytest.mark.parametrize("version", ['"d41d8cd9"', 17, "2024-01-01"])
def test_versions_are_told_apart(version: object) -> None:
    assert 0 < version_number(version) < 2**63
    assert version_number(version) != version_number(f"{version}0")
    assert version_number(None) == 0
