"""The hashes of the images of a dataset: a file for each shard of images, found by keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import Failure
from img2ds.core.pair_digest import pair_digests
from img2ds.core.pdq import BYTES, GOOD
from img2ds.engine.shard_output import ShardOutput
from img2ds.storage import read_whole
from laion.data.digest import Words
from laion.dedup_images.image_hash import image_hash
from laion.dedup_images.scattered import load_part, open_part, part_name
from laion.samples.source import SampleShard

#: What an image is counted as that has a hash which tells nothing: it has hardly any detail.
PLAIN = "plain_image"

Hashes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class HashTask:
    """A shard of images to hash."""

    shard_id: int
    source: SampleShard


class KeyRange(NamedTuple):
    """The first and the last key of a file, in the order of text; None for a file without any."""

    first: str | None
    last: str | None


def hash_images(task: HashTask, shard: ShardOutput) -> None:
    """Hash the images of a shard; those that cannot be hashed are counted."""
    keys: list[str] = []
    hashes: list[bytes] = []
    for sample in task.source.samples():
        if sample.body is None or sample.flaw:
            shard.counts.drop(sample.flaw or "no_image")
            continue
        found = image_hash(sample.body)
        if isinstance(found, Failure):
            shard.counts.drop(found.reason)
        elif found.quality < GOOD:
            shard.counts.drop(PLAIN)
        else:
            keys.append(sample.key)
            hashes.append(found.bytes)
            shard.counts.successes += 1
        shard.report_progress()
    digests = pair_digests(keys, [""] * len(keys))
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    rows = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, BYTES)[order]
    np.save(shard.path(part_name(shard.number, "digests.npy")), digests[order])
    np.save(shard.path(part_name(shard.number, "hashes.npy")), rows)
    ends = KeyRange(min(keys, default=None), max(keys, default=None))
    with open(shard.path(part_name(shard.number, "keys.json")), "w", encoding="utf-8") as file:
        json.dump(ends, file)


def read_ranges(folder: str, count: int) -> list[KeyRange]:
    """Return the keys of each file. Raises OSError."""
    ranges = []
    for number in range(count):
        with open_part(folder, number, "keys.json") as file:
            ranges.append(KeyRange(*json.load(file)))
    return ranges


@dataclass(frozen=True, slots=True)
class HashFiles:
    """The files of a folder. Picklable.

    Attributes:
        ranges: the path of a file of all `KeyRange`s, as JSON.
    """

    folder: str
    ranges: str

    def of_keys(self, keys: Sequence[str | None]) -> Hashes:
        """Return the hashes of images by their keys, zeros where there is none. Raises OSError."""
        found = np.zeros((len(keys), BYTES), np.uint8)
        known = [key for key in keys if key is not None]
        if not known:
            return found
        digests = pair_digests(keys, [""] * len(keys))
        missing = np.array([key is not None for key in keys])
        first, last = min(known), max(known)
        for number, ends in enumerate(_load_ranges(self.ranges)):
            if ends.first is None or ends.last is None or ends.first > last or ends.last < first:
                continue
            there = load_part(self.folder, number, "digests.npy")
            at = _places(there, digests)
            hit = missing & (at >= 0)
            found[hit] = load_part(self.folder, number, "hashes.npy")[at[hit]]
            missing &= ~hit
        return found


@lru_cache(maxsize=2)
def _load_ranges(path: str) -> list[KeyRange]:
    return [KeyRange(*ends) for ends in json.loads(read_whole(path))]


def _places(there: Words, digests: Words) -> npt.NDArray[np.intp]:
    """Return where digests are in a sorted list of them, -1 for those that are not."""
    places = np.minimum(np.searchsorted(there[:, 0], digests[:, 0]), len(there) - 1)
    same = (there[places] == digests).all(axis=1)
    return np.where(same, places, -1)
