"""Keys are img2dataset's: unique, in order, and parsed back to where they came from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2ds.core.naming import (
    committed_shards,
    index_digits,
    is_shard_folder,
    parse_key,
    sample_key,
    sample_keys,
    shard_name,
    shard_of_file,
    stats_name,
)

steady = settings(derandomize=True, deadline=None)

per_shard = st.one_of(st.sampled_from([1, 2, 10, 11, 10_000, 12_345]), st.integers(1, 10**6))
counts = st.integers(1, 8)


def test_default_keys_have_nine_digits() -> None:
    assert sample_key(0, 0, 10_000, 5) == "000000000"
    assert sample_key(42, 7, 10_000, 5) == "000420007"
    assert shard_name(42, 5) == "00042"
    assert stats_name(42, 5) == "00042_stats.json"


@pytest.mark.parametrize(
    ("number_sample_per_shard", "digits", "key"),
    [
        (1, 0, "00003"),  # index 0 of shard 3: the shard's number alone
        (10, 1, "000030"),
        (11, 2, "0000300"),
        (10_000, 4, "000030000"),
        (12_345, 5, "0000300000"),
    ],
)
def test_digits_grow_with_the_shard(number_sample_per_shard: int, digits: int, key: str) -> None:
    assert index_digits(number_sample_per_shard) == digits
    assert sample_key(3, 0, number_sample_per_shard, 5) == key


@steady
@given(st.integers(0, 10**7), per_shard, counts, st.data())
def test_a_key_is_parsed_back(shard: int, size: int, width: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    key = sample_key(shard, index, size, width)
    assert parse_key(key, size) == (shard, index)
    assert len(key) >= index_digits(size) + width


@steady
@given(per_shard, counts, st.data())
def test_keys_are_unique_and_sort_as_rows_do(size: int, width: int, data: st.DataObject) -> None:
    places = data.draw(
        st.lists(
            st.tuples(st.integers(0, 10**width - 1), st.integers(0, size - 1)),
            min_size=2,
            max_size=30,
            unique=True,
        )
    )
    keys = [sample_key(shard, index, size, width) for shard, index in sorted(places)]
    assert len(set(keys)) == len(keys)
    assert sorted(keys) == keys
    assert len({len(key) for key in keys}) == 1


@steady
@given(st.integers(0, 10**6), per_shard, counts, st.data())
def test_all_keys_of_a_shard_are_the_single_ones(
    shard: int, size: int, width: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, min(size, 50)))
    single = [sample_key(shard, index, size, width) for index in range(count)]
    assert sample_keys(shard, count, size, width) == single


@steady
@given(per_shard, counts)
def test_the_last_key_of_a_shard_lies_before_the_next_shard(size: int, width: int) -> None:
    last = int(sample_key(6, size - 1, size, width))
    assert last < int(sample_key(7, 0, size, width))


def test_a_number_too_long_for_its_width_is_not_cut() -> None:
    assert shard_name(123_456, 5) == "123456"
    assert sample_key(123_456, 1, 10_000, 5) == "1234560001"
    assert parse_key("1234560001", 10_000) == (123_456, 1)


def test_a_key_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse_key("0000a", 10_000)


def test_only_marks_make_shards_count() -> None:
    names = [
        "00000_stats.json", "00001.tar", "00001.parquet", "00007_stats.json",
        "123456_stats.json", "stats.json", "x00002_stats.json", "00003_stats.json.tmp",
    ]  # fmt: skip
    assert committed_shards(names) == {0, 7, 123_456}


@steady
@given(st.integers(0, 10**7), counts, st.sampled_from(["_stats.json", ".tar", ".parquet", ""]))
def test_the_shard_of_a_file_name(shard: int, width: int, ending: str) -> None:
    assert shard_of_file(shard_name(shard, width) + ending) == shard


@pytest.mark.parametrize(
    "name",
    ["img_emb/img_emb_12.npy", "metadata/metadata_00012.parquet", "part-00012-of-00032.parquet"],
)
def test_the_shard_of_a_stage_file_name(name: str) -> None:
    assert shard_of_file(name) == 12


@pytest.mark.parametrize("name", ["manifest.json", "00001.txt", "a00001.tar", "٣.tar.x", "٣", ""])
def test_other_files_belong_to_none(name: str) -> None:
    assert shard_of_file(name) is None


@pytest.mark.parametrize(
    ("name", "inside", "is_one"),
    [
        ("00012", ["000120000.jpg", "000120000.txt", "000120000.json"], True),
        ("00012", ["000129999.png"], True),
        ("123456", ["1234560001.webp"], True),
        ("00012", [], False),
        ("00012", ["000120000.jpg", "notes.txt"], False),
        ("00012", ["000130000.jpg"], False),
        ("00012", ["000120000.jpg", "000120001.tif"], False),
        ("2014", ["2014-07-01.jpg"], False),
        ("2014", ["2014.jpeg"], False),
        ("images", ["images0.jpg"], False),
    ],
)
def test_a_shard_folder_is_recognized_by_its_contents(
    name: str, inside: list[str], is_one: bool
) -> None:
    assert is_shard_folder(name, inside) == is_one
