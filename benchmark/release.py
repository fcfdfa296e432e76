"""What do tagging, releasing and counting cost a pair? One process, on made-up scored pairs.

    python -m benchmark.release [--pairs 200000] [--dim 512]

CPU time a pair of each step, against the floor: reading and writing the same tables and arrays
with nothing done to them. A tenth of the pairs come twice, half are above the threshold.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.measure import keep, table, warn_when_busy
from img2ds.engine.sequential import SequentialWorker
from img2ds.storage import OutputFolder, find_inputs
from laion.data.embedding_folder import EmbeddingFolder, open_embedding_folder
from laion.release.plan import plan_release
from laion.release.stage import make_shard
from laion.release.stats import count_files
from laion.tag.prompts import load_prompts
from laion.tag.stage import TagTask
from laion.tag.stage import make_shard as tag_shard
from laion.tag.tagging import make_rules

#: Pairs of a scored part: a shard of img2ds.
PART_ROWS = 10_000
THRESHOLD = 0.3


def write_scored(folder: Path, pairs: int, dim: int) -> None:
    """A scored folder without commit markers, 10,000 pairs a shard."""
    rng = np.random.default_rng(0)
    for name in ("metadata", "img_emb", "text_emb"):
        (folder / name).mkdir(parents=True)
    for part, start in enumerate(range(0, pairs, PART_ROWS)):
        count = min(PART_ROWS, pairs - start)
        fresh = np.arange(start, start + count)
        numbers = np.where(rng.random(count) < 0.1, rng.integers(0, start + 1, count), fresh)
        texts = {
            "key": [f"{n:09d}" for n in fresh],
            "url": [f"https://img{n % 5003}.example/uploads/picture-{n}.jpg" for n in numbers],
            "caption": [f"a picture of thing {n % 9973} in the light of {n % 97}" for n in numbers],
            "license": ["?"] * count,
            "language": ["en"] * count,
        }
        columns = {name: pa.array(values) for name, values in texts.items()}
        for name in ("width", "height", "original_width", "original_height"):
            columns[name] = pa.array(rng.integers(200, 2000, count), pa.int32())
        columns["similarity"] = pa.array(rng.normal(THRESHOLD, 0.05, count))
        pq.write_table(pa.table(columns), folder / f"metadata/metadata_{part:05d}.parquet")
        for name in ("img_emb", "text_emb"):
            rows = rng.standard_normal((count, dim), np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            np.save(folder / f"{name}/{name}_{part:05d}.npy", rows.astype(np.float16))


def copy(scored: EmbeddingFolder, folder: Path) -> None:
    """The floor: every table and array read and written."""
    for part in scored.shards:
        pq.write_table(part.table(), folder / "table.parquet")
        for kind in ("img_emb", "text_emb"):
            np.save(folder / "array.npy", np.load(f"{scored.path}/{kind}/{kind}_{part.name}.npy"))


def microseconds(action: Callable[[], object], pairs: int) -> float:
    """CPU time of this process a pair."""
    start = time.process_time()
    action()
    return (time.process_time() - start) / pairs * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parser.parse_args()
    warn_when_busy()
    pairs = options.pairs
    rng = np.random.default_rng(1)

    def embed(texts: Sequence[str]) -> Any:
        rows = rng.standard_normal((len(texts), options.dim), np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    rules = make_rules(load_prompts(), embed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_scored(folder / "scored", pairs, options.dim)
        (folder / "floor").mkdir()
        scored = open_embedding_folder(str(folder / "scored"))
        times = {"floor: copied": microseconds(lambda: copy(scored, folder / "floor"), pairs)}
        tagged = OutputFolder.open(str(folder / "tagged"))
        tasks = [TagTask(n, part, rules) for n, part in enumerate(scored.shards)]
        with tagged.lock():
            worker = SequentialWorker(tagged, tag_shard)
            times["tag"] = microseconds(lambda: worker(iter(tasks), lambda report: None), pairs)
        plan = []
        times["release: plan"] = microseconds(
            lambda: plan.extend(plan_release(scored.shards, THRESHOLD, 1_000_000, place)), pairs
        )
        released = OutputFolder.open(str(folder / "release"))
        with released.lock():
            worker = SequentialWorker(released, make_shard)
            times["release: parts"] = microseconds(
                lambda: worker(iter(plan), lambda report: None), pairs
            )
        files = find_inputs(released.path, (".parquet",))
        rows = sum(pq.read_metadata(file.path).num_rows for file in files)
        times["stats, a released pair"] = microseconds(lambda: count_files(files), rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    floor = times["floor: copied"]
    print(table(
        ["step", "µs CPU a pair", "floors"],
        [[name, f"{value:.2f}", f"{value / floor:.2f}"] for name, value in times.items()],
    ))  # fmt: skip
    print(f"{pairs} pairs of {options.dim} numbers, {rows} released; peak memory {peak:.0f} MB")
    keep("release", {"pairs": pairs, "dim": options.dim, "rows_released": rows,
                     "cpu_us_a_pair": times, "peak_mb": round(peak)})  # fmt: skip


if __name__ == "__main__":
    main()
