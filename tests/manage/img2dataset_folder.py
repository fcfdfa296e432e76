"""Folders as img2dataset leaves them: rows as they ended, plain stats, tars with pax headers."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.server.good_image import good_image

#: Messages of rows in turn; None is a success.
MESSAGES = (None, "HTTP Error 404: Not Found", None, "<urlopen error timed out>", None,
            "HTTP Error 503: Service Unavailable", "image decoding error")  # fmt: skip


def write_shard(
    folder: Path,
    number: int,
    rows: int = 10,
    messages: Sequence[str | None] = MESSAGES,
    lost: Sequence[int] = (),
    kind: str = "webdataset",
) -> None:
    """One shard of format `kind`; its table lacks the rows of `lost`."""
    folder.mkdir(exist_ok=True)
    digits = 1 if rows <= 10 else 4
    metadata, counts = [], Counter[str]()
    for index in reversed(range(rows)):
        message = messages[index % len(messages)]
        good = message is None
        resize = message is not None and message.startswith("image")
        counts[message or "success"] += 1
        row: dict[str, Any] = {
            "url": f"http://h.example/photo/{index}.jpg",
            "key": f"{number * 10**digits + index:0{digits + 5}d}",
            "status": "success" if good else f"failed_to_{'resize' if resize else 'download'}",
            "error_message": message,
            "width": 256 if good else None,
            "height": 256 if good else None,
            "original_width": 64 if good else None,
            "original_height": 48 if good else None,
            "exif": "{}" if good else None,
            "sha256": "00" if good else None,
        }
        if index not in lost:
            metadata.append(row)
    good_rows = [row for row in metadata if row["status"] == "success"]
    shard = folder / f"{number:05d}"
    if kind == "webdataset":
        _write_tar(shard.with_suffix(".tar"), good_rows)
    elif kind == "files":
        shard.mkdir()
        for row in good_rows:
            (shard / f"{row['key']}.jpg").write_bytes(good_image())
            (shard / f"{row['key']}.json").write_text(json.dumps(row, indent=4))
    elif kind == "tfrecord":
        shard.with_suffix(".tfrecord").write_bytes(b"".join(map(_record, good_rows)))
    schema = pa.schema([(name, _KINDS.get(name, pa.string())) for name in metadata[0]])
    if kind == "parquet":
        schema = schema.append(pa.field("jpg", pa.binary()))
        for row in metadata:
            row["jpg"] = good_image() if row["status"] == "success" else None
    pq.write_table(pa.Table.from_pylist(metadata, schema), shard.with_suffix(".parquet"))
    resized = sum(n for text, n in counts.items() if text.startswith("image"))
    stats = {
        "count": rows,
        "successes": counts["success"],
        "failed_to_download": rows - counts["success"] - resized,
        "failed_to_resize": resized,
        "duration": 1.5,
        "start_time": 1700000000.0,
        "end_time": 1700000001.5,
        "status_dict": dict(counts),
    }
    (folder / f"{number:05d}_stats.json").write_text(json.dumps(stats, indent=4))


_KINDS = {"width": pa.int32(), "height": pa.int32(), "original_width": pa.int32(),
          "original_height": pa.int32()}  # fmt: skip


def _write_tar(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            for ending, data in (("jpg", good_image()), ("json", json.dumps(row).encode())):
                member = tarfile.TarInfo(f"{row['key']}.{ending}")
                member.size, member.mtime = len(data), 1700000000.25  # a pax header for it
                tar.addfile(member, io.BytesIO(data))


def _record(row: dict[str, Any]) -> bytes:
    """A TFRecord of a `tf.train.Example`; its checksums are zero; nothing checks them."""

    def field(number: int, data: bytes) -> bytes:
        size, rest = bytearray(), len(data)
        while rest > 127:
            size.append(rest & 127 | 128)
            rest >>= 7
        size.append(rest)
        return bytes([number << 3 | 2]) + size + data

    def entry(name: str, feature: bytes) -> bytes:
        return field(1, field(1, name.encode()) + field(2, feature))

    width = field(3, field(1, b"\x80\x02"))  # packed: 256
    example = field(
        1,
        entry("url", field(1, field(1, row["url"].encode())))
        + entry("key", field(1, field(1, row["key"].encode())))
        + entry("width", width)
        + entry("jpg", field(1, field(1, good_image()))),
    )
    return struct.pack("<Q", len(example)) + bytes(4) + example + bytes(4)
