"""The commit marker of a shard, `NNNNN_stats.json`: what it counted, and the files it vouches for.

The only module that knows the JSON. Shards of images count statuses, shards of laion's stages
count rows that were kept and dropped. Markers of img2dataset are read too; they vouch for no file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from img2ds.core.failure import UsageError
from img2ds.core.img2dataset import reason_of
from img2ds.core.naming import STATS_SUFFIX, committed_shards
from img2ds.core.sample import FileRecord
from img2ds.engine.marker_cache import MarkerCache
from img2ds.report.counters import Counts
from img2ds.report.histogram import BOUNDS, Durations
from img2ds.report.tally import Tally
from img2ds.storage import OutputFolder

#: The reason of rows that a purge removed, in the marker of a stage's shard.
PURGED = "purged"
#: Whole numbers of a marker that are not a stage's metrics.
_NOT_METRICS = {
    "count", "successes", "dropped", "failed_to_download", "failed_to_resize", "duration",
    "start_time", "end_time",
}  # fmt: skip
#: The field that vouches for the others: the SHA-256 of the document without it.
_DIGEST = "digest"


class DamagedMarkerError(ValueError):
    """The file is not a commit marker: it is empty, cut off, or of something else."""


@dataclass(frozen=True, slots=True)
class CommitMarker:
    """What a committed shard counted.

    Attributes:
        count: rows of the shard.
        counts: what became of them, a `Tally` for images; img2dataset may have lost rows.
        files: what the marker vouches for; None for img2dataset's markers.
        files_before_purge: what it vouched for before rows were purged; None without a purge.
        duration: seconds from the shard's first row to its commit.
        by_img2dataset: whether img2dataset made the shard; rows may have been purged since.
        start, end: of `duration`, in seconds since 1970; 0 where it is not known.
    """

    count: int
    counts: Counts
    files: tuple[FileRecord, ...] | None
    files_before_purge: tuple[FileRecord, ...] | None = None
    duration: float = 0.0
    by_img2dataset: bool = False
    start: float = 0.0
    end: float = 0.0

    @property
    def tally(self) -> Tally:
        """The counts of a shard of images, as `read_image_marker` gives it."""
        assert isinstance(self.counts, Tally)
        return self.counts


def marker_json(counts: Counts, start: float, end: float, files: Sequence[FileRecord]) -> bytes:
    """Return the content of a commit marker. Times in seconds since 1970."""
    document = {
        **counts_document(counts),
        "duration": end - start,
        "start_time": start,
        "end_time": end,
        "files": [_entry(record) for record in files],
    }
    return _dump(document)


def counts_document(counts: Counts) -> dict[str, Any]:
    """Return the counting part of a marker: img2dataset's fields first, for images."""
    if not isinstance(counts, Tally):
        return {
            "count": counts.count,
            "successes": counts.successes,
            "dropped": counts.reasons.total(),
            "reasons": dict(counts.reasons.most_common()),
            **counts.metrics,
        }
    status_dict = dict(counts.messages.most_common())
    if counts.successes:
        status_dict = {"success": counts.successes, **status_dict}
    return {
        "count": counts.count,
        "successes": counts.successes,
        "failed_to_download": counts.failed_to_download,
        "failed_to_resize": counts.failed_to_resize,
        "status_dict": status_dict,
        "reasons": dict(counts.reasons.most_common()),
        "bytes": {"received": counts.bytes_received, "written": counts.bytes_written},
        **({"network": counts.network} if counts.network else {}),
        **(_durations(counts) if counts.fetches.total else {}),
    }


def _durations(tally: Tally) -> dict[str, Any]:
    histograms = {"fetch": tally.fetches.counts, "dns": tally.lookups.counts}
    return {"durations": {"from_seconds": [0, *BOUNDS], **histograms}}


def _read_durations(document: dict[str, Any], name: str) -> Durations:
    """Return a histogram; an empty one if the marker has none, or one with other bounds."""
    found = document.get("durations")
    if found is None or found.get("from_seconds") != [0, *BOUNDS]:
        return Durations()
    return Durations(int(count) for count in found[name])


def read_marker(data: bytes) -> CommitMarker:
    """Parse the marker of any shard.

    Raises:
        DamagedMarkerError: the content is not that of a marker.
    """
    try:
        document = orjson.loads(data)
        return CommitMarker(
            int(document["count"]),
            _counts(document),
            _records(document.get("files")),
            _records(document.get("files_before_purge")),
            float(document.get("duration", 0.0)),
            "reasons" not in document,
            float(document.get("start_time", 0.0)),
            float(document.get("end_time", 0.0)),
        )
    except orjson.JSONDecodeError:
        problem = "it is not JSON, or is cut off" if data.strip() else "it is empty"
        raise DamagedMarkerError(problem) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedMarkerError(f"it has no {error}") from None


def read_files(data: bytes) -> tuple[FileRecord, ...] | None:
    """Return the files that a marker vouches for, a fourth of the work of `read_marker`.

    Raises as `read_marker`.
    """
    try:
        document = orjson.loads(data)
        if document.pop(_DIGEST) == _digest(document):  # so that it need not be looked through
            return _records(document["files"])
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # an older one, or a damaged one: `read_marker` says what is wrong
    return read_marker(data).files


