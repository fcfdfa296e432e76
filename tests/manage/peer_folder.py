"""Folders as img2dataset leaves them: tars with pax headers, rows as they ended, plain stats."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.server.pictures import picture

#: Messages of rows in turn; None is a success.
MESSAGES = (None, "HTTP Error 404: Not Found", None, "<urlopen error timed out>", None,
            "HTTP Error 503: Service Unavailable", "image decoding error")  # fmt: skip


def write_shard(
    folder: Path,
    number: int,
    rows: int = 10,
    messages: Sequence[str | None] = MESSAGES,
    lost: Sequence[int] = (),
) -> None:
    """One webdataset shard; its table lacks the rows of `lost`."""
    folder.mkdir(exist_ok=True)
    digits = 1 if rows <= 10 else 4
    metadata, counts = [], Counter[str]()
    with tarfile.open(folder / f"{number:05d}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for index in reversed(range(rows)):
            message = messages[index % len(messages)]
            good = message is None
            resize = message is not None and message.startswith("image")
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
            counts[message or "success"] += 1
            if index in lost:
                continue
            metadata.append(row)
            if good:
                for ending, data in (("jpg", picture()), ("json", json.dumps(row).encode())):
                    member = tarfile.TarInfo(f"{row['key']}.{ending}")
                    member.size, member.mtime = len(data), 1700000000.25  # a pax header for it
                    tar.addfile(member, io.BytesIO(data))
    kinds = {"width": pa.int32(), "height": pa.int32(), "original_width": pa.int32(),
             "original_height": pa.int32()}  # fmt: skip
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in metadata[0]])
    pq.write_table(pa.Table.from_pylist(metadata, schema), folder / f"{number:05d}.parquet")
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
