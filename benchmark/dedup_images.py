"""How fast are near-duplicates found among embeddings, and how many of them? One worker, one core.

    python -m benchmark.dedup_images [--rows 1000000] [--clusters 1000] [--probes 1 2]

The whole stage runs, from an embedding folder to another one. Rows are those of `knn`: 512 float16
numbers in topics. 30 % of them are planted: each has a cosine of 0.95 to 0.999 with a row that is
not. One of such a pair is to be dropped; recall is the share of pairs where that happens.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.knn import DIMENSION, make_rows
from benchmark.measure import keep, table, warn_when_busy
from laion.data.embedding_layout import FOLDERS, IMAGES, METADATA, TEXTS
from laion.dedup_images.duplicates_table import DUPLICATES
from laion.dedup_images.one_thread import one_thread
from laion.dedup_images.options import DedupImagesOptions
from laion.dedup_images.stage import run
from laion.stage import StageReport

#: Rows of a shard: a tar of img2ds.
SHARD = 10_000
PLANTED = 0.3
#: Cosines of planted rows and the rows they are made of, and the borders of recall's columns.
COSINES = (0.95, 0.97, 0.98, 0.999)

Rows = npt.NDArray[np.int64]


def make_folder(folder: Path, rows: int) -> tuple[Rows, Rows, npt.NDArray[np.float64]]:
    """Write the input; return planted rows, the rows they are made of, and their cosines."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    shards = range(rows // SHARD)
    vectors = np.concatenate([make_rows(seed + 1, SHARD) for seed in shards])
    random = np.random.default_rng(0)
    mixed = random.permutation(len(vectors))
    planted, others = np.split(mixed, [int(PLANTED * rows)])
    originals = random.choice(others, len(planted))
    cosines = random.uniform(COSINES[0], COSINES[-1], len(planted))
    for start in range(0, len(planted), SHARD):
        chosen = slice(start, start + SHARD)
        vectors[planted[chosen]] = _near(vectors[originals[chosen]], cosines[chosen], random)
    similarity = random.uniform(0.2, 0.4, len(vectors))
    for shard in shards:
        own = slice(shard * SHARD, (shard + 1) * SHARD)
        name = f"{shard:05d}"
        for kind in (IMAGES, TEXTS):
            np.save(folder / kind.format(name), vectors[own])
        keys = [f"{key:09d}" for key in range(own.start, own.stop)]
        urls = [f"https://pictures.example/{key}.jpg" for key in keys]
        columns = {"key": keys, "url": urls, "caption": urls, "similarity": similarity[own]}
        pq.write_table(pa.table(columns), folder / METADATA.format(name))
    return planted, originals, cosines


def _near(
    rows: npt.NDArray[np.float16], cosines: npt.NDArray[np.float64], random: np.random.Generator
) -> npt.NDArray[np.float16]:
    """Unit rows with these cosines to `rows`, in random directions from them."""
    start = rows.astype(np.float32)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    away = random.standard_normal(start.shape).astype(np.float32)
    away -= (away * start).sum(axis=1, keepdims=True) * start
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    cosine = cosines[:, None].astype(np.float32)
    return (cosine * start + np.sqrt(1 - cosine**2) * away).astype(np.float16)


def dropped_rows(folder: Path, rows: int) -> npt.NDArray[np.bool_]:
    """Return which rows the stage dropped."""
    dropped = np.zeros(rows, np.bool_)
    for shard in range(rows // SHARD):
        path = folder / DUPLICATES.format(f"{shard:05d}")
        if path.exists():
            dropped[pq.read_table(path)["row"].to_numpy() + shard * SHARD] = True
    return dropped


def measure(source: Path, output: Path, clusters: int, probes: int) -> StageReport:
    """Run the stage in one worker, and one thread of this process."""
    options = DedupImagesOptions(
        input=str(source), output_folder=str(output), clusters=clusters, probes=probes,
        processes_count=1, threshold=COSINES[0],
    )  # fmt: skip
    with one_thread():
        report = run(options)
    assert report.exit_code == 0, report.text
    return report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--probes", type=int, nargs="*", default=[1, 2])
    arguments = parser.parse_args()
    rows = arguments.rows // SHARD * SHARD
    warn_when_busy()
    lines, results = [], []
    with tempfile.TemporaryDirectory() as place:
        planted, originals, cosines = make_folder(Path(place, "in"), rows)
        for probes in arguments.probes:
            output = Path(place, f"out{probes}")
            report = measure(Path(place, "in"), output, arguments.clusters, probes)
            dropped = dropped_rows(output, rows)
            found = dropped[planted] | dropped[originals]
            parts = [
                float(found[(cosines >= low) & (cosines < high)].mean())
                for low, high in pairwise(COSINES)
            ]
            cost = 1e6 * report.cpu_time / rows
            shares = [f"{100 * part:.2f}" for part in parts]
            lines.append((f"{probes}", f"{cost:.1f}", f"{1e6 / cost:,.0f}", *shares))
            recall = dict(zip(map(str, COSINES), parts, strict=False))
            results.append({"probes": probes, "cpu_us": cost, "recall": recall})
    names = [f"recall {low}-{high}" for low, high in pairwise(COSINES)]
    print(f"{rows:,} rows of {DIMENSION} float16 numbers, {arguments.clusters:,} clusters, "
          f"{PLANTED:.0%} planted")  # fmt: skip
    print(table(("probes", "us CPU a row", "rows/s a core", *names), lines))
    keep("dedup_images", {"rows": rows, "clusters": arguments.clusters, "results": results})


if __name__ == "__main__":
    main()
