"""What does an index on disk find, how fast, when nothing is in memory? Images asked by texts.

    python -m benchmark.disk_index --rows 2000000 --folder FOLDER

Builds with --max_memory, in a process of its own; then, for each setting, a process begins with
none of the index in the page cache and asks each text once, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.disk_vectors import make_folder, make_vectors
from benchmark.knn import Watch, own_memory
from benchmark.measure import keep, table, warn_when_busy
from laion.knn.description import array_name
from laion.knn.options import IndexOptions
from laion.knn.ranking import Setting
from laion.knn.recall import K, kth_similarity, recall_at_k
from laion.knn.searcher import Searcher, SearchParams
from laion.knn.stage import run
from laion.knn.vectors import VectorFiles

QUERIES = 200
#: Lists searched, and vectors compared.
SETTINGS = ((64, 512), (128, 1024), (256, 1024), (512, 1024))
#: What has to hold.
LEAST_RECALL, MOST_P50 = 0.95, 50.0


def texts() -> Any:
    return make_vectors(1_000_000, QUERIES, "text")


def build(source: str, folder: str, memory: str) -> dict[str, Any]:
    """Build in this process, and the segments in its workers."""
    watch = Watch()
    started, idle = time.monotonic(), own_memory()
    report = run(
        IndexOptions(
            input=source, output_folder=folder, kind="rabitq", max_memory=int(memory),
            processes_count=1,
        )
    )  # fmt: skip
    if report.exit_code:
        raise SystemExit(report.text)
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "build_wall_s": round(time.monotonic() - started),
        "build_cpu_s": round(sum(each.ru_utime + each.ru_stime for each in spent)),
        "max_memory_mb": round(int(memory) / 1e6),
        "build_memory_mb": round((watch.stop() - idle) / 1e6),
    }


def truth(folder: str) -> None:
    """Write how similar the K-th nearest image is to each text, compared with all images."""
    vectors = _vectors(folder)
    kth = kth_similarity(texts(), np.full(QUERIES, -1, np.int64), vectors, lambda _: None)
    np.save(f"{folder}/truth.npy", kth)


def _vectors(folder: str) -> VectorFiles:
    parts = json.loads(Path(folder, "index.json").read_text())["parts"]
    return VectorFiles(f"{folder}/{array_name('image', number)}" for number in parts)


def forget(folder: str) -> None:
    """Drop the files of the index from the page cache; no process may have them mapped."""
    os.sync()
    for path in Path(folder).rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def ask(folder: str, effort: int, pool: int) -> dict[str, Any]:
    """Ask each text once, and compare what is found."""
    forget(folder)
    searcher = Searcher(folder)
    index = searcher.description.indices["image"]
    object.__setattr__(index, "effort", effort)
    object.__setattr__(index, "pool", pool)
    assert index.setting == Setting(effort, 1, pool)
    queries, params = texts(), SearchParams(k=K)
    times, found = [], np.full((QUERIES, K), -1, np.int64)
    reads = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
    for number, query in enumerate(queries):
        started = time.perf_counter()
        results = searcher.search(query, params).results
        times.append(1000 * (time.perf_counter() - started))
        found[number, : len(results)] = [result.id for result in results]
    reads = resource.getrusage(resource.RUSAGE_SELF).ru_inblock - reads
    cpu = time.process_time()
    for query in queries:  # what was read is in memory now
        searcher.search(query, params)
    cpu = time.process_time() - cpu
    kth = np.load(f"{folder}/truth.npy")
    none = np.full(QUERIES, -1, np.int64)
    return {
        "nprobe": effort,
        "pool": pool,
        "recall": round(recall_at_k(found, none, queries, kth, _vectors(folder)), 4),
        "p50_ms": round(float(np.percentile(times, 50)), 1),
        "p99_ms": round(float(np.percentile(times, 99)), 1),
        "read_kb": round(reads * 512 / 1000 / QUERIES),
        "cpu_ms": round(1000 * cpu / QUERIES, 2),
        "own_mb": round(own_memory() / 1e6),
    }


def in_process(*arguments: str) -> dict[str, Any]:
    """Run this file with `arguments` and return its last line."""
    command = [sys.executable, "-m", "benchmark.disk_index", "--step", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def step(name: str, *given: str) -> dict[str, Any]:
    if name == "build":
        return build(*given)
    if name == "truth":
        truth(*given)
        return {}
    return ask(given[0], int(given[1]), int(given[2]))


def measure(place: Path, rows: int, memory: int) -> None:
    source, folder, noted = place / "embeddings", str(place / "index"), place / "built.json"
    if not source.exists():
        make_folder(source, rows)
    if not noted.exists():
        noted.write_text(json.dumps(in_process("build", str(source), folder, str(memory))))
    if not Path(folder, "truth.npy").exists():
        in_process("truth", folder)
    built = json.loads(noted.read_text())
    size = os.path.getsize(Path(folder, "image.index"))
    built |= {"rows": rows, "bytes_a_vector": round(size / rows, 1)}
    built["factory"] = Searcher(folder).description.indices["image"].factory
    asked = [in_process("ask", folder, str(e), str(pool)) for e, pool in SETTINGS]
    print(json.dumps(built))
    print(table(list(asked[0]), [[str(value) for value in line.values()] for line in asked]))
    good = [each for each in asked if each["recall"] >= LEAST_RECALL and each["p50_ms"] <= MOST_P50]
    print(f"recall@10 >= {LEAST_RECALL} at p50 <= {MOST_P50} ms: {good[0] if good else False}")
    keep("disk_index", {**built, "queries": QUERIES, "asked": asked, "good": bool(good)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--max_memory", type=int, default=1_000_000_000)
    parser.add_argument("--folder", default=None, help="to keep the index in")
    parser.add_argument("--step", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(*options.step)))
        return
    warn_when_busy()
    if options.folder is not None:
        measure(Path(options.folder), options.rows, options.max_memory)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.rows, options.max_memory)


if __name__ == "__main__":
    main()
