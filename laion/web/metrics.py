"""What the server took, in Prometheus' text format (version 0.0.4). Thread-safe."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

#: Upper limits of the buckets, in seconds: those of Prometheus' Python client.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

#: Histograms by name, which is clip-retrieval's where it has one. Times include waiting.
HISTOGRAMS = {
    "full_knn_request_time": "Seconds from a search request to its answer",
    "text_clip_inference_time": "Seconds to embed a text",
    "image_clip_inference_time": "Seconds to get, decode and embed an image",
    "knn_index_time": "Seconds to search the index and to read the rows that were found",
    "metadata_get_time": "Seconds from a request for metadata to its answer",
}


class Histogram:
    """Durations in seconds, counted by bucket."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0
        self._lock = Lock()

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        with self._lock:
            self._counts[bisect_left(BUCKETS, seconds)] += 1
            self._sum += seconds

    def lines(self, name: str, text: str) -> Iterator[str]:
        """Yield its lines."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} histogram"
        seen = 0
        for limit, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            seen += count
            yield f'{name}_bucket{{le="{limit}"}} {seen}'
        yield f"{name}_count {seen}"
        yield f"{name}_sum {total!r}"


class Metrics:
    """All that is measured.

    Args:
        rows: rows of each index, by its name.
    """

    def __init__(self, rows: Mapping[str, int]) -> None:
        self._rows = dict(rows)
        self._histograms = {name: Histogram() for name in HISTOGRAMS}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the duration of a `with` block, also where it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._histograms[name].observe(time.perf_counter() - started)

    def render(self) -> str:
        """Return the page."""
        lines = ["# HELP index_rows Rows of an index", "# TYPE index_rows gauge"]
        lines += [f'index_rows{{indice_name="{_label(n)}"}} {c}' for n, c in self._rows.items()]
        for name, text in HISTOGRAMS.items():
            lines += self._histograms[name].lines(name, text)
        return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
