"""What the report of a dataset shows: its commit markers, and some of its rows and images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.config.image import ImageOptions
from img2ds.core.failure import Failure, UsageError
from img2ds.core.img2dataset import reason_of
from img2ds.formats.contract import DamagedShardError
from img2ds.image.transform import Transformer
from img2ds.manage.dataset import Dataset
from img2ds.manage.layout import layout_of, open_stored
from img2ds.manage.report.timeline import Span
from img2ds.manage.status import Status, look
from img2ds.report.tally import Tally
from img2ds.storage import open_seekable

#: Shards whose rows are read, evenly over the dataset, and rows of each.
SHARDS, ROWS = 100, 20_000
#: Thumbnails, their side in pixels, and how many come from one shard.
THUMBNAILS, SIDE, PER_SHARD = 24, 128, 6
#: Examples of each reason, and hosts that are listed.
EXAMPLES, HOSTS = 4, 15
#: Lower bounds of the shorter side of originals, in pixels.
SIDES = (0, 64, 128, 256, 512, 1024, 2048, 4096)

_COLUMNS = ("url", "key", "status", "error_message", "reason", "caption", "original_width",
            "original_height")  # fmt: skip


@dataclass(slots=True)
class Host:
    """The rows of one host, among those that were read."""

    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A stored image, made small, and where it comes from."""

    jpeg: bytes
    key: str
    url: str
    caption: str


@dataclass(slots=True)
class Contents:
    """What a page shows.

    Attributes:
        rows_read: rows that hosts, sides and examples come from.
        sides: originals by the place of their shorter side in `SIDES`.
        examples: by reason, URLs and messages.
    """

    status: Status
    spans: list[Span] = field(default_factory=list)
    rows_read: int = 0
    hosts: dict[str, Host] = field(default_factory=dict)
    sides: Counter[int] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    thumbnails: list[Thumbnail] = field(default_factory=list)

    @property
    def worst_hosts(self) -> list[tuple[str, Host]]:
        """The hosts with most failed rows."""
        failing = [(name, host) for name, host in self.hosts.items() if host.reasons]
        failing.sort(key=lambda item: (-item[1].reasons.total(), item[0]))
        return failing[:HOSTS]


def gather(dataset: Dataset) -> Contents:
    """Read what the page of a dataset shows. Raises UsageError, OSError."""
    contents = Contents(look(dataset))
    for _, marker in dataset.markers():
        if isinstance(marker, ValueError) or not marker.end:
            continue
        tally: Tally = marker.tally
        size = tally.bytes_received
        contents.spans.append(Span(marker.start, marker.end, marker.count, tally.successes, size))
    numbers = list(dataset.committed)
    rows: dict[str, dict[str, Any]] = {}
    for number in numbers[:: max(1, -(-len(numbers) // SHARDS))]:
        rows |= _read_rows(contents, dataset, dataset.committed[number])
    _make_thumbnails(contents, dataset, numbers, rows)
    return contents


def _read_rows(contents: Contents, dataset: Dataset, shard: str) -> dict[str, dict[str, Any]]:
    """Count some rows of a shard. Returns the first successes by key."""
    name = f"{shard}.parquet"
    if name not in dataset.sizes:
        return {}
    try:
        with pq.ParquetFile(open_seekable(f"{dataset.folder.path}/{name}")) as file:
            columns = [c for c in _COLUMNS if c in file.schema_arrow.names]
            batch = next(file.iter_batches(ROWS, columns=columns), None)
    except (OSError, UsageError, pa.ArrowException):
        return {}  # `verify` tells what is wrong with it
    kept: dict[str, dict[str, Any]] = {}
    for row in () if batch is None else batch.to_pylist():
        _count(contents, row)
        if row["status"] == "success" and len(kept) < PER_SHARD:
            kept[str(row["key"])] = row
    return kept


def _count(contents: Contents, row: dict[str, Any]) -> None:
    contents.rows_read += 1
    url = str(row["url"] or "")
    host = contents.hosts.setdefault(_host_of(url), Host())
    host.rows += 1
    if row["status"] != "success":
        message = str(row.get("error_message") or "")
        reason = row.get("reason") or reason_of(message)
        host.reasons[reason] += 1
        examples = contents.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES and url not in (there for there, _ in examples):
            examples.append((url, message))
    if row.get("original_width") and row.get("original_height"):
        shorter = min(row["original_width"], row["original_height"])
        contents.sides[max(place for place, low in enumerate(SIDES) if shorter >= low)] += 1


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or "(none)"
    except ValueError:
        return "(none)"


def _make_thumbnails(
    contents: Contents, dataset: Dataset, numbers: list[int], rows: dict[str, dict[str, Any]]
) -> None:
    """Take the first images of some shards, and make them small."""
    layout = layout_of(dataset)
    small = Transformer(ImageOptions(image_size=SIDE, resize_mode="center_crop", encode_quality=80))
    wanted = max(1, -(-len(numbers) // (THUMBNAILS // PER_SHARD)))
    for number in numbers[::wanted]:
        try:
            reader = open_stored(dataset.folder, dataset.committed[number], layout)
            for sample in islice(reader.samples(), PER_SHARD):
                image = next((sample.parts[e] for e in ("jpg", "png", "webp") if e in sample.parts),
                             None)  # fmt: skip
                inspected = None if image is None else small.inspect(image)
                if inspected is None or isinstance(inspected, Failure):
                    continue
                made = small.render(inspected)
                if isinstance(made, Failure):
                    continue
                row = rows.get(sample.key, {})
                caption = sample.parts.get("txt", b"").decode(errors="replace")
                contents.thumbnails.append(
                    Thumbnail(
                        bytes(made.data), sample.key, str(row.get("url") or ""),
                        caption or str(row.get("caption") or ""),
                    )
                )  # fmt: skip
        except (DamagedShardError, UsageError, OSError):
            continue
    small.close()
