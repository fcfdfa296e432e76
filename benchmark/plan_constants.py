"""What a plan reckons with: figures of benchmark/results, and others with their source."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmark.measure import RESULTS


@dataclass(frozen=True, slots=True)
class Constant:
    """A figure, and where it is from."""

    value: float
    source: str


def measured(
    question: str, read: Callable[[dict[str, Any]], float], keep: Callable[[Any], bool] = bool
) -> Constant:
    """Return a figure of the last result of a benchmark that has it.

    Args:
        read: takes it out of the result; a KeyError passes over the result.
        keep: whether the result is one of those to look at.

    Raises:
        LookupError: no result has it.
    """
    lines = (RESULTS / f"{question}.jsonl").read_text().splitlines()
    for line in reversed(lines):
        result = json.loads(line)
        try:
            if keep(result):
                source = f"benchmark/results/{question}.jsonl, {result['time'][:10]}"
                return Constant(read(result), source)
        except KeyError:
            continue
    raise LookupError(f"no result of benchmark.{question} has it: run it")


def _real(tool: str) -> Callable[[dict[str, Any]], float]:
    return lambda result: result["tools"][tool]["cpu_ms_per_image"] / 1000


def _image_seconds(tool: str) -> Constant:
    return measured("real_list", _real(tool), lambda result: result["rows"] == 10_000)


def _mixed(result: dict[str, Any]) -> bool:
    return bool(result["layout"] == "mixed")


_EXTRACT, _FOUND = "laion extract, to parquet", "laion: (url, alt, licence)"
_PIPELINE = "docs/pipeline.md, from benchmark.release"

#: CPU seconds of one core.
WAT_SECONDS_A_MB = measured("wat", lambda r: r["seconds"][_EXTRACT] / r["megabytes"], _mixed)
DEDUP_SECONDS = measured(
    "dedup", lambda r: r["ns_a_pair"]["the whole part, parquet to parquet"] / 1e9
)
IMAGE_SECONDS = _image_seconds("img2ds")
IMG2DATASET_SECONDS = _image_seconds("img2dataset")
#: Of each candidate file, when `laion dedup` starts and in each of its tasks.
DEDUP_START_SECONDS = measured("dedup_files", lambda r: r["seconds"]["start cpu"])
DEDUP_FILE_SECONDS = measured("dedup_files", lambda r: r["seconds"]["task cpu"])
LOAD_SECONDS = measured("clip", lambda r: r["loader"]["loader, threads"]["cpu_ms"] / 1000)
TAG_SECONDS = Constant(27e-6, _PIPELINE)
RELEASE_SECONDS = Constant(2.6e-6, _PIPELINE)
PLAN_SECONDS = Constant(0.6e-6, _PIPELINE)
#: All of it: parts, training, codes, merging, and measuring against exact search. Measured with
#: 256 dimensions; products of vectors, which take most of it, are twice the work with 512.
INDEX_SECONDS = measured("disk_index", lambda r: 2 * r["build_cpu_s"] / r["rows"])
#: Of a row, list and dimension.
TRAINING_SECONDS = measured(
    "index_training", lambda r: r["cpu_s"] / (r["rows"] * r["lists"] * r["dimension"])
)
#: Seconds of a start for each shard, at 20 ms a request.
MARKER_SECONDS = measured(
    "markers",
    lambda r: r["commands"]["start"]["wall"] / r["shards"],
    lambda r: r["cached"] and r["shards"] >= 90_000,
)

#: Images a second of one GPU.
GPU_RATE = Constant(
    1500.0, "clip-retrieval's README: ViT-B/32 on an RTX 3080; not measured here for want of a GPU"
)

#: Bytes.
WAT_BYTES = Constant(350e6, "Common Crawl, one file of 2024; docs/common-crawl.md")
WIRE_BYTES = measured("paper", lambda result: result["bytes_per_image"])
CANDIDATE_BYTES = Constant(132.0, "docs/common-crawl.md, 10,000 real LAION-400M pairs")
STORED_BYTES = Constant(27e3, "docs/pipeline.md: LAION's 10,000 images of 256 pixels, 270 MB")
EMBEDDING_BYTES = Constant(2.0 * 2 * 512, "two vectors of 512 float16 a pair, ViT-B/32")
METADATA_BYTES = Constant(200.0, "docs/common-crawl.md: 132, with sizes, similarity and key")
#: Read of each candidate file by each task besides its rows.
FOOTER_BYTES = Constant(float(128 << 10), "laion/dedup/partition_reader.py")
SCRATCH_BYTES = Constant(24.0, "laion/release/unique.py")
#: 48 bytes of 256 dimensions, measured; a bit for each of the other 256.
INDEX_BYTES = measured("disk_index", lambda r: r["bytes_a_vector"] + 256 / 8)
BLOOM_BYTES = Constant(15.7 / 8, "docs/dedup.md, false positives at 1e-3")
DISK_RATE = Constant(1e9, "assumed: bytes/s that an NVMe disk reads and writes at the same time")
WORKER_BYTES = measured("memory", lambda result: result["memory"]["largest worker"]["peak"])

#: Shares, and rows of a file.
WAT_IMAGES = Constant(240_033, "images with a text of one real WAT file; docs/common-crawl.md")
ENGLISH = measured("wat", lambda r: r["rows"][_EXTRACT] / r["rows"][_FOUND], _mixed)
UNIQUE = Constant(0.7, "assumed: nobody has published the share of repeated pairs")
ALIVE = measured("real_list", lambda r: r["expected"] / r["rows"], lambda r: r["rows"] == 10_000)
SIMILAR = Constant(
    0.117, "LAION-5B (arXiv:2210.08402): some 50 billion pairs were scored, 5.85 billion kept"
)
SHARD_ROWS = Constant(10_000, "the default of --number_sample_per_shard")

#: What others published.
PAPER_HOURS = Constant(20.0, "LAION-400M (arXiv:2111.02114): 100 M images, 16 cores, 1 Gbit/s")
LAION_5B_RATE = Constant(9500.0, "img2dataset's README: LAION-5B, 10 nodes of 16 cores")
