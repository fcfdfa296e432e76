"""The end of a release: its card, its statistics and its figure, from its files and its origin.

They are written again when pairs are removed from a finished release.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from img2ds.core.state import state_file
from img2ds.engine.marker import total_counts
from img2ds.storage import OutputFolder, find_inputs, open_seekable, read_state, write_state
from laion.data.release_schema import LAYOUTS, ReleaseColumn
from laion.provenance import StageCounts, options_of, trace_stages, was_tagged
from laion.release.card import CardFacts, dataset_card
from laion.release.contents import Contents
from laion.release.figures import draw_similarities
from laion.release.purges import read_purges
from laion.release.stats import count_files

#: Where the histogram of similarities goes.
HISTOGRAM = "figures/similarity.png"
#: What the card says of stages whose folders may be gone when it is written again.
ORIGIN = state_file("release")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a card says besides what is in the release.

    Attributes:
        figures: whether the histogram is drawn.
        tagged: whether the pairs came through `laion tag`.
        stages: those before the release.
        scanned: all pairs of the input by similarity; None if it is not known.
    """

    threshold: float
    figures: bool
    tagged: bool
    stages: Sequence[StageCounts]
    scanned: Sequence[int] | None

    def save(self, folder: OutputFolder) -> None:
        """Keep it in the release. Raises OSError."""
        document = {f.name: getattr(self, f.name) for f in fields(self)}
        # `asdict` cannot copy a Counter.
        document["stages"] = [{f.name: getattr(s, f.name) for f in fields(s)} for s in self.stages]
        write_state(folder, ORIGIN, json.dumps(document).encode())

    @classmethod
    def load(cls, folder: OutputFolder) -> Origin:
        """Return what was kept; of a release of an earlier version what can be traced.

        Raises:
            UsageError: a manifest or a commit marker is damaged.
            OSError: it cannot be read.
        """
        data = read_state(folder, ORIGIN)
        if data is not None:
            document = json.loads(data)
            stages = [_stage(each) for each in document.pop("stages")]
            return cls(stages=stages, **document)
        stages = [s for s in trace_stages(folder.path) if s.folder != folder.path]
        threshold = float(options_of(folder).get("threshold", 0.3))
        return cls(threshold, folder.exists(HISTOGRAM), was_tagged(stages), stages, None)


def _stage(document: dict[str, Any]) -> StageCounts:
    return StageCounts(**{**document, "reasons": Counter(document["reasons"])})


def _columns(folder: OutputFolder, part: str) -> Sequence[ReleaseColumn]:
    """Return the columns of a release, as one of its parts has them."""
    there = pq.read_schema(open_seekable(part)).names
    layout = LAYOUTS[options_of(folder).get("columns", "laion400m")]
    return tuple(column for column in layout if column.name in there)


def write_card(folder: OutputFolder, origin: Origin) -> Contents:
    """Write the card, Table 1 and the figure of the parts that are there; return their contents.

    Raises:
        OSError, UsageError: a file cannot be read or written.
    """
    parts = find_inputs(folder.path, (".parquet",))
    total = total_counts(folder)
    contents = count_files(parts, unique=total.successes)
    own = StageCounts(
        "release", folder.path, len(parts), total.count, total.successes, total.reasons
    )
    document = {"threshold": origin.threshold, **contents.document()}
    folder.write_bytes("table1.json", json.dumps(document, indent=1).encode())
    figures = []
    if origin.figures:
        scanned = contents.histogram if origin.scanned is None else np.asarray(origin.scanned)
        draw_similarities(folder.staging_path(HISTOGRAM), contents, scanned, origin.threshold)
        folder.publish(HISTOGRAM)
        figures.append(HISTOGRAM)
    facts = CardFacts(
        contents,
        [*origin.stages, own],
        len(parts),
        origin.threshold,
        figures,
        origin.tagged,
        _columns(folder, parts[0].path),
        read_purges(folder),
    )
    folder.write_bytes("README.md", dataset_card(facts).encode())
    return contents
