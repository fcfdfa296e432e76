"""What does a block list cost, at any size? One process, on made-up pairs of a release.

    python -m benchmark.blocklist [--entries 10000000] [--rows 20000000]

Lists of as many hashes and as many URLs are compiled, then the first step of `laion tag --purge`
looks all rows up: once by hash, once by URL. A thousandth of the rows is blocked, and all of these
must be found, and no other row. Memory is this process's own, without the pages of the lists, which
all processes of a machine share.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.measure import keep, table, warn_when_busy
from img2ds.blocklist.blocks import Blocks
from img2ds.blocklist.compiled import BlockList
from img2ds.report.counters import Counts
from img2ds.storage import OutputFolder
from laion.data.embedding_folder import EmbeddingShard
from laion.release.purge import Finder, ShardTask

#: Rows of a shard, and one row in so many that is blocked.
SHARD, BLOCKED_EVERY = 1_000_000, 1000

Numbers = npt.NDArray[np.int64]


def url(number: int) -> str:
    return f"https://img{number % 5003}.example/uploads/2024/picture-{number}.jpg"


def hashes(seed: int, numbers: Numbers) -> list[str]:
    """A hash for each number, as hex."""
    pads = np.random.default_rng(seed).integers(0, 2**63, 4).astype(np.uint64)
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    data = np.stack([mixed ^ pad for pad in pads]).astype(">u8").T.tobytes().hex()
    return [data[at : at + 64] for at in range(0, len(data), 64)]


def write_lists(folder: Path, entries: int, rows: int) -> None:
    """Entries that no row has, and those that one row in a thousand has."""
    wanted = np.arange(0, rows, BLOCKED_EVERY)
    others = np.arange(rows, rows + entries - len(wanted))
    with (folder / "hashes.txt").open("w") as hash_file, (folder / "urls.txt").open("w") as urls:
        for numbers in (wanted, others):
            for start in range(0, len(numbers), 1 << 16):
                piece = numbers[start : start + (1 << 16)]
                hash_file.write("\n".join(hashes(7, piece)) + "\n")
                urls.write("\n".join(map(url, piece.tolist())) + "\n")


def write_shards(folder: Path, rows: int) -> Iterator[ShardTask]:
    """The metadata of one shard after the other; only one of them is there at a time."""
    (folder / "metadata").mkdir()
    for number, start in enumerate(range(0, rows, SHARD)):
        path = folder / f"metadata/metadata_{number:05d}.parquet"
        schema = pa.schema([("url", pa.string()), ("sha256", pa.string())])
        with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
            for at in range(start, min(start + SHARD, rows), 1 << 16):
                numbers = np.arange(at, min(at + (1 << 16), start + SHARD, rows))
                columns = [list(map(url, numbers.tolist())), hashes(7, numbers)]
                writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema))
        yield ShardTask(number, EmbeddingShard(str(folder), f"{number:05d}"), "")
        path.unlink()


def own_memory() -> float:
    """Megabytes of this process without the files that it maps."""
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--rows", type=int, default=20_000_000)
    options = parser.parse_args()
    warn_when_busy()
    lines: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["IMG2DS_CACHE"] = str(folder / "cache")
        write_lists(folder, options.entries, options.rows)
        lists = [
            BlockList(f"block_{kind}", kind, (str(folder / f"{kind}.txt"),))
            for kind in ("hashes", "urls")
        ]
        for one in lists:
            began = time.process_time()
            size = one.compile().path.stat().st_size
            spent = time.process_time() - began
            name = f"compile {options.entries:,} {one.kind}"
            lines.append((name, f"{spent:.1f}", f"{spent / options.entries * 1e6:.2f}",
                          f"{own_memory():.0f}", f"{size / 1e6:.0f}"))  # fmt: skip
        finders = [Finder(OutputFolder.open(place), Blocks([one])) for one in lists]
        spent_by, peak, found = [0.0] * len(lists), [0.0] * len(lists), [0] * len(lists)
        for task in write_shards(folder, options.rows):
            for n, finder in enumerate(finders):
                counts = Counts()
                began = time.process_time()
                finder._find(task, counts)
                spent_by[n] += time.process_time() - began
                peak[n] = max(peak[n], own_memory())
                found[n] += counts.reasons.total()
        for one, spent, memory, blocked in zip(lists, spent_by, peak, found, strict=True):
            expected = -(-options.rows // BLOCKED_EVERY)
            assert blocked == expected, f"{blocked} of {expected} found"
            name = f"look {options.rows:,} rows up by {one.kind}"
            lines.append((name, f"{spent:.1f}", f"{spent / options.rows * 1e6:.2f}",
                          f"{memory:.0f}", ""))  # fmt: skip
    head = ("step", "CPU s", "us each", "own memory MB", "list MB")
    print(table(head, lines))
    keep("blocklist", {name: line for name, *line in lines})


if __name__ == "__main__":
    main()
