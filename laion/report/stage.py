"""`laion report`: writes the page of a release."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.report.units import counted, size
from img2ds.storage.filesystem import as_usage_error
from laion.report.facts import Facts, read_facts
from laion.report.images import DECILES, Group, collect
from laion.report.options import ReportOptions
from laion.report.page import render


@dataclass(frozen=True, slots=True)
class Written:
    """The page that was written."""

    path: str
    size: int
    rows: int
    images: int

    @property
    def exit_code(self) -> int:
        return 0

    @property
    def text(self) -> str:
        what = f"{counted(self.rows, 'pair')}, {counted(self.images, 'image')}"
        return f"{self.path} written ({what}, {size(self.size)})"


def run(options: ReportOptions) -> Written:
    """Write the page.

    Raises:
        UsageError: a release cannot be read, or the page cannot be written.
    """
    path = os.path.abspath(options.html)
    if not os.path.isdir(os.path.dirname(path)):
        raise UsageError(f"--html {options.html}: there is no folder {os.path.dirname(path)}")
    facts = read_facts(options.input)
    other = read_facts(options.compare) if options.compare is not None else None
    groups = _images(options, facts)
    html = render(facts, other, groups).encode(errors="replace")
    with as_usage_error(f"write {options.html}"):
        staged = f"{path}.{os.getpid()}"
        with open(staged, "wb") as file:
            file.write(html)
        os.replace(staged, path)
    return Written(options.html, len(html), facts.rows, sum(len(g.images) for g in groups))


def _images(options: ReportOptions, facts: Facts) -> list[Group]:
    similarity = facts.scores.get("similarity")
    borders = similarity.quantiles(DECILES) if similarity is not None and similarity.count else []
    try:
        return collect(facts.stages, options.images, borders, options.examples)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read images for the page: {error}; --examples 0") from None
