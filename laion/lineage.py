"""The stages that a folder came through, and what each of them kept and dropped by its markers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards
from img2ds.storage import OutputFolder
from laion.part import committed_counts
from laion.provenance import made_from, read_segments

#: Fields of commit markers that are no figures of a stage.
_DOWNLOAD_ONLY = {"failed_to_download", "failed_to_resize"}


@dataclass(slots=True)
class StageCounts:
    """What a stage's folder tells of itself.

    `options` are those that decide what its parts are.
    """

    stage: str
    folder: str
    parts: int
    count: int
    kept: int
    reasons: Counter[str]
    metrics: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def read_stage(path: str) -> StageCounts | None:
    """What the folder's marks tell; None when it has none.

    Raises:
        OSError: they cannot be read.
    """
    folder = OutputFolder.open(path)
    names = folder.names()
    markers = committed_shards(names)
    if not markers:
        return None
    counts = committed_counts(folder)
    segments = read_segments(folder)
    options = dict(segments[-1]["options"]) if segments else {}
    stage = str(options.pop("stage", "download"))
    metrics = {k: v for k, v in sorted(counts.metrics.items()) if k not in _DOWNLOAD_ONLY}
    return StageCounts(
        stage,
        folder.path,
        len(markers),
        counts.count,
        counts.successes,
        counts.reasons,
        metrics,
        options,
    )


def lineage(last: str, others: Sequence[str] = ()) -> list[StageCounts]:
    """The stages that `last` came through as far as they can be followed, the first one first.

    Args:
        others: folders of stages that are to be told of as well, in their order.

    Raises:
        UsageError: one of `others` is no folder of a stage.
    """
    found: dict[str, StageCounts] = {}
    for path in others:
        counts = read_stage(path)
        if counts is None:
            raise UsageError(f"--stages: {path} has no committed parts (NNNNN_stats.json)")
        found[counts.folder] = counts
    chain: list[StageCounts] = []
    for path in _inputs_of(last):
        counts = read_stage(path)
        if counts is not None and counts.folder not in found:
            chain.append(counts)
    return [*found.values(), *reversed(chain)]


def _inputs_of(path: str) -> Iterator[str]:
    """`path`, the folder it was made from, and so on; as far as manifests name files by path."""
    seen = set()
    place: str | None = path
    while place and place not in seen:
        seen.add(place)
        yield place
        place = made_from(OutputFolder.open(place))
