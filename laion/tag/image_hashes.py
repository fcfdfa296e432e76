"""PDQ hashes of pairs whose metadata has none, from the shards that their images are in."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa

from img2ds.config.image import MAX_DECODE_MEMORY, MAX_DECODED_PIXELS
from img2ds.core.failure import Failure
from img2ds.core.naming import parse_key, shard_name
from img2ds.image.decode_error import BombError, DecodeError
from img2ds.image.image_pdq import decode_for_pdq, pixels_pdq
from img2ds.image.orient import Pixels
from img2ds.image.sniff import sniff
from laion.samples.tar import read_tar
from laion.tag.purge import ImageShards

#: The size of the image that was made smaller for the shard, whose hash lists have.
_SIZE = ("original_width", "original_height")


def pdq_column(shards: ImageShards, table: pa.Table) -> pa.Array:
    """Return the hash of each pair's image in hex; null where it is missing or has none.

    Raises:
        OSError, UsageError: a shard cannot be read.
    """
    keys: list[str] = table["key"].to_pylist()
    sizes: list[Any] = [None] * len(keys)
    if set(_SIZE) <= set(table.column_names):
        sizes = list(zip(*(table[name].to_pylist() for name in _SIZE), strict=True))
    size_of = dict(zip(keys, sizes, strict=True))
    numbers: dict[int, set[str]] = defaultdict(set)
    for key in keys:
        numbers[parse_key(key, shards.rows)[0]].add(key)
    found: dict[str, str | None] = {}
    for number, wanted in sorted(numbers.items()):
        path = f"{shards.folder.path}/{shard_name(number, shards.digits)}.tar"
        for sample in read_tar(path):
            if sample.key in wanted and sample.body is not None:
                found[sample.key] = _hash(sample.body, size_of[sample.key])
    return pa.array([found.get(key) for key in keys], pa.string())


def _without_padding(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return the part of a padded image that has the aspect of the original one, its middle."""
    height, width = pixels.shape[:2]
    scale = min(width / size[0], height / size[1])
    inner = round(size[0] * scale), round(size[1] * scale)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    if max(left, top) <= 1:  # by rounding
        return pixels
    return np.ascontiguousarray(pixels[top : top + inner[1], left : left + inner[0]])


def _hash(body: bytes, size: tuple[int | None, int | None] | None) -> str | None:
    header = sniff(body)
    if isinstance(header, Failure) or not header.width * header.height <= MAX_DECODED_PIXELS:
        return None
    try:
        pixels = decode_for_pdq(body, header, MAX_DECODED_PIXELS, MAX_DECODE_MEMORY)
    except (BombError, DecodeError):
        return None
    own = (header.width, header.height)
    whole = (size[0] or own[0], size[1] or own[1]) if size else own
    pdq = pixels_pdq(_without_padding(pixels, whole), whole)
    return None if pdq is None else pdq.hex()
