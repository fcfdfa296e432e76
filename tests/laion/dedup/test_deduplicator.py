"""The cores of dedup, against Python's sets: digests, filters, sieves, and the order of rows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2ds.core.failure import UsageError
from img2ds.core.pair_digest import pair_digest
from laion.data.digest import DIGEST_BYTES, Words, digest_words
from laion.dedup import bloom as bloom_module
from laion.dedup import deduplicator, native
from laion.dedup import shuffle as shuffle_module
from laion.dedup.bloom import BloomFilter, FilterSize, merged, predicted_rate, read_header
from laion.dedup.deduplicator import BloomDeduplicator, ExactDeduplicator, first_occurrences
from laion.dedup.shuffle import Shuffle, host_codes, mix, spread

Pairs = list[tuple[int, int]]
#: Few values, so that there are duplicates, and ones that differ in one half alone.
NARROW = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=60)
WIDE = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=60)


needs_native = pytest.mark.skipif(not native.loaded(), reason="the extension is not there")


@contextmanager
def without_native() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (bloom_module, shuffle_module):
            patch.setattr(module, "_native", None)
        yield


def arrays(pairs: Pairs) -> tuple[Words, Words]:
    both = np.array(pairs, np.uint64).reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].copy()


def draw(count: int, seed: int) -> tuple[Words, Words]:
    rng = np.random.default_rng(seed)
    high, low = rng.integers(0, 2**64, (2, count), dtype=np.uint64)
    return high, low


def oracle(high: Words, low: Words) -> list[bool]:
    seen: set[tuple[int, int]] = set()
    first = []
    for pair in zip(high.tolist(), low.tolist(), strict=True):
        first.append(pair not in seen)
        seen.add(pair)
    return first


def test_halves_are_the_digests_bytes() -> None:
    digests = [pair_digest(f"http://h/{n}", "text") for n in range(10)]
    column = pa.chunked_array(
        [pa.array(digests[:4], pa.binary(DIGEST_BYTES)),
         pa.array(digests, pa.binary(DIGEST_BYTES)).slice(4)]
    )  # fmt: skip
    high, low = digest_words(column)
    whole = [(h << 64 | lo).to_bytes(16, "big") for h, lo in zip(high.tolist(), low.tolist())]  # noqa: B905
    assert whole == digests
    assert [len(half) for half in digest_words(pa.chunked_array([], pa.binary(16)))] == [0, 0]


@given(NARROW | WIDE)
def test_firsts_are_those_of_a_set(pairs: Pairs) -> None:
    high, low = arrays(pairs)
    assert first_occurrences(high, low).tolist() == oracle(high, low)


@settings(deadline=None)
@given(NARROW | WIDE, st.integers(1, 40), st.floats(1e-6, 0.5))
def test_what_was_added_is_found(pairs: Pairs, expected: int, rate: float) -> None:
    bloom = BloomFilter(FilterSize.fit(expected, rate))
    high, low = arrays(sorted(set(pairs)))
    for start in range(0, len(high), 7):
        bloom.add(high[start : start + 7], low[start : start + 7])
        assert bloom.contains(high[: start + 7], low[: start + 7]).all()
    assert bloom.added == len(high)


@pytest.mark.parametrize(("expected", "rate"), [(1000, 0.05), (20_000, 1e-2), (100_000, 1e-3)])
def test_the_rate_is_within_its_bound(expected: int, rate: float) -> None:
    bloom = BloomFilter(FilterSize.fit(expected, rate))
    bloom.add(*draw(expected, 1))
    trials = 400_000
    measured = bloom.contains(*draw(trials, 2)).mean()
    # Four standard deviations of the trials, and the filter's own scatter where it is small.
    assert measured <= rate * (1 + 2 / expected**0.5) + 4 * (rate / trials) ** 0.5
    assert measured == pytest.approx(bloom.current_rate(), rel=0.15)
    assert predicted_rate(expected, bloom.size.blocks) <= rate
    assert predicted_rate(expected, bloom.size.blocks - 1) > rate, "and it is no larger than that"


@given(NARROW | WIDE, NARROW | WIDE)
def test_merging_is_a_union(one: Pairs, two: Pairs) -> None:
    size = FilterSize.fit(100, 0.01)
    blooms = []
    for pairs in (one, two, sorted({*one, *two})):
        blooms.append(BloomFilter(size))
        blooms[-1].add(*arrays(sorted(set(pairs))))
    both = merged(blooms[:2])
    assert (both.words == blooms[2].words).all()
    assert both.added == len(set(one)) + len(set(two))


def test_only_filters_of_one_size_merge() -> None:
    with pytest.raises(UsageError, match="cannot be merged"):
        merged([BloomFilter(FilterSize(3, 10, 0.1)), BloomFilter(FilterSize(4, 10, 0.1))])


def test_a_filter_is_read_as_it_was_written(tmp_path: Path) -> None:
    bloom = BloomFilter(FilterSize.fit(1000, 0.01))
    bloom.add(*draw(700, 3))
    path = tmp_path / "a.bloom"
    bloom.write(str(path))
    for source in (str(path), io.BytesIO(path.read_bytes())):
        again = BloomFilter.read(source)
        assert (again.size, again.added) == (bloom.size, 700)
        assert (again.words == bloom.words).all()
    assert read_header(str(path))["current_rate"] == pytest.approx(bloom.current_rate())
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UsageError, match="is truncated"):
        BloomFilter.read(str(path))
    path.write_bytes(b"PAR1" * 2000)
    with pytest.raises(UsageError, match="not a bloom filter"):
        BloomFilter.read(str(path))


@settings(deadline=None)
@given(NARROW | WIDE, st.lists(st.integers(1, 20), min_size=1, max_size=9), st.integers(1, 30))
def test_the_exact_sieve_is_a_set(pairs: Pairs, sizes: list[int], at_once: int) -> None:
    high, low = arrays(pairs)
    ends = np.unique(np.minimum(np.cumsum(sizes), len(high))).tolist()
    pieces = [slice(a, b) for a, b in zip([0, *ends], [*ends, len(high)], strict=True)]
    path = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / "img2ds-test.digests"
    exact = ExactDeduplicator(BloomFilter(FilterSize.fit(1000, 1e-9)), path)
    for piece in pieces:
        exact.scan(high[piece], low[piece])
    exact.resolve(at_once)
    kept = np.concatenate([exact.keep(high[piece], low[piece]) for piece in pieces])
    assert kept.tolist() == oracle(high, low)
    assert not path.exists()


@given(NARROW, st.integers(1, 20))
def test_the_bloom_sieve_keeps_no_pair_twice(pairs: Pairs, batch: int) -> None:
    """Within a batch and across them; with a filter this sparse it is right as well."""
    high, low = arrays(pairs)
    high = mix(high, 0)  # the filter takes digests to be spread
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deduplicator, "BATCH", batch)
        kept = BloomDeduplicator(BloomFilter(FilterSize.fit(1_000, 1e-9))).keep(high, mix(low, 0))
    assert kept.tolist() == oracle(high, low)


def test_sieves_agree_on_what_the_filter_gets_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deduplicator, "BATCH", 100)
    count = 20_000
    high, low = draw(count, 4)
    high[count // 2 :: 3], low[count // 2 :: 3] = (
        high[: len(high[count // 2 :: 3])],
        low[: len(low[count // 2 :: 3])],
    )
    size = FilterSize.fit(5000, 0.01)
    bloom = BloomDeduplicator(BloomFilter(size))
    kept = bloom.keep(high, low)
    first = np.array(oracle(high, low))
    assert not (kept & ~first).any(), "no duplicate is kept"
    wrong = int((first & ~kept).sum())
    assert wrong > 200
    assert bloom.expected_wrong == pytest.approx(wrong, rel=0.15)
    exact = ExactDeduplicator(BloomFilter(size), tmp_path / "digests")
    for piece in (slice(0, 7000), slice(7000, count)):
        exact.scan(high[piece], low[piece])
    exact.resolve()
    assert exact.keep(high, low).tolist() == first.tolist()
    assert exact.wrong == wrong
    assert (exact.approximate.bloom.words == bloom.bloom.words).all()


def test_shuffling_looks_random_and_depends_on_the_seed() -> None:
    numbers = np.arange(10_000, dtype=np.uint64)
    one, two = mix(numbers, 0), mix(numbers, 1)
    assert len(set(one.tolist())) == 10_000
    assert not (one == two).any()
    assert abs(float((one / 2.0**64).mean()) - 0.5) < 0.02


@given(st.lists(st.integers(0, 8), max_size=120), st.integers(0, 2**32))
def test_spreading_puts_each_host_at_even_distances(hosts: list[int], seed: int) -> None:
    codes = np.array(hosts, np.int64)
    order = spread(codes, draw(len(hosts), seed)[0])
    assert sorted(order.tolist()) == list(range(len(hosts)))
    spread_hosts: npt.NDArray[np.int64] = codes[order]
    for host in set(hosts):
        places = np.flatnonzero(spread_hosts == host)
        ideal = len(hosts) / len(places)
        others = len(set(hosts))
        assert (np.diff(places) >= ideal - others - 1).all()


def test_hosts_of_urls() -> None:
    urls = ["http://a.example/x", "https://a.example?q", "http://b.example:80/", "no url", ""]
    codes = host_codes(pa.chunked_array([urls[:2], urls[2:]])).tolist()
    assert codes[0] == codes[1] != codes[2]
    assert codes[3] == codes[4]


def candidates(urls: list[str]) -> pa.Table:
    digests = [pair_digest(url, "") for url in urls]
    return pa.table(
        {"url": pa.array(urls, pa.string()), "digest": pa.array(digests, pa.binary(DIGEST_BYTES))}
    )


URLS = st.one_of(
    st.text("hHé:/?#@.+-1 \n", max_size=14),
    st.builds("{}://{}{}".format, st.sampled_from(["http", "s3+x", "1x", ""]),
              st.sampled_from(["a.example", "u@a.example:80", "é", ""]), st.text(max_size=3)),
)  # fmt: skip


@needs_native
@given(st.lists(URLS, max_size=40), st.data())
def test_hosts_are_the_same_without_the_extension(urls: list[str], data: st.DataObject) -> None:
    column = pa.chunked_array([pa.array(["before", *urls], pa.string()).slice(1)])
    places = np.array(
        data.draw(st.lists(st.sampled_from(range(len(urls)))) if urls else st.just([])), np.intp
    )
    compiled = host_codes(column, places).tolist()
    with without_native():
        assert host_codes(column, places).tolist() == compiled


@needs_native
@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=60), st.integers(0, 9))
def test_the_order_is_the_same_without_the_extension(words: list[int], seed: int) -> None:
    random = np.array(words, np.uint64)
    hosts = (random % np.uint64(7)).astype(np.int32)
    compiled = spread(hosts, mix(random, seed)).tolist(), spread(hosts, random).tolist()
    with without_native():
        assert (
            spread(hosts, mix(random, seed)).tolist(),
            spread(hosts, random).tolist(),
        ) == compiled


@needs_native
@given(WIDE, WIDE, st.integers(1, 40))
def test_filters_are_the_same_without_the_extension(
    added: Pairs, asked: Pairs, blocks: int
) -> None:
    size = FilterSize(blocks, 1, 0.5)
    found = []
    for switch in (nullcontext, without_native):
        with switch():
            bloom = BloomFilter(size)
            bloom.add(*arrays(added))
            found.append((bloom.words.tolist(), bloom.contains(*arrays(asked + added)).tolist()))
    assert found[0] == found[1]


@needs_native
def test_the_extension_refuses_what_does_not_fit() -> None:
    pairs, words = native.load("pairs"), np.zeros(16, np.uint64)
    assert pairs is not None
    with pytest.raises(ValueError, match="another size"):
        pairs.contains(words, words, words[:3], np.zeros(16, np.bool_))
    with pytest.raises(ValueError, match="another size"):
        pairs.add(words[:3], words, words)
    with pytest.raises(ValueError, match="empty"):
        pairs.add(words[:0], words, words)
    with pytest.raises(ValueError, match="another size"):
        pairs.argsort(words, np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="outside"):
        pairs.host_codes(b"ab", np.array([0, 2], np.int32), np.array([1]), np.zeros(1, np.int32))
    with pytest.raises(ValueError, match="outside"):
        pairs.host_codes(b"ab", np.array([0, 3], np.int32), np.array([0]), np.zeros(1, np.int32))


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 40))
def test_windows_hold_every_row_once(sizes: list[int], window: int) -> None:
    shuffle = Shuffle(window, 7)
    given, windows = 0, []
    for size in sizes:
        numbers = range(given, given + size)
        given += size
        table = pa.table(
            {
                "url": pa.array([f"http://h{n % 3}/{n}" for n in numbers], pa.string()),
                "digest": pa.array([n.to_bytes(16, "big") for n in numbers], pa.binary(16)),
            }
        )
        windows += list(shuffle.add(table, np.ones(size, np.bool_)))
    windows += list(shuffle.flush())
    urls = [[int(u.rpartition("/")[2]) for u in w["url"].to_pylist()] for w in windows]
    assert all(len(w) == window for w in urls[:-1])
    assert sorted(n for w in urls for n in w) == list(range(given))
    for place, numbers_there in enumerate(urls):
        assert set(numbers_there) == set(range(place * window, min((place + 1) * window, given)))


@given(st.lists(st.lists(st.booleans(), max_size=9), max_size=9), st.integers(1, 12))
def test_rows_that_are_dropped_leave_no_trace_in_the_order(
    masks: list[list[bool]], window: int
) -> None:
    """Few are held until their window is complete, many are removed at once."""
    orders = []
    for at_once in (False, True):
        shuffle = Shuffle(window, 3)
        windows = []
        for number, mask in enumerate(masks):
            kept = np.array(mask, np.bool_)
            table = candidates([f"http://h{n % 4}/{number}/{n}" for n in range(len(mask))])
            if at_once:
                table, kept = table.filter(pa.array(kept)), np.ones(int(kept.sum()), np.bool_)
            windows += list(shuffle.add(table, kept))
        windows += list(shuffle.flush())
        orders.append([each["url"].to_pylist() for each in windows])
    assert orders[0] == orders[1]
    assert sum(map(len, orders[0])) == sum(map(sum, masks))


def test_a_union_is_sized_for_the_larger_of_its_filters() -> None:
    small, large = FilterSize(5, 10, 0.1), FilterSize(5, 30, 0.1)
    for sizes in ((small, large), (large, small)):
        assert merged([BloomFilter(size) for size in sizes]).size.expected == 30


def test_a_filter_that_is_too_large_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(UsageError, match="use a lower value"):
        BloomFilter(FilterSize(1 << 32, 1, 0.1))


def test_filters_of_other_partitions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BloomFilter(FilterSize(3, 10, 0.1)).write(str(tmp_path / "a"))
    monkeypatch.setattr("laion.dedup.bloom.PARTITION_BITS", 7)
    with pytest.raises(UsageError, match="not a bloom filter"):
        read_header(str(tmp_path / "a"))


def test_large_filters_are_counted_and_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bloom = BloomFilter(FilterSize.fit(500, 0.01))
    bloom.add(*draw(500, 5))
    rate = bloom.current_rate()
    monkeypatch.setattr("laion.dedup.bloom._CHUNK", 7)
    monkeypatch.setattr("laion.dedup.bloom._READ", 100)
    assert bloom.current_rate() == pytest.approx(rate)
    bloom.write(str(tmp_path / "a"))
    assert (BloomFilter.read(str(tmp_path / "a")).words == bloom.words).all()


def test_rows_of_one_host_and_hosts_of_one_row_are_in_random_order() -> None:
    random, _ = draw(50, 6)
    expected = np.argsort(random).tolist()
    assert spread(np.zeros(50, np.int64), random).tolist() == expected
    assert spread(np.arange(50), random).tolist() == expected
