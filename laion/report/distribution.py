"""Distributions of a release's columns, added batch by batch: any number of rows is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: Borders between the groups of aspect ratios, width by height, and of the shorter side in pixels.
ASPECTS = {"below 1:3": 1 / 3, "1:3 to 1:2": 0.5, "1:2 to 2:3": 2 / 3, "2:3 to 1:1": 1.0,
           "1:1 to 3:2": 1.5, "3:2 to 2:1": 2.0, "2:1 to 3:1": 3.0, "from 3:1": np.inf}  # fmt: skip
SIDES = (64, 128, 256, 512, 1024)
SIDE_NAMES = [
    *(f"{low} to {high - 1} px" for low, high in zip((1, *SIDES), SIDES, strict=False)),
    f"from {SIDES[-1]} px",
]

#: Values that are counted by name, and how many are kept when there are more: rarer ones are
#: forgotten, so that counts of the rarest of a long list may be too low.
MAX_NAMES, KEPT_NAMES = 400_000, 200_000

#: Bins of a score's histogram.
BINS = 1000

#: The host of a URL, without user and port.
_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>[^/?#:]+)"


@dataclass(slots=True)
class Names:
    """Counts of values by name, in bounded memory."""

    counts: Counter[str] = field(default_factory=Counter)
    total: int = 0

    def add(self, column: pa.ChunkedArray | pa.Array) -> None:
        """Count the values of a column of strings; null is the empty string."""
        for row in pc.value_counts(pc.fill_null(column.cast(pa.string()), "")).to_pylist():
            self.counts[row["values"]] += row["counts"]
            self.total += row["counts"]
        if len(self.counts) > MAX_NAMES:
            self.counts = Counter(dict(self.counts.most_common(KEPT_NAMES)))

    def most_common(self, count: int) -> dict[str, int]:
        """Return the most frequent names, the others together as `others`."""
        found = {name or "(none)": n for name, n in self.counts.most_common(count)}
        others = self.total - sum(found.values())
        return {**found, "others": others} if others else found


@dataclass(slots=True)
class Score:
    """A column of numbers: its histogram, in `BINS` bins from `low` to `high`."""

    low: float
    high: float
    histogram: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    missing: int = 0
    total: float = 0.0

    @property
    def count(self) -> int:
        """Rows that have a value."""
        return int(self.histogram.sum())

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else float("nan")

    def add(self, column: pa.ChunkedArray | pa.Array) -> None:
        """Count the values of a column; null and NaN are missing."""
        values = np.asarray(pc.fill_null(column.cast(pa.float64()), np.nan))
        present = values[np.isfinite(values)]
        self.missing += len(values) - len(present)
        self.total += float(present.sum())
        place = (present - self.low) / (self.high - self.low or 1.0) * BINS
        self.histogram += np.bincount(
            np.clip(place, 0, BINS - 1).astype(np.int64), minlength=BINS
        ).astype(np.int64)

    def quantiles(self, parts: int) -> list[float]:
        """Return the `parts` - 1 values between parts of equal size, rounded down to a bin."""
        sums = np.cumsum(self.histogram)
        wanted = [sums[-1] * part / parts for part in range(1, parts)]
        bins = np.searchsorted(sums, wanted)
        return [float(self.low + (self.high - self.low) * place / BINS) for place in bins]


def hosts_of(urls: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return the hosts of URLs, in lower case; the empty string where there is none."""
    found = pc.struct_field(pc.extract_regex(urls.cast(pa.string()), _HOST), "host")
    return pc.utf8_lower(pc.fill_null(found, ""))


def count_shapes(
    widths: pa.ChunkedArray, heights: pa.ChunkedArray
) -> tuple[Counter[str], Counter[str]]:
    """Count rows by aspect ratio and by shorter side; sizes that are missing count as neither."""
    width, height = (
        np.asarray(pc.fill_null(column.cast(pa.float64()), np.nan)) for column in (widths, heights)
    )
    known = (width > 0) & (height > 0)
    width, height = width[known], height[known]
    names = list(ASPECTS)
    places = np.searchsorted(list(ASPECTS.values())[:-1], width / height, side="right")
    aspects = Counter({names[place]: int(n) for place, n in _counted(places)})
    sides = np.searchsorted(SIDES, np.minimum(width, height), side="right")
    return aspects, Counter({SIDE_NAMES[place]: int(n) for place, n in _counted(sides)})


def _counted(places: npt.NDArray[np.intp]) -> list[tuple[int, int]]:
    values, counts = np.unique(places, return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))
