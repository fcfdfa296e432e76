"""Thumbnails for the report of a run: some pairs that were released, and some that were dropped.

They come from the first shards of the downloaded images. What `laion tag` drops is never shown, nor
what it has not judged or tagged UNSURE or NSFW: such images may be illegal to look at.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from img2ds.config.image import ImageOptions
from img2ds.core.failure import Failure
from img2ds.image.transform import Transformer
from laion.data.embedding_folder import EmbeddingShard, open_embedding_folder
from laion.samples.sample import Sample
from laion.samples.source import find_shards

#: Shards that are looked at, samples of each, and thumbnails of one outcome.
SHARDS, SAMPLES, EACH = 16, 60, 12

#: Pixels of a side.
_SIDE = 112

#: The outcome of a pair that is in the release.
RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image as a data URL, with its caption."""

    source: str
    caption: str
    similarity: float | None


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
    small = Transformer(
        ImageOptions(image_size=_SIDE, resize_mode="center_crop", encode_quality=75)
    )
    for sample in samples:
        row = rows.get(sample.key)
        if row is None or ("tag" in places and row.get("nsfw") != "UNLIKELY"):
            continue
        outcome = RELEASED if sample.key in released else _reason(row, threshold)
        images = found.setdefault(outcome, [])
        if len(images) < EACH and (made := _shrink(small, sample)) is not None:
            caption = " ".join((sample.caption or "").split())
            images.append(Thumbnail(made, caption, row.get("similarity")))
    small.close()
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


def _shrink(small: Transformer, sample: Sample) -> str | None:
    if sample.body is None:
        return None
    inspected = small.inspect(sample.body)
    made = inspected if isinstance(inspected, Failure) else small.render(inspected)
    if isinstance(made, Failure):
        return None
    return f"data:image/jpeg;base64,{b64encode(bytes(made.data)).decode()}"
