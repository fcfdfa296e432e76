"""`report.html`: what each stage kept, dropped and took, and what is in the release. One file.

All numbers are the stages' own: marks, the release's `table1.json`, the index's `recall.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

import img2ds
from img2ds.report.console import duration, share
from img2ds.storage import OutputFolder
from laion.provenance import StageCounts, read_stage
from laion.run.config import Step, stage_flags

#: Reasons that are listed of a stage; the rest are counted together.
MAX_REASONS = 12

#: Images a second of the paper's node: 100 M in 20 hours.
PAPER_RATE = 100e6 / (20 * 3600)


@dataclass(frozen=True, slots=True)
class Row:
    """A stage as the report tells of it; `counts` is None before its first part is there."""

    step: Step
    counts: StageCounts | None
    record: Mapping[str, Any]

    @property
    def state(self) -> str:
        if not self.record:
            return "waiting" if self.counts is None else "begun"
        code = self.record["exit_code"]
        return {0: "done", 130: "interrupted"}.get(code, "parts are missing")

    @property
    def rate(self) -> str:
        """Rows a second of all of its time."""
        if self.counts is None or not self.record.get("wall"):
            return ""
        return _number(self.counts.count / self.record["wall"])

    @property
    def reasons(self) -> list[tuple[str, int]]:
        found = self.counts.reasons.most_common() if self.counts else []
        rest = sum(n for _, n in found[MAX_REASONS:])
        return [
            *found[:MAX_REASONS],
            *([(f"{len(found) - MAX_REASONS} others", rest)] * bool(rest)),
        ]

    @property
    def flags(self) -> dict[str, str]:
        return stage_flags(self.step.options)


def render(folder: str, steps: Sequence[Step], record: Mapping[str, Mapping[str, Any]]) -> str:
    """The page.

    Args:
        folder: where it will lie, beside the stages' folders.
        record: by stage its `wall` and `cpu` in seconds, `exit_code` and when it `ended`.

    Raises:
        OSError: marks cannot be read.
    """
    rows = [Row(step, read_stage(step.folder), record.get(step.stage, {})) for step in steps]
    places = {step.stage: step.folder for step in steps}
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
        release=_document(places.get("release"), "table1.json"),
        figure=_exists(places.get("release"), "figures/similarity.png"),
        recall=_document(places.get("index"), "recall.json"),
        index=OutputFolder.open(places["index"]).path if "index" in places else None,
    )


def _document(folder: str | None, name: str) -> Any:
    """A JSON file of a stage's folder; None where there is none yet."""
    if folder is None:
        return None
    place = OutputFolder.open(folder)
    return json.loads(place.read_bytes(name)) if place.exists(name) else None


def _exists(folder: str | None, name: str) -> bool:
    return folder is not None and OutputFolder.open(folder).exists(name)


def _number(value: float) -> str:
    """`12 000`, `3.4`."""
    digits = 0 if value >= 100 or value == int(value) else 1
    return f"{value:,.{digits}f}".replace(",", "\u202f")
