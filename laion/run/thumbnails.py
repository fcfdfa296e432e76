"""Thumbnails for the report of a run: some pairs that were released, and some that were dropped.

They come from the first shards of the downloaded images. What `laion tag` drops is never shown, nor
what it has not judged or tagged UNSURE or NSFW: such images may be illegal to look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from laion.data.embedding_folder import EmbeddingShard, open_embedding_folder
from laion.samples.sample import Sample
from laion.samples.source import find_shards
from laion.samples.thumbnail import Thumbnail, Thumbnails

#: Shards that are looked at, samples of each, and thumbnails of one outcome.
SHARDS, SAMPLES, EACH = 16, 60, 12

#: The outcome of a pair that is in the release.
RELEASED = "released"


def collect(places: Mapping[str, str], threshold: float) -> dict[str, list[Thumbnail]]:
    """Collect thumbnails of a run whose release is made.

    Returns:
        Thumbnails by outcome: RELEASED, or the reason for which the release dropped the pair.

    Args:
        places: folders of the stages, by stage.
        threshold: least similarity of a released pair.

    Raises:
        UsageError, OSError, pa.ArrowException: a folder cannot be read.
    """
    found: dict[str, list[Thumbnail]] = {}
    judged = places.get("tag") or places.get("score")
    if judged is None or not {"download", "release"} <= places.keys():
        return found
    samples = list(_samples(places["download"]))
    keys = pa.array([sample.key for sample in samples], pa.string())
    rows = {row["key"]: row for row in _rows(judged, keys)}
    # A part of the release holds at least one whole shard, so these parts hold the same shards.
    released = {row["key"] for row in _rows(places["release"], keys)}
    with Thumbnails() as thumbnails:
        for sample in samples:
            row = rows.get(sample.key)
            if row is None or ("tag" in places and row.get("nsfw") != "UNLIKELY"):
                continue
            outcome = RELEASED if sample.key in released else _reason(row, threshold)
            images = found.setdefault(outcome, [])
            if len(images) < EACH:
                made = thumbnails.make(sample, row.get("similarity"))
                images += [made] if made is not None else []
    return found


def _rows(place: str, keys: pa.Array) -> Iterator[dict[str, Any]]:
    """Yield the rows of some keys in the first shards of a folder."""
    for shard in open_embedding_folder(place).shards[:SHARDS]:
        table = shard.table(_columns(shard))
        wanted = pc.is_in(table.column("key").cast(pa.string()), value_set=keys)
        yield from table.filter(wanted).to_pylist()


def _columns(shard: EmbeddingShard) -> list[str]:
    there = set(shard.schema().names)
    return [name for name in ("key", "url", "similarity", "nsfw") if name in there]


def _samples(place: str) -> Iterator[Sample]:
    for shard in find_shards(place).shards[:SHARDS]:
        yield from islice(shard.samples(), SAMPLES)


def _reason(row: Mapping[str, Any], threshold: float) -> str:
    """Return why the release lacks a pair, by the names that it counts."""
    similarity = row.get("similarity")
    if similarity is None:
        return "no_similarity"
    if similarity < threshold:
        return "low_similarity"
    return "duplicate" if row.get("url") else "no_url"
