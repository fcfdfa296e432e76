"""Which kept row each duplicate is linked to, on its way from the buckets to the shards.

A row that was compared in several buckets can have several links, and a link can lead to a row
that is a duplicate itself in another bucket. One link a row is kept, and chains are followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.engine.shard_output import ShardOutput
from img2ds.storage import read_whole
from laion.dedup_images.comparison import Found
from laion.dedup_images.scattered import (
    BATCH_SHIFT,
    ROW_MASK,
    Records,
    load_part,
    open_part,
    part_name,
    read_rows,
)

#: What a row is counted as that is close to an image of an evaluation set.
EVALUATION_IMAGE = "evaluation_image"

Links = npt.NDArray[Any]
Places = npt.NDArray[np.uint64]


def link_type(key_bytes: int) -> np.dtype[Any]:
    """Return the type of a link; `key` is that of the leader, `by` the comparison's number."""
    return np.dtype(
        [
            ("place", "<u8"),
            ("leader", "<u8"),
            ("closeness", "<f4"),
            ("by", "u1"),
            ("key", f"S{key_bytes}"),
        ]
    )


@dataclass(frozen=True, slots=True)
class GatherTask:
    """Gathers the links of batch `shard_id`.

    Attributes:
        compared: the folders of second passes, and how many tasks each had.
        scattered: the folder of a first one.
    """

    shard_id: int
    compared: tuple[tuple[str, int], ...]
    scattered: str
    batches: int
    key_bytes: int


def make_links(records: Records, found: Found, leaders: Records) -> Links:
    """Return the links of the rows that are duplicates.

    Args:
        records: the rows, as many as `found` is about.
        leaders: the rows that `found.leader` numbers.
    """
    duplicates = np.flatnonzero(found.leader >= 0)
    links = np.empty(len(duplicates), link_type(leaders.dtype["key"].itemsize))
    to = leaders[found.leader[duplicates]]
    links["place"], links["leader"] = records["place"][duplicates], to["place"]
    links["key"], links["closeness"], links["by"] = to["key"], found.closeness[duplicates], 0
    return links


def best_links(links: Links, batches: int) -> Links:
    """Return the most certain link of each row, in the order of places.

    Links to evaluation images, which are in batches from `batches` on, come before others.
    """
    own = links["leader"] >> BATCH_SHIFT < batches
    order = np.lexsort((links["leader"], -links["closeness"], links["by"], own, links["place"]))
    links = links[order]
    first: npt.NDArray[np.bool_] = np.diff(links["place"], prepend=~links["place"][:1]) != 0
    return np.asarray(links[first])


def write_links(shard: ShardOutput, links: Links, batches: int) -> None:
    """Write links in the order of their places, and where those of each batch begin."""
    with open(shard.path(part_name(shard.number, "links")), "wb") as file:
        file.write(links.tobytes())
    numbers = np.arange(batches + 1, dtype=np.uint64) << BATCH_SHIFT
    borders = np.searchsorted(links["place"], numbers)
    np.save(shard.path(part_name(shard.number, "batches.npy")), borders.astype(np.int64))


def gather(task: GatherTask, shard: ShardOutput) -> None:
    """Collect the links of a batch: the third pass of `laion dedup_images`."""
    dtype = link_type(task.key_bytes)
    found = [np.empty(0, dtype)]
    for folder, tasks in task.compared:
        for number in range(tasks):
            borders = load_part(folder, number, "batches.npy")
            first, last = borders[task.shard_id : task.shard_id + 2].tolist()
            if first < last:
                with open_part(folder, number, "links") as file:
                    found.append(read_rows(file, dtype, first, last - first))
    links = best_links(np.concatenate(found), task.batches)
    with open(shard.path(part_name(shard.number, "links")), "wb") as out:
        out.write(links.tobytes())
    rows = load_part(task.scattered, task.shard_id, "shards.npy")
    starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.uint64)
    borders = np.searchsorted(links["place"] & ROW_MASK, starts)
    np.save(shard.path(part_name(shard.number, "shards.npy")), borders.astype(np.int64))
    shard.counts.successes += len(links)


