"""How long does an index take to build, what does it take in memory, what does it find, how fast?

Vectors of 512 dimensions in clusters with a few strong directions each, as embeddings of real
images are; for each kind a process of its own builds the index, and another one searches it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.measure import keep, table, warn_when_busy
from laion.knn.options import IndexOptions
from laion.knn.recall import K
from laion.knn.searcher import Searcher, SearchParams
from laion.knn.stage import run

DIMENSION = 512
PART_ROWS = 100_000
#: Topics, and directions in which the rows of one differ from each other.
CLUSTERS, DIRECTIONS = 2_000, 24
#: Length of a row's own noise in all directions, where its topic's part has length 1.
NOISE = 0.35
QUERIES = 2_000

#: What has to hold for hnsw: recall@10, and milliseconds.
LEAST_RECALL, MOST_P50 = 0.95, 10.0


def make_rows(seed: int, rows: int) -> npt.NDArray[np.float16]:
    """Unit rows. The share of a topic falls as 1 / (rank + 10); few large ones, many small ones."""
    world = np.random.default_rng(0)
    centres = world.standard_normal((CLUSTERS, DIMENSION)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    # All images share a direction: cosines of CLIP's embeddings are far above 0.
    common = world.standard_normal(DIMENSION).astype(np.float32)
    common /= np.linalg.norm(common)
    directions = world.standard_normal((CLUSTERS, DIRECTIONS, DIMENSION)).astype(np.float32)
    directions /= np.sqrt(DIMENSION)
    share = 1 / (np.arange(CLUSTERS) + 10)
    rng = np.random.default_rng(seed)
    topics = rng.choice(CLUSTERS, rows, p=share / share.sum())
    found = np.empty((rows, DIMENSION), np.float16)
    for topic in np.unique(topics):
        mine = np.flatnonzero(topics == topic)
        weights = rng.standard_normal((len(mine), DIRECTIONS)).astype(np.float32)
        weights *= 0.9 / np.sqrt(DIRECTIONS)
        noise = rng.standard_normal((len(mine), DIMENSION)).astype(np.float32)
        noise *= NOISE / np.sqrt(DIMENSION)
        drawn = common + centres[topic] + weights @ directions[topic] + noise
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        found[mine] = drawn
    return found


def make_folder(folder: Path, rows: int) -> None:
    """An embedding folder of images, without texts."""
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for part, start in enumerate(range(0, rows, PART_ROWS)):
        count = min(PART_ROWS, rows - start)
        np.save(folder / f"img_emb/img_emb_{part}.npy", make_rows(part + 1, count))
        numbers = range(start, start + count)
        columns = {
            "url": [f"https://pictures.example/{number}.jpg" for number in numbers],
            "caption": [f"picture number {number} of a large collection" for number in numbers],
            "nsfw": ["UNLIKELY"] * count,
        }
        pq.write_table(pa.table(columns), folder / f"metadata/metadata_{part}.parquet")


class Watch:
    """The most memory of this process that is its own, in bytes, looked at again and again.

    Mapped files are left out: the system takes them back when it needs to.
    """

    def __init__(self) -> None:
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(0.05):
            self.most = max(self.most, own_memory())

    def stop(self) -> int:
        self._end.set()
        self._thread.join()
        return max(self.most, own_memory())


def own_memory() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def build(source: str, folder: str, kind: str) -> dict[str, Any]:
    """Build in this process. `build_s` is the index alone, `all_s` with parts and measuring."""
    watch = Watch()
    started, cpu = time.monotonic(), time.process_time()
    report = run(IndexOptions(input=source, output_folder=folder, kind=kind))
    wall, cpu = time.monotonic() - started, time.process_time() - cpu
    if report.exit_code:
        raise SystemExit(report.text)
    noted = json.loads(Path(folder, "recall.json").read_text())["image"]
    return {
        "build_s": noted["build_seconds"],
        "all_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "memory_mb": round(watch.stop() / 1e6),
        "file_mb": round(os.path.getsize(Path(folder, "image.index")) / 1e6),
        "effort": noted["measured"][-1]["effort"],
        "recall": noted["measured"][-1]["recall"],
    }


def ask(folder: str, rows: int) -> dict[str, Any]:
    """Search by vectors that are in no index, one after the other, then from two threads."""
    searcher = Searcher(folder)
    questions = make_rows(10_000 + rows, QUERIES).astype(np.float32)
    wanted = SearchParams(k=K)

    def one(question: npt.NDArray[np.float32]) -> float:
        started = time.perf_counter()
        searcher.search(question, wanted)
        return 1000 * (time.perf_counter() - started)

    few = questions if searcher.description.indices["image"].kind != "flat" else questions[:60]
    for question in few[:200]:  # what is mapped is read once
        one(question)
    times = sorted(map(one, few))
    return {
        "p50_ms": round(times[len(times) // 2], 2),
        "p99_ms": round(times[int(len(times) * 0.99)], 2),
        "per_s": round(throughput(one, few)),
        "searching_mb": round(own_memory() / 1e6),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def throughput(one: Callable[[Any], float], questions: npt.NDArray[np.float32]) -> float:
    """Questions a second from as many threads as there are cores."""
    threads = len(os.sched_getaffinity(0))
    started = time.monotonic()
    workers = [
        threading.Thread(target=lambda part=part: [one(q) for q in part])
        for part in np.array_split(questions, threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(questions) / (time.monotonic() - started)


def in_process(*arguments: str) -> dict[str, Any]:
    """Run this file with `arguments` and return its last line."""
    command = [sys.executable, "-m", "benchmark.knn", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kinds", default="flat,hnsw,ivfpq")
    parser.add_argument(
        "--folder", default=None, help="to keep the indices in, and to find them when run again"
    )
    parser.add_argument("--step", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        name, *given = options.step
        print(json.dumps(build(*given) if name == "build" else ask(given[0], int(given[1]))))
        return
    warn_when_busy()
    if options.folder is not None:
        measure(Path(options.folder), options.rows, options.kinds.split(","))
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.rows, options.kinds.split(","))


def measure(folder: Path, rows: int, kinds: list[str]) -> None:
    """Build what is not in the folder yet, search, print and keep."""
    source = folder / "embeddings"
    if not source.exists():
        make_folder(source, rows)
    lines = []
    for kind in kinds:
        index, built = str(folder / kind), folder / f"{kind}.json"
        if not built.exists():
            built.write_text(json.dumps(in_process("--step", "build", str(source), index, kind)))
        result = json.loads(built.read_text())
        result |= in_process("--step", "ask", index, str(rows))
        keep("knn", {"rows": rows, "kind": kind, **result})
        lines.append([kind, *(str(value) for value in result.values())])
        if kind == "hnsw":
            good = result["recall"] >= LEAST_RECALL and result["p50_ms"] <= MOST_P50
            print(f"hnsw: recall@10 >= {LEAST_RECALL} at p50 <= {MOST_P50} ms: {good}", flush=True)
    print(table(["kind", *result], lines))


if __name__ == "__main__":
    main()
