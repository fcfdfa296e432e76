"""What does a list of PDQ hashes cost, at any size? One process, one thread.

    python -m benchmark.pdq_list [--entries 1000 1000000 10000000] [--rows 2000]

For each size a list is compiled, then hashes are looked up, one at a time, as a download does, and
together, as `laion tag` does. Half of them are 31 bits from one of the list, and all of these must
be found, and none of the others. Memory is this process's own, without the pages of the list, which
all processes of a machine share.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark.blocklist import own_memory
from benchmark.measure import keep, table, warn_when_busy
from img2ds.blocklist.near_hashes import NearHashes, write_near_hashes

_BATCH = 1 << 16


def hashes(entries: int) -> Iterator[bytes]:
    random = np.random.default_rng(0)
    for start in range(0, entries, _BATCH):
        yield random.bytes(32 * min(_BATCH, entries - start))


def near(data: bytes, count: int) -> np.ndarray:
    """Hashes that are 31 bits from some of `data`."""
    random = np.random.default_rng(1)
    rows = np.frombuffer(data, np.uint8).reshape(-1, 32)
    rows = rows[random.integers(0, len(rows), count)]
    flips = np.zeros((count, 256), np.uint8)
    places = np.argsort(random.random((count, 256)), axis=1)[:, :31]
    np.put_along_axis(flips, places, 1, axis=1)
    return np.asarray(rows ^ np.packbits(flips, axis=1))


def measure(entries: int, rows: int) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "list")
        began = time.process_time()
        count, _ = write_near_hashes(path, hashes(entries))
        compiled = time.process_time() - began
        found = NearHashes(path, count)
        random = np.frombuffer(np.random.default_rng(2).bytes(32 * (rows // 2)), np.uint8)
        asked = np.concatenate([near(next(hashes(entries)), rows // 2), random.reshape(-1, 32)])
        asked = asked[np.random.default_rng(3).permutation(len(asked))]
        found.contains(asked)  # from the disk
        began = time.process_time()
        together = found.contains(asked)
        batch = time.process_time() - began
        began = time.process_time()
        single = [bool(found.contains(asked[row : row + 1])[0]) for row in range(len(asked))]
        each = time.process_time() - began
        assert single == together.tolist()
        assert together.sum() == rows // 2, f"{together.sum()} of {rows // 2} found"
        return (f"{entries:,} hashes", f"{compiled:.1f}", f"{path.stat().st_size / 1e6:,.0f}",
                f"{each / rows * 1e6:,.0f}", f"{batch / rows * 1e6:,.0f}",
                f"{own_memory():.0f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=[1000, 1_000_000, 10_000_000])
    parser.add_argument("--rows", type=int, default=2000)
    options = parser.parse_args()
    warn_when_busy()
    lines = [measure(entries, options.rows) for entries in options.entries]
    head = ("list", "compile, CPU s", "MB", "us a hash alone", "us a hash together", "own MB")
    print(table(head, lines))
    keep("pdq_list", {name: line for name, *line in lines})


if __name__ == "__main__":
    main()
