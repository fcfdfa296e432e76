"""How fast are pairs deduplicated? One process and one core, on made-up pairs in extract's layout.

    python -m benchmark.dedup [--pairs 4000000] [--capacity 150000000]

The stages apart: probing alone over the stored digests, and the whole part with parquet read
and written and the hosts spread. The baseline is what the field does a pair at a time: a Python
set of the two texts, and rbloom where it is installed, with the hashing that it needs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128_digest

from benchmark.measure import keep, table, warn_when_busy
from img2ds.engine.shard_output import ShardOutput
from img2ds.storage import InputFile, OutputFolder
from laion.data.candidate import CANDIDATE_SCHEMA
from laion.data.digest import digest_words
from laion.data.partition import PARTITION_BITS, partitions_metadata
from laion.dedup.bloom import BloomFilter, FilterSize
from laion.dedup.deduplicator import BloomDeduplicator
from laion.dedup.stage import Dedup, DedupOptions, Partition

#: Share of the pairs that came before, as a crawl against itself.
DUPLICATES = 0.2
#: Rows of one WAT file in one partition.
WAT_ROWS = 1600


def _name(number: int) -> str:
    """Sixteen digits that do not compress, as file names do not."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


def pairs(count: int) -> tuple[pa.Table, list[str], list[str]]:
    """Candidates of one partition, with their URLs and texts as Python has them."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, int(count * 2.0), count)
    unique = np.unique(numbers)
    fresh = rng.permutation(count)
    numbers = np.where(rng.random(count) < DUPLICATES, numbers, unique[-1] + 1 + fresh)
    hosts = rng.zipf(1.3, count) % 50_000
    urls = [
        f"https://img{h}.example.com/wp-content/uploads/2023/{n % 12:02d}/{_name(n)}-1024x768.jpg"
        for h, n in zip((hosts[numbers % count]).tolist(), numbers.tolist(), strict=True)
    ]
    texts = [f"A picture of thing {n % 9973} in the light of {n % 97}, by photographer {n % 1009}"
             for n in numbers.tolist()]  # fmt: skip
    digests = [
        bytes([d[0] & ((1 << (8 - PARTITION_BITS)) - 1)]) + d[1:]
        for d in (xxh3_128_digest(f"{u}\n{t}".encode()) for u, t in zip(urls, texts, strict=True))
    ]
    columns = [urls, texts, ["?"] * count, ["en"] * count, ["en"] * count,
               [f"https://www.site{n % 100_000}.example/{_name(n)}.html" for n in range(count)],
               [f"CC-MAIN-{n // WAT_ROWS:05d}" for n in range(count)], digests]  # fmt: skip
    arrays = [pa.array(c, f.type) for c, f in zip(columns, CANDIDATE_SCHEMA, strict=True)]
    return pa.table(arrays, schema=CANDIDATE_SCHEMA), urls, texts


def _signed(digest: bytes) -> int:
    return int.from_bytes(digest, "big", signed=True)


def nanoseconds(action: Callable[[], object], count: int) -> float:
    """CPU time of this process a pair."""
    start = time.process_time()
    action()
    return (time.process_time() - start) / count * 1e9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=2_000_000)
    parser.add_argument("--capacity", type=int, default=150_000_000)
    arguments = parser.parse_args()
    count = arguments.pairs
    warn_when_busy()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    candidates, urls, texts = pairs(count)
    high, low = digest_words(candidates["digest"])
    size = FilterSize.fit(arguments.capacity, 1e-3)
    measured: dict[str, float] = {}

    sieve = BloomDeduplicator(BloomFilter(size))
    sieve.bloom.words[:] = 0  # touched, as in the middle of a run
    measured["probe and add, digests stored"] = nanoseconds(lambda: sieve.keep(high, low), count)

    def python_set() -> None:
        seen: set[str] = set()
        for url, text in zip(urls, texts, strict=True):
            pair = f"{url}\n{text}"
            if pair not in seen:
                seen.add(pair)

    measured["python set of the texts"] = nanoseconds(python_set, count)
    try:
        from rbloom import Bloom as RBloom
    except ImportError:
        print("rbloom is not installed: no line for it", file=sys.stderr)
    else:

        def rust() -> None:
            bloom = RBloom(
                arguments.capacity, 1e-3, lambda d: int.from_bytes(d, "big", signed=True)
            )
            for url, text in zip(urls, texts, strict=True):
                digest = xxh3_128_digest(f"{url}\n{text}".encode())
                if digest not in bloom:
                    bloom.add(digest)

        measured["rbloom and xxh3_128"] = nanoseconds(rust, count)

    def empty_filter(path: str) -> None:
        bloom = BloomFilter(size)
        bloom.words[:] = 0  # as above
        bloom.write(path)

    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/00000.parquet"
        groups = -(-count // WAT_ROWS)
        schema = CANDIDATE_SCHEMA.with_metadata(partitions_metadata([0] * groups))
        dictionaries = ["license", "language", "page_language", "page_url", "wat"]
        with pq.ParquetWriter(
            path, schema, compression="zstd", use_dictionary=dictionaries
        ) as writer:
            writer.write_table(candidates.cast(schema), row_group_size=WAT_ROWS)
        file_size = Path(path).stat().st_size
        # The first round only makes the memory that a worker has from its second part on. Of the
        # others the least counts: how long a kernel takes for the pages of a filter varies.
        for turn, exact in enumerate((False, *3 * (False, True))):
            folder = OutputFolder.open(f"{place}/out{turn}")
            with folder.lock():
                options = DedupOptions(output_folder=folder.path, input=(place,), exact=exact)
                shard = ShardOutput(folder, 0)
                dedup = Dedup(options, (InputFile(path, file_size),), size)
                # Less what making and writing an empty filter of that size takes.
                empty = nanoseconds(partial(empty_filter, f"{place}/empty"), count)
                taken = nanoseconds(partial(dedup, Partition(0, 0, ()), shard), count) - empty
            folder.close()
            if turn:
                name = "the whole part, parquet to parquet" + (", --exact" if exact else "")
                measured[name] = min(taken, measured.get(name, taken))
    print(
        f"{count:,} pairs, {DUPLICATES:.0%} drawn again, filter of {64 * size.blocks / 1e6:.0f} MB "
        f"for {arguments.capacity:,}; input {file_size / count:.0f} bytes a pair"
    )
    print(table(
        ("", "ns CPU a pair", "M pairs/s a core"),
        [(name, f"{ns:.0f}", f"{1000 / ns:.2f}") for name, ns in measured.items()],
    ))  # fmt: skip
    keep("dedup", {"pairs": count, "capacity": arguments.capacity, "ns_a_pair": measured})


if __name__ == "__main__":
    main()