def is_intact(data: bytes) -> bool:
    """Return whether a marker that can be parsed is as it was written.

    True for markers of earlier versions and of img2dataset, which do not tell.
    """
    document = orjson.loads(data)
    digest = document.pop(_DIGEST, None)
    return digest is None or digest == _digest(document)


def read_image_marker(data: bytes) -> CommitMarker:
    """Parse the marker of a shard of images, img2dataset's too.

    Raises:
        DamagedMarkerError: the content is not that of such a marker.
    """
    marker = read_marker(data)
    if not isinstance(marker.counts, Tally):
        raise DamagedMarkerError("it has no 'status_dict'")
    return marker


def load_marker(folder: OutputFolder, name: str) -> CommitMarker:
    """Read the marker `name` of any shard.

    Raises:
        UsageError: it is damaged.
        OSError: it cannot be read.
    """
    return _parsed(folder, name, folder.read_bytes(name))


def load_markers(
    folder: OutputFolder, names: Iterable[str] | None = None
) -> Iterator[tuple[str, CommitMarker]]:
    """Read many markers of a folder at once, all by default. Yields each with its name, in order.

    Raises as `load_marker`.
    """
    for name, data in MarkerCache(folder).read(names):
        if isinstance(data, OSError):
            raise data
        yield name, _parsed(folder, name, data)


def total_counts(folder: OutputFolder) -> Counts:
    """Return the sum of the counts of all committed shards. Raises as `load_marker`."""
    total = Counts()
    for _, marker in load_markers(folder):
        total.merge(marker.counts)
    return total


def marker_names(names: Iterable[str]) -> list[str]:
    """Return those of `names` that are commit markers, sorted."""
    return sorted(n for n in names if n.endswith(STATS_SUFFIX) and committed_shards([n]))


def record_purge(
    folder: OutputFolder,
    name: str,
    successes: int,
    files: Sequence[FileRecord],
    reasons: Mapping[str, int] | None = None,
) -> None:
    """Update the marker `name` after successful rows were removed from its shard.

    In a shard of images these rows are counted no more; in a stage's shard they count as dropped.

    Args:
        successes: successful rows that are left.
        files: the files of the shard as they are now.
        reasons: why rows of a stage's shard were removed; by default `purged`.

    Raises:
        UsageError: the marker is damaged.
        OSError: it cannot be read or written.
    """
    data = folder.read_bytes(name)
    purged = _parsed(folder, name, data).counts.successes - successes
    document = orjson.loads(data)
    if "status_dict" in document:
        document["count"] -= purged
        document["status_dict"]["success"] = successes
        document[PURGED] = document.get(PURGED, 0) + purged
    else:
        document.setdefault("files_before_purge", document["files"])
        document["dropped"] += purged
        if purged:  # else a run that was cut off has counted them
            for reason, rows in (reasons or {PURGED: purged}).items():
                document["reasons"][reason] = document["reasons"].get(reason, 0) + rows
    document["successes"] = successes
    document["files"] = [_entry(record) for record in files]
    folder.write_bytes(name, _dump(document))


def _parsed(folder: OutputFolder, name: str, data: bytes) -> CommitMarker:
    try:
        return read_marker(data)
    except DamagedMarkerError as error:
        raise UsageError(
            f"the commit marker {folder.path}/{name} is damaged ({error}): remove it to have its "
            "shard rebuilt"
        ) from None


def _counts(document: dict[str, Any]) -> Counts:
    metrics = {k: v for k, v in document.items() if k not in _NOT_METRICS and isinstance(v, int)}
    if "status_dict" not in document:
        return Counts(
            successes=document["successes"],
            reasons=Counter(document["reasons"]),
            metrics=Counter(metrics),
        )
    messages = Counter({text: int(n) for text, n in document["status_dict"].items()})
    del messages["success"]
    if "reasons" in document:
        reasons = Counter(document["reasons"])
    else:  # img2dataset's, which knows messages alone
        reasons = Counter()
        for message, times in messages.items():
            reasons[reason_of(message)] += times
    size = document.get("bytes", {})
    return Tally(
        successes=int(document["successes"]),
        bytes_received=size.get("received", 0),
        bytes_written=size.get("written", 0),
        reasons=reasons,
        metrics=Counter(metrics),
        failed_to_download=int(document["failed_to_download"]),
        failed_to_resize=int(document["failed_to_resize"]),
        messages=messages,
        fetches=_read_durations(document, "fetch"),
        lookups=_read_durations(document, "dns"),
    )


def _records(entries: list[dict[str, Any]] | None) -> tuple[FileRecord, ...] | None:
    if entries is None:
        return None
    return tuple(FileRecord(e["name"], e["size"], e["sha256"], e.get("files")) for e in entries)


def _entry(record: FileRecord) -> dict[str, Any]:
    entry = {"name": record.name, "size": record.size, "sha256": record.sha256}
    return entry if record.files is None else {**entry, "files": record.files}


def _dump(document: dict[str, Any]) -> bytes:
    document = {name: value for name, value in document.items() if name != _DIGEST}
    return orjson.dumps({**document, _DIGEST: _digest(document)}, option=orjson.OPT_INDENT_2)


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(document)).hexdigest()
