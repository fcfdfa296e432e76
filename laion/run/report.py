"""`report.html`: rows kept and dropped by each stage, their durations, and the release. One file.

The numbers come from the stages' folders: commit markers, `table1.json`, `recall.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

import img2ds
from img2ds.report.units import duration, share
from img2ds.storage import OutputFolder
from laion.provenance import StageCounts, read_stage
from laion.run.config import Step, stage_flags
from laion.run.thumbnails import RELEASED, collect
from laion.samples.thumbnail import Thumbnail

#: Drop reasons listed for a stage; the others are added up.
MAX_REASONS = 12

#: Images a second of the paper's download node: 100 million in 20 hours.
PAPER_RATE = 100e6 / (20 * 3600)


@dataclass(frozen=True, slots=True)
class Row:
    """A stage in the report; `counts` is None before its first shard is committed."""

    step: Step
    counts: StageCounts | None
    record: Mapping[str, Any]

    @property
    def state(self) -> str:
        if not self.record:
            return "waiting" if self.counts is None else "started"
        code = self.record["exit_code"]
        return {0: "done", 130: "interrupted"}.get(code, "incomplete")

    @property
    def rate(self) -> str:
        """Rows a second, over all runs of the stage."""
        if self.counts is None or not self.record.get("wall"):
            return ""
        return _number(self.counts.count / self.record["wall"])

    @property
    def reasons(self) -> list[tuple[str, int]]:
        found = self.counts.reasons.most_common() if self.counts else []
        shown, others = found[:MAX_REASONS], found[MAX_REASONS:]
        if others:
            shown.append((f"{len(others)} others", sum(count for _, count in others)))
        return shown

    @property
    def flags(self) -> dict[str, str]:
        return stage_flags(self.step.options)


def render(folder: str, steps: Sequence[Step], record: Mapping[str, Mapping[str, Any]]) -> str:
    """Render the page.

    Args:
        folder: the folder of the page and of all stages.
        record: for each stage its `wall` and `cpu` in seconds, `exit_code` and when it `ended`.

    Raises:
        OSError: commit markers cannot be read.
    """
    rows = [Row(step, read_stage(step.folder), record.get(step.stage, {})) for step in steps]
    places = {step.stage: step.folder for step in steps}
    release = _document(places.get("release"), "table1.json")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("laion", "run"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, duration=duration)
    return environment.get_template("report.html").render(
        folder=folder,
        version=img2ds.__version__,
        rows=rows,
        most=max((row.counts.count for row in rows if row.counts), default=0),
        share=share,
        wall=sum(row.record.get("wall", 0.0) for row in rows),
        cpu=sum(row.record.get("cpu", 0.0) for row in rows),
        paper_rate=PAPER_RATE,
        release=release,
        figure=_exists(places.get("release"), "figures/similarity.png"),
        images=_images(steps, places, release is not None),
        released=RELEASED,
        recall=_document(places.get("index"), "recall.json"),
        index=OutputFolder.open(places["index"]).path if "index" in places else None,
    )


def _images(
    steps: Sequence[Step], places: Mapping[str, str], is_made: bool
) -> dict[str, list[Thumbnail]]:
    """Return thumbnails by outcome, the released ones first; none before the release is made."""
    options = next((step.options for step in steps if step.stage == "release"), None)
    if not is_made or options is None:
        return {}
    found = collect(places, options.threshold)
    return dict(sorted(found.items(), key=lambda item: (item[0] != RELEASED, item[0])))


def _document(folder: str | None, name: str) -> Any:
    """Read a JSON file of a stage's folder; None if it does not exist."""
    if folder is None:
        return None
    place = OutputFolder.open(folder)
    return json.loads(place.read_bytes(name)) if place.exists(name) else None


def _exists(folder: str | None, name: str) -> bool:
    return folder is not None and OutputFolder.open(folder).exists(name)


def _number(value: float) -> str:
    """Format as `12,000` or `3.4`."""
    digits = 0 if value >= 100 or value == int(value) else 1
    return f"{value:,.{digits}f}"
