"""Folders as img2dataset leaves them: rows as they ended, plain stats, tars with pax headers.

Compared with folders of img2dataset 1.47 (`tests/readers`): names, members, fields and types agree.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.server.good_image import good_image

#: Messages of rows in turn; None is a success.
MESSAGES = (None, "HTTP Error 404: Not Found", None, "<urlopen error timed out>", None,
            "HTTP Error 503: Service Unavailable", "Image decoding error")  # fmt: skip


def write_shard(
    folder: Path,
    number: int,
    rows: int = 10,
    messages: Sequence[str | None] = MESSAGES,
    lost: Sequence[int] = (),
    kind: str = "webdataset",
    columns: Callable[[int], dict[str, Any]] = lambda index: {},
    image: Callable[[int], bytes] = lambda index: good_image(),
) -> None:
    """One shard of format `kind`; its table lacks the rows of `lost`.

    Args:
        columns: the columns of the list that were kept, for each row; a caption is one of them.
    """
    folder.mkdir(exist_ok=True)
    digits = 1 if rows <= 10 else 4
    metadata, counts = [], Counter[str]()
    for index in reversed(range(rows)):
        message = messages[index % len(messages)]
        good = message is None
        resize = message is not None and message.startswith("Image")
        counts[message or "success"] += 1
        row: dict[str, Any] = {
            **columns(index),
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
    images = {row["key"]: image(int(row["key"]) % 10**digits) for row in good_rows}
    shard = folder / f"{number:05d}"
    if kind == "webdataset":
        with tarfile.open(shard.with_suffix(".tar"), "w", format=tarfile.PAX_FORMAT) as tar:
            for row in good_rows:
                for name, data in _members(row, images):
                    member = tarfile.TarInfo(name)
                    member.size, member.mtime = len(data), 1700000000.25  # a pax header for it
                    tar.addfile(member, io.BytesIO(data))
    elif kind == "files":
        shard.mkdir()
        for row in good_rows:
            for name, data in _members(row, images):
                (shard / name).write_bytes(data)
    elif kind == "tfrecord":
        records = [_record(row, images[row["key"]]) for row in good_rows]
        shard.with_suffix(".tfrecord").write_bytes(b"".join(records))
    schema = pa.schema([(name, _type(name, metadata)) for name in metadata[0]])
    if kind == "parquet":
        schema = schema.append(pa.field("jpg", pa.binary()))
        for row in metadata:
            row["jpg"] = images.get(row["key"])
    pq.write_table(pa.Table.from_pylist(metadata, schema), shard.with_suffix(".parquet"))
    resized = sum(n for text, n in counts.items() if text.startswith("Image"))
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


def _type(name: str, rows: Sequence[dict[str, Any]]) -> pa.DataType:
    if name.endswith(("width", "height")):
        return pa.int32()
    found = pa.array([row[name] for row in rows]).type
    return pa.string() if pa.types.is_null(found) else found


def _members(row: dict[str, Any], images: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """The files of a sample. JSON has NaN where a number of the list has it."""
    made = [("jpg", images[row["key"]]), ("json", json.dumps(row, indent=4).encode())]
    if "caption" in row:
        made.append(("txt", (row["caption"] or "").encode()))
    return [(f"{row['key']}.{ending}", data) for ending, data in made]


def _record(row: dict[str, Any], image: bytes) -> bytes:
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
        + entry("jpg", field(1, field(1, image))),
    )
    return struct.pack("<Q", len(example)) + bytes(4) + example + bytes(4)
