"""The report of a release as HTML: one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import jinja2
import numpy as np
import numpy.typing as npt

import img2ds
from img2ds.report.units import share
from laion.provenance import StageCounts, was_tagged
from laion.report.distribution import ASPECTS, BINS, SIDE_NAMES, Score
from laion.report.facts import Facts
from laion.report.images import Group

#: Values listed by name, and columns of a histogram.
MAX_NAMES, COLUMNS = 15, 50

#: Drop reasons listed for a stage; the others are added up.
MAX_REASONS = 12

Counts = Callable[[Facts], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table: a count here, and in the release that is compared; None without one."""

    name: str
    here: int
    there: int | None


@dataclass(frozen=True, slots=True)
class Table:
    """Counts by name, with the numbers of rows that they are shares of."""

    title: str
    lines: Sequence[Line]
    whole: int
    other: int

    @property
    def top(self) -> int:
        return max((line.here for line in self.lines), default=0) or 1


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram from `low` to `high`: outlines of this release, and of the other one."""

    name: str
    here: Score
    there: Score | None
    low: float
    high: float
    paths: Sequence[str]


def render(facts: Facts, other: Facts | None, groups: Sequence[Group]) -> str:
    """Render the page.

    Args:
        other: the release that is compared.
        groups: images.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("laion", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=lambda value: f"{value:,}")
    return environment.get_template("page.html").render(
        facts=facts,
        other=other,
        version=img2ds.__version__,
        first=facts.stages[0].count if facts.stages else 0,
        tagged=was_tagged(facts.stages),
        tables=tables(facts, other),
        histograms=[
            _histogram(name, score, other.scores.get(name) if other is not None else None)
            for name, score in facts.scores.items()
            if score.count
        ],
        groups=groups,
        reasons=_reasons,
        share=share,
    )


def tables(facts: Facts, other: Facts | None) -> list[Table]:
    """Return the tables of the page that have rows."""
    made = []
    for title, shown, counted in _TABLES:
        # A release without the column has no counts to compare.
        there = counted(other) or None if other is not None else None
        lines = [Line(name, n, _count(there, name)) for name, n in shown(facts).items()]
        if any(line.here for line in lines):
            made.append(Table(title, lines, facts.rows, other.rows if other is not None else 0))
    return made


def _count(there: Mapping[str, int] | None, name: str) -> int | None:
    if there is None or name == "others":  # of names that may be listed there
        return None
    return there.get("" if name in ("(none)", "(empty)") else name, 0)


def _ordered(counts: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    return {name: counts[name] for name in names} if counts else {}


#: The tables: what is shown of a release, and the counts in which the other one's are looked up.
_TABLES: tuple[tuple[str, Counts, Counts], ...] = (
    ("Shorter side", lambda facts: _ordered(facts.sides, SIDE_NAMES), lambda facts: facts.sides),
    ("Width : height", lambda facts: _ordered(facts.aspects, ASPECTS), lambda facts: facts.aspects),
    ("Language", lambda facts: facts.languages.most_common(MAX_NAMES),
     lambda facts: facts.languages.counts),
    ("Host", lambda facts: facts.hosts.most_common(MAX_NAMES), lambda facts: facts.hosts.counts),
    ("Licence", lambda facts: facts.contents.named_licenses(),
     lambda facts: facts.contents.licenses),
    ("NSFW tag", lambda facts: facts.contents.tags(), lambda facts: facts.contents.tags()),
)  # fmt: skip


def _reasons(stage: StageCounts) -> list[tuple[str, int]]:
    found = stage.reasons.most_common()
    shown, others = found[:MAX_REASONS], found[MAX_REASONS:]
    if others:
        shown.append((f"{len(others)} others", sum(count for _, count in others)))
    return shown


def _histogram(name: str, here: Score, there: Score | None) -> Histogram:
    """Return a histogram of the bins that have values, of both releases."""
    limits = (here.low, here.high)
    comparable = there is not None and there.count and (there.low, there.high) == limits
    shown = [here, there] if there is not None and comparable else [here]
    filled = np.flatnonzero(sum(score.histogram for score in shown))
    start = int(filled[0]) // COLUMNS * COLUMNS
    stop = (int(filled[-1]) // COLUMNS + 1) * COLUMNS
    paths = [_outline(score.histogram[start:stop]) for score in shown]
    low, high = (here.low + (here.high - here.low) * place / BINS for place in (start, stop))
    return Histogram(name, here, there, low, high, paths)


def _outline(histogram: npt.NDArray[np.int64]) -> str:
    """Return the outline of a histogram as the path of an SVG, 100 wide and 40 high."""
    columns = histogram.reshape(COLUMNS, -1).sum(axis=1)
    heights = 40 - 40 * columns / max(1, columns.max())
    width = 100 / COLUMNS
    steps = (
        f"L{place * width:.2f},{height:.2f} L{(place + 1) * width:.2f},{height:.2f}"
        for place, height in enumerate(heights.tolist())
    )
    return f"M0,40 {' '.join(steps)} L100,40"
