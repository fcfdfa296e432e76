"""Thumbnails for the report of a run: some pairs that were released, and some that were dropped.

They come from the first shards of the downloaded images. What `laion tag` drops is never shown, nor
what it has not judged or tagged UNSURE or NSFW: such images may be illegal to look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from laion.samples.first_shards import first_samples, rows_of
from laion.samples.thumbnail import Thumbnail, Thumbnails

#: Samples of a shard that are looked at, and thumbnails of one outcome.
SAMPLES, EACH = 60, 12

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
    samples = list(first_samples(places["download"], SAMPLES))
    keys = pa.array([sample.key for sample in samples], pa.string())
    rows = {row["key"]: row for row in rows_of(judged, keys)}
    released = {row["key"] for row in rows_of(places["release"], keys)}
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


def _reason(row: Mapping[str, Any], threshold: float) -> str:
    """Return why the release lacks a pair, by the names that it counts."""
    similarity = row.get("similarity")
    if similarity is None:
        return "no_similarity"
    if similarity < threshold:
        return "low_similarity"
    return "duplicate" if row.get("url") else "no_url"
