"""Counts what a LAION-style dataset contains: sizes, NSFW tags, licences, similarities.

The sizes are those of Table 1 of the paper (Schuhmann et al. 2021, arXiv:2111.02114). Tables are
added one by one, so that a dataset of any size can be counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: Sides in pixels of Table 1, in its order.
SIDES = (1024, 512, 256)

#: Table 1 of the paper, in pairs; it prints 413M, 26M, 9.6M, 112M, 67M, 268M and 211M.
PAPER: Mapping[str, int] = {
    "Number of unique samples": 413_000_000,
    "Number with height or width >= 1024": 26_000_000,
    "Number with height and width >= 1024": 9_600_000,
    "Number with height or width >= 512": 112_000_000,
    "Number with height and width >= 512": 67_000_000,
    "Number with height or width >= 256": 268_000_000,
    "Number with height and width >= 256": 211_000_000,
}
UNIQUE = next(iter(PAPER))

#: Tags as LAION-400M writes them; other values are listed after these.
TAGS = ("UNLIKELY", "UNSURE", "NSFW")

#: Bins of the similarity histogram: 200 of 0.01 from -1 to 1.
BINS = 200

#: Licences listed by name; the others are counted together.
MAX_LICENSES = 30


@dataclass(slots=True)
class Contents:
    """Counts of the rows of a dataset.

    Attributes:
        rows: all rows.
        unique: different pairs of URL and text; None when they were not counted.
        sized: rows that have both sizes.
        scored: rows that have a similarity.
        either: rows with height or width of at least that many pixels, by side.
        both: rows with height and width of at least that many pixels, by side.
        shapes: rows that are wide, high or square.
        histogram: rows by similarity, in `BINS` bins.
        total: the sum of all similarities.
        absent: columns that the dataset does not have.
    """

    rows: int = 0
    unique: int | None = None
    sized: int = 0
    scored: int = 0
    either: Counter[int] = field(default_factory=Counter)
    both: Counter[int] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    nsfw: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    histogram: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    total: float = 0.0
    absent: set[str] = field(default_factory=set)

    def add(self, table: pa.Table, swapped_sizes: bool = False) -> None:
        """Count the rows of a table with the release's columns, or some of them.

        Args:
            swapped_sizes: HEIGHT holds widths and WIDTH heights, as in the files of LAION-400M.
        """
        self.rows += table.num_rows
        columns = set(table.column_names)
        if {"HEIGHT", "WIDTH"} <= columns:
            height, width = ("WIDTH", "HEIGHT") if swapped_sizes else ("HEIGHT", "WIDTH")
            self._add_sizes(table.column(height), table.column(width))
        else:
            self.absent |= {"HEIGHT", "WIDTH"} - columns
        if "similarity" in columns:
            self._add_similarities(table.column("similarity"))
        else:
            self.absent.add("similarity")
        for name, counter in (("NSFW", self.nsfw), ("LICENSE", self.licenses)):
            if name in columns:
                counts = pc.value_counts(pc.fill_null(table.column(name).cast(pa.string()), ""))
                counter.update({row["values"]: row["counts"] for row in counts.to_pylist()})
            else:
                self.absent.add(name)

    def _add_sizes(self, height: pa.ChunkedArray, width: pa.ChunkedArray) -> None:
        # pandas writes sizes as floats where some are missing, with NaN for these.
        valid = pc.and_(pc.is_finite(height), pc.is_finite(width))
        heights = np.asarray(height.filter(valid).cast(pa.int64(), safe=False))
        widths = np.asarray(width.filter(valid).cast(pa.int64(), safe=False))
        self.sized += len(heights)
        for side in SIDES:
            self.either[side] += int(((heights >= side) | (widths >= side)).sum())
            self.both[side] += int(((heights >= side) & (widths >= side)).sum())
        self.shapes["wide"] += int((widths > heights).sum())
        self.shapes["high"] += int((widths < heights).sum())
        self.shapes["square"] += int((widths == heights).sum())

    def _add_similarities(self, column: pa.ChunkedArray) -> None:
        values = np.asarray(pc.fill_null(column.cast(pa.float64()), np.nan))
        values = values[~np.isnan(values)]
        self.scored += len(values)
        self.total += float(values.sum())
        self.histogram += similarity_histogram(values)

    def table1(self) -> dict[str, int | None]:
        """Return Table 1, unique samples first; None where columns are missing."""
        table: dict[str, int | None] = {UNIQUE: self.unique}
        for side in SIDES:
            for word, counter in (("or", self.either), ("and", self.both)):
                known = not {"HEIGHT", "WIDTH"} & self.absent
                row = f"Number with height {word} width >= {side}"
                table[row] = counter[side] if known else None
        return table

    def tags(self) -> dict[str, int]:
        """Return rows by NSFW tag, LAION-400M's tags first; empty tags are called `untagged`."""
        if "NSFW" in self.absent:
            return {}
        found = {tag: self.nsfw[tag] for tag in TAGS}
        rest = {tag or "untagged": n for tag, n in sorted(self.nsfw.items()) if tag not in TAGS}
        return {**found, **rest}

    def named_licenses(self) -> dict[str, int]:
        """Return rows by licence, the most frequent first, rare ones together as `others`."""
        named = {name or "(empty)": n for name, n in self.licenses.most_common(MAX_LICENSES)}
        others = self.licenses.total() - sum(named.values())
        return {**named, "others": others} if others else named

    @property
    def mean_similarity(self) -> float | None:
        """The mean over the rows that have a similarity, None when there are none."""
        return self.total / self.scored if self.scored else None

    def document(self) -> dict[str, Any]:
        """Return all counts as a JSON object."""
        edges = np.round(np.linspace(-1, 1, BINS + 1), 2)
        filled = np.flatnonzero(self.histogram)
        return {
            "rows": self.rows,
            "table1": {
                name: {"here": count, "paper": PAPER[name]} for name, count in self.table1().items()
            },
            "shapes": dict(self.shapes),
            "nsfw": self.tags(),
            "licenses": self.named_licenses(),
            "similarity": {
                "rows": self.scored,
                "mean": self.mean_similarity,
                "histogram": {f"{edges[bin]:.2f}": int(self.histogram[bin]) for bin in filled},
            },
            "absent_columns": sorted(self.absent),
        }


def similarity_histogram(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return counts in bins of 0.01, `[0.30, 0.31)` and so on, from -1 to 1.

    Cosines above 1, which rounding can give, belong to the last bin.
    """
    # Comparing with the edges is exact; dividing is not: 0.29 / 0.01 is 28.999...
    edges = np.linspace(-1, 1, BINS + 1).round(2)
    bins = np.searchsorted(edges, np.clip(values, -1, 1), side="right") - 1
    return np.bincount(np.minimum(bins, BINS - 1), minlength=BINS).astype(np.int64)
