"""Checks the samples of a shard: exactly one, and a complete one, for each successful row."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from img2ds.core.failure import Failure, Status
from img2ds.core.img2dataset import read_json
from img2ds.engine.marker import CommitMarker
from img2ds.formats.contract import DamagedShardError, ShardReader, StoredSample
from img2ds.image.decode import decode
from img2ds.image.decode_error import DecodeError
from img2ds.image.sniff import sniff
from img2ds.manage.layout import Layout
from img2ds.manage.verdict import KeyProblems, Verdict

#: Extensions of images, where no manifest says which one a dataset has.
IMAGES = ("jpg", "png", "webp", "jpeg")
#: Bytes at the end of a JPEG that its end-of-image marker must be in.
_JPEG_TAIL = 4096
#: Width and height in the table, in pixels.
_Size = tuple[int | None, int | None]


class SampleCheck:
    """Checks samples of one dataset.

    Args:
        decode: decode each image.
    """

    def __init__(self, layout: Layout, decode: bool) -> None:
        self._layout = layout
        self._decode = decode

    def check(
        self, verdict: Verdict, marker: CommitMarker, stored: ShardReader, table: pa.Table | None
    ) -> None:
        """Check the samples of a shard against its table, where there is one."""
        successes, failed = _rows(table)
        problems, seen, damaged = KeyProblems(), set(), False
        reencoded = self._layout.reencoded and not marker.by_img2dataset
        try:
            for sample in stored.samples():
                verdict.read += sum(map(len, sample.parts.values()))
                if sample.key in seen:
                    problems.add("sample_twice", sample.key)
                    continue
                seen.add(sample.key)
                if table is not None and sample.key not in successes:
                    kind = "sample_of_a_failed_row" if sample.key in failed else "unknown_sample"
                    problems.add(kind, sample.key)
                size = successes.get(sample.key, (None, None))
                for kind in self._faults(stored, sample, size, reencoded):
                    problems.add(kind, sample.key)
        except DamagedShardError as error:
            damaged = True
            verdict.add("damaged_data", f"{stored.names[0]}: {error}")
        except OSError as error:
            damaged = True
            verdict.unreadable("damaged_data", stored.names[0], error)
        missing = [key for key in successes if key not in seen]
        if missing and damaged:
            message = f"{len(missing)} of {len(successes)} samples are after the damage or missing"
            verdict.add("missing_sample", message)
        else:
            for key in missing:
                problems.add("missing_sample", key)
        problems.report(verdict)

    def _faults(
        self, stored: ShardReader, sample: StoredSample, size: _Size, reencoded: bool
    ) -> list[str]:
        """Return the kinds of what is wrong with one sample."""
        layout = self._layout
        wanted = IMAGES if layout.encode_format is None else (layout.encode_format,)
        images = [sample.parts[name] for name in wanted if name in sample.parts]
        faults = []
        if len(images) != 1:
            faults.append("several_pictures" if images else "no_picture")
        faults += filter(None, (self._image_fault(body, size, reencoded) for body in images))
        if layout.captions and stored.has_captions and "txt" not in sample.parts:
            faults.append("no_caption")
        if stored.has_json:
            if "json" not in sample.parts:
                faults.append("no_metadata")
            elif not _is_metadata(sample.parts["json"], sample.key):
                faults.append("wrong_metadata")
        return faults

    def _image_fault(self, body: bytes, size: _Size, reencoded: bool) -> str | None:
        if not body:
            return "empty_picture"
        header = sniff(body)
        if isinstance(header, Failure) or not header.complete:
            return "damaged_picture"
        if reencoded:
            if header.format == "jpeg" and b"\xff\xd9" not in body[-_JPEG_TAIL:]:
                return "damaged_picture"
            if None not in size and (header.width, header.height) != size:
                return "picture_of_another_size"
        if self._decode:
            try:
                decode(body, header, (1, 1), header.width * header.height)
            except DecodeError:
                return "damaged_picture"
        return None


def _rows(table: pa.Table | None) -> tuple[dict[str, _Size], set[str]]:
    """Return the keys of the successful rows with the sizes of their images, and the other keys."""
    successes: dict[str, _Size] = {}
    failed: set[str] = set()
    if table is None:
        return successes, failed
    nulls = [None] * table.num_rows
    columns = [
        table.column(name).to_pylist() if name in table.column_names else nulls
        for name in ("key", "status", "width", "height")
    ]
    for key, status, width, height in zip(*columns, strict=True):
        if status == Status.SUCCESS.value:
            successes[key] = width, height
        else:
            failed.add(key)
    return successes, failed


def _is_metadata(data: bytes, key: str) -> bool:
    """Return whether a sample's JSON is the metadata of `key`, a success."""
    document: Any
    try:
        document = read_json(data)
    except ValueError:
        return False
    return (
        isinstance(document, dict)
        and document.get("key") == key
        and document.get("status") in (None, Status.SUCCESS.value)
    )
