"""What does training the centroids of an index cost? It is the part that cannot be divided.

    python -m benchmark.index_training [--lists 1024]

CPU time of faiss's k-means on 64 rows a list, as `laion index --kind rabitq` has it.
"""

from __future__ import annotations

import argparse
import time

from benchmark.disk_vectors import make_vectors
from benchmark.measure import keep, warn_when_busy
from laion.knn.index_kinds import POINTS_PER_CENTROID, index_class


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", type=int, default=1024)
    options = parser.parse_args()
    warn_when_busy()
    rows = POINTS_PER_CENTROID * options.lists
    sample = make_vectors(0, rows, "image")
    index = index_class("rabitq").create(f"IVF{options.lists}_HNSW32,RaBitQ", sample.shape[1])
    index.set_threads(1)
    cpu = time.process_time()
    index.train(sample)
    cpu = time.process_time() - cpu
    # Each row is compared with each list, some times.
    products = rows * options.lists * sample.shape[1]
    print(f"{cpu:.1f} s for {options.lists:,} lists of {rows:,} rows, {cpu / products:.3g} s a "
          "row, list and dimension")  # fmt: skip
    keep(
        "index_training",
        {"lists": options.lists, "rows": rows, "dimension": sample.shape[1], "cpu_s": cpu},
    )


if __name__ == "__main__":
    main()
