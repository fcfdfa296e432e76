"""Images of a release for its report: by similarity, and those that each stage dropped.

They come from the first shards of the downloaded images. What `laion tag` drops is never shown, nor
what it has not judged or tagged UNSURE or NSFW: such images may be illegal to look at.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.storage import OutputFolder, find_inputs, open_seekable
from laion.provenance import StageCounts
from laion.samples.first_shards import SHARDS, first_samples, rows_of
from laion.samples.sample import Sample
from laion.samples.thumbnail import Thumbnail, Thumbnails

#: Samples of a shard that are looked at.
SAMPLES = 250

#: Groups by similarity.
DECILES = 10

#: Stages whose folders hold pairs with embeddings.
_EMBEDDED = {"score", "annotate", "tag", "filter", "dedup_images", "crawl", "release"}

#: What `laion dedup_images` writes about each pair that it drops.
_DUPLICATES = "duplicates"

Row = Mapping[str, Any]


@dataclass(slots=True)
class Group:
    """Images that belong together."""

    title: str
    images: list[Thumbnail] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Looked:
    """What is known of the samples that are looked at: rows by key, for each folder in order."""

    samples: Mapping[str, Sample]
    stages: Sequence[StageCounts]
    rows: Sequence[Mapping[str, Row]]


def collect(
    stages: Sequence[StageCounts], images: str | None, borders: Sequence[float], each: int
) -> list[Group]:
    """Collect groups of thumbnails; none where the images are not at hand.

    Args:
        stages: those that the release came through, itself the last one.
        images: a folder of tars; None for that of the download.
        borders: similarities between the groups of released pairs, in ascending order.
        each: thumbnails of a group at most.

    Raises:
        UsageError, OSError, pa.ArrowException: a folder cannot be read.
    """
    place = images or next((s.folder for s in stages if s.stage in ("download", "crawl")), None)
    embedded = [stage for stage in stages if stage.stage in _EMBEDDED]
    if place is None or not embedded or not each:
        return []
    samples = {sample.key: sample for sample in first_samples(place, SAMPLES)}
    keys = pa.array(list(samples), pa.string())
    rows = [{row["key"]: row for row in rows_of(stage.folder, keys)} for stage in embedded]
    looked = _Looked(samples, embedded, rows)
    with Thumbnails() as thumbnails:
        groups = [
            *_by_similarity(looked, borders, each, thumbnails),
            *_near_duplicates(looked, each, thumbnails),
            *_dropped(looked, each, thumbnails),
        ]
    return [group for group in groups if group.images]


def _by_similarity(
    looked: _Looked, borders: Sequence[float], each: int, thumbnails: Thumbnails
) -> Iterator[Group]:
    limits = ["", *(f"{border:.3f}" for border in borders), ""]
    groups = [
        Group(f"Similarity {f'from {low} ' if low else ''}{f'to {high}' if high else ''}".strip())
        for low, high in pairwise(limits)
    ]
    for key, row in looked.rows[-1].items():
        similarity = row.get("similarity")
        if similarity is None or not _may_show(looked, row):
            continue
        group = groups[bisect_right(borders, similarity)]
        _add(group, looked.samples[key], similarity, each, thumbnails)
    yield from groups


def _near_duplicates(looked: _Looked, each: int, thumbnails: Thumbnails) -> Iterator[Group]:
    """Yield pairs that were dropped as near-duplicates, each behind the one that was kept."""
    for stage in looked.stages:
        folder = OutputFolder.open(stage.folder)
        if not folder.names(_DUPLICATES):
            continue
        group = Group("Near-duplicates: each image that was kept, then one that was dropped")
        for file in find_inputs(f"{folder.path}/{_DUPLICATES}", (".parquet",))[:SHARDS]:
            table = pq.read_table(open_seekable(file.path), columns=["key", "duplicate_of"])
            for row in table.to_pylist():
                pair = [row["duplicate_of"], row["key"]]
                rows = [looked.rows[0].get(key) for key in pair]
                if len(group.images) + 2 > 2 * each or not all(rows):
                    continue
                if all(_may_show(looked, row) for row in rows if row is not None):
                    for key in pair:
                        _add(group, looked.samples[key], None, 2 * each, thumbnails)
        yield group


def _dropped(looked: _Looked, each: int, thumbnails: Thumbnails) -> Iterator[Group]:
    """Yield what each stage dropped of the pairs that the stage before it kept."""
    for place in range(1, len(looked.stages)):
        stage = looked.stages[place]
        if stage.stage == "tag":
            continue
        reasons = ", ".join(reason for reason, _ in stage.reasons.most_common(4))
        group = Group(f"Dropped by {stage.stage}: {reasons}")
        for key, row in looked.rows[place - 1].items():
            if key not in looked.rows[place] and _may_show(looked, row):
                _add(group, looked.samples[key], row.get("similarity"), each, thumbnails)
        yield group


def _may_show(looked: _Looked, row: Row) -> bool:
    """Return whether a pair may be shown: tagged UNLIKELY wherever pairs were tagged."""
    if "nsfw" in row:
        return bool(row["nsfw"] == "UNLIKELY")
    tags = [n for n, stage in enumerate(looked.stages) if stage.stage in ("tag", "crawl")]
    return all(looked.rows[n].get(row["key"], {}).get("nsfw") == "UNLIKELY" for n in tags)


def _add(
    group: Group, sample: Sample, similarity: float | None, most: int, thumbnails: Thumbnails
) -> None:
    if len(group.images) < most:
        made = thumbnails.make(sample, similarity)
        group.images += [made] if made is not None else []