@dataclass(frozen=True, slots=True)
class LinkSource:
    """Where links are, and what they mean. Picklable.

    Attributes:
        gathered: the folder of the third pass.
        ends: the path of what `follow_chains` found; None where there are no chains.
        reasons: what a row is counted as, by the number of the comparison.
        batches: batches of rows; those of evaluation images follow.
        evaluation: the evaluation set of each of the latter.
    """

    gathered: str
    ends: str | None
    key_bytes: int
    reasons: tuple[str, ...]
    batches: int
    evaluation: tuple[str, ...]

    def reasons_of(self, links: Links) -> list[str]:
        """Return what each row is counted as."""
        return [
            self.reasons[by] if place is None else EVALUATION_IMAGE
            for by, place in zip(links["by"].tolist(), self.evaluation_of(links), strict=True)
        ]

    def evaluation_of(self, links: Links) -> list[str | None]:
        """Return the evaluation set that each row is close to, None for others."""
        numbers = (links["leader"] >> BATCH_SHIFT).astype(np.int64) - self.batches
        return [None if number < 0 else self.evaluation[number] for number in numbers.tolist()]


@dataclass(frozen=True, slots=True)
class ShardLinks:
    """The links of shard `position` of a batch, whose first row has the number `first_row`."""

    source: LinkSource
    batch: int
    position: int
    first_row: int

    def read(self) -> tuple[npt.NDArray[np.intp], Links]:
        """Return the rows of the shard that are duplicates, and their links. Raises OSError."""
        gathered, dtype = self.source.gathered, link_type(self.source.key_bytes)
        borders = load_part(gathered, self.batch, "shards.npy")
        first, last = borders[self.position : self.position + 2].tolist()
        if first == last:
            return np.empty(0, np.intp), np.empty(0, dtype)
        with open_part(gathered, self.batch, "links") as file:
            links = read_rows(file, dtype, first, last - first)
        if self.source.ends is not None:
            links = _lead_to_ends(links, np.frombuffer(read_whole(self.source.ends), dtype))
        return (links["place"] & ROW_MASK).astype(np.intp) - self.first_row, links


def follow_chains(gathered: str, scattered: str, batches: int, key_bytes: int) -> Links:
    """Return a link to the end of its chain for each row that is a duplicate and a leader.

    Keeps a bit for each row, and these links. Raises OSError.
    """
    dtype = link_type(key_bytes)
    dropped = [_rows_of(gathered, scattered, batch, dtype) for batch in range(batches)]
    found = [np.empty(0, np.uint64)]
    for batch in range(batches):
        leaders = np.unique(_all_links(gathered, batch, dtype)["leader"])
        numbers = leaders >> BATCH_SHIFT
        for number in np.unique(numbers[numbers < batches]).tolist():
            own = leaders[numbers == number]
            found.append(own[_is_set(dropped[number], own & ROW_MASK)])
    chained = np.unique(np.concatenate(found))
    parts = [np.empty(0, dtype)]
    for batch in range(batches):
        links = _all_links(gathered, batch, dtype)
        parts.append(links[np.isin(links["place"], chained, assume_unique=True)])
    ends = np.concatenate(parts)  # evaluation images have no links
    while (np.isin(ends["leader"], ends["place"])).any():
        ends = _lead_to_ends(ends, ends)
    return ends


def _lead_to_ends(links: Links, ends: Links) -> Links:
    """Return links that lead on where their leader is one of `ends`, in the order of places."""
    if not len(ends) or not len(links):
        return links
    links = links.copy()
    at = np.minimum(np.searchsorted(ends["place"], links["leader"]), len(ends) - 1)
    chained = ends["place"][at] == links["leader"]
    for name in ("leader", "key"):
        links[name][chained] = ends[name][at[chained]]
    return links


def _all_links(gathered: str, batch: int, dtype: np.dtype[Any]) -> Links:
    count = int(load_part(gathered, batch, "shards.npy")[-1])
    if not count:
        return np.empty(0, dtype)
    with open_part(gathered, batch, "links") as file:
        return read_rows(file, dtype, 0, count)


def _rows_of(gathered: str, scattered: str, batch: int, dtype: np.dtype[Any]) -> Any:
    """Return a bit for each row of a batch, set for duplicates."""
    mask = np.zeros(int(load_part(scattered, batch, "shards.npy").sum()), np.bool_)
    places = _all_links(gathered, batch, dtype)["place"]
    mask[(places & ROW_MASK).astype(np.intp)] = True
    return np.packbits(mask)


def _is_set(bits: Any, rows: Places) -> npt.NDArray[np.bool_]:
    byte, bit = (rows >> np.uint64(3)).astype(np.intp), (rows & np.uint64(7)).astype(np.uint8)
    found: npt.NDArray[np.bool_] = (bits[byte] & (np.uint8(0x80) >> bit)) != 0
    return found
