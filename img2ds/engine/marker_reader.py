"""The commit marker of a shard, `NNNNN_stats.json`, read back: img2ds's own, and img2dataset's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import orjson

from img2ds.core.img2dataset import reason_of
from img2ds.core.sample import FileRecord
from img2ds.report.tally import Tally


class DamagedMarkerError(ValueError):
    """The commit marker is no commit marker: empty, cut off, or of something else."""


@dataclass(frozen=True, slots=True)
class CommitMarker:
    """What a shard counted.

    Attributes:
        count: rows of the shard.
        tally: what became of them; of img2dataset's rows some may be in none of its counts.
        files: what the commit marker vouches for; None for img2dataset's, which vouch for nothing.
    """

    count: int
    tally: Tally
    files: tuple[FileRecord, ...] | None

    @property
    def by_img2dataset(self) -> bool:
        """Whether img2dataset made the shard."""
        return self.files is None


def read_marker(data: bytes) -> CommitMarker:
    """The commit marker with this content.

    Raises:
        DamagedMarkerError: it is none.
    """
    try:
        document = orjson.loads(data)
        if "files" in document:
            files = tuple(
                FileRecord(record["name"], record["size"], record["sha256"])
                for record in document["files"]
            )
            return CommitMarker(document["count"], Tally.of_marker(document), files)
        return CommitMarker(int(document["count"]), _peer_tally(document), None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        words = "it is empty" if not data.strip() else f"it has no {error}"
        if isinstance(error, orjson.JSONDecodeError) and data.strip():
            words = "it is no JSON, or cut off"
        raise DamagedMarkerError(words) from None


def _peer_tally(document: dict[str, Any]) -> Tally:
    messages = Counter({text: int(n) for text, n in document["status_dict"].items()})
    del messages["success"]
    reasons: Counter[str] = Counter()
    for message, times in messages.items():
        reasons[reason_of(message)] += times
    return Tally(
        successes=int(document["successes"]),
        reasons=reasons,
        failed_to_download=int(document["failed_to_download"]),
        failed_to_resize=int(document["failed_to_resize"]),
        messages=messages,
    )
