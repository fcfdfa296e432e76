"""Samples for writers, and their files read back by others' means: what users would take."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tfrecord
import webdataset

from img2ds.config.options import ImageOptions, OutputOptions
from img2ds.core.naming import sample_keys
from img2ds.core.sample import FileRecord, Sample
from img2ds.core.schema import metadata_schema, metadata_table
from img2ds.formats.contract import ShardWriter
from img2ds.formats.table import open_writer

#: From a data file to what is in it: key -> (image, caption or None, row), in the file's order.
Read = Callable[[Path], dict[str, tuple[bytes, str | None, dict[str, Any]]]]
COUNT = 40
#: Rows that failed; writers never see those.
FAILED = {3, 17, 39}
SCHEMA = {
    captions: metadata_schema(
        {"licence": pa.string(), "score": pa.float64()},
        caption=captions, exif=True, digest="sha256",
    )
    for captions in (False, True)
}  # fmt: skip


def samples(captions: bool, extension: str = "jpg") -> list[Sample]:
    """Forty rows but the failed ones, in the order they were finished, which is none."""
    made = []
    for index, key in enumerate(sample_keys(7, COUNT, 10_000, 5)):
        if index in FAILED:
            continue
        # Sizes around the block of a tar, and one larger than any write buffer.
        size = (0, 1, 511, 512, 513, 1024, 3000, 700_000)[index % 8]
        image = hashlib.shake_256(b"%d" % index).digest(size)
        caption = ("", "a cat", "ein Käse 🧀 \n\t\"'", "x" * 3000)[index % 4] if captions else None
        row = {
            "licence": None if index % 3 else "CC-BY",
            "score": index / 7,
            **({"caption": caption} if captions else {}),
            "url": f"http://example.org/ä?{index}",
            "key": key,
            "status": "success",
            "error_message": None,
            "width": 256, "height": 256, "original_width": 640, "original_height": 480 + index,
            "exif": "{}",
            "sha256": hashlib.sha256(image).hexdigest(),
            "reason": None,
        }  # fmt: skip
        holder = (bytes, bytearray, memoryview)[index % 3]
        made.append(Sample(index, key, holder(image), caption, row))
    return made[::2] + made[1::2]


def table(written: list[Sample], captions: bool) -> pa.Table:
    """All rows of the shard in key order, failed ones too."""
    by_index = {sample.index: sample.metadata for sample in written}
    keys = sample_keys(7, COUNT, 10_000, 5)
    failed = {"status": "failed_to_download", "reason": "http_404"}
    rows = [by_index.get(index, {**failed, "key": keys[index]}) for index in range(COUNT)]
    names = SCHEMA[captions].names
    return metadata_table(
        SCHEMA[captions], {name: [row.get(name) for row in rows] for name in names}
    )


def opened(folder: Path, output_format: str, encode_format: str = "jpg") -> ShardWriter:
    folder.mkdir(exist_ok=True)
    return open_writer(
        "00007",
        OutputOptions(output_format=output_format),
        ImageOptions(encode_format=encode_format),
        lambda name: str(folder / name),
    )


def write(
    folder: Path, output_format: str, captions: bool, encode_format: str = "jpg"
) -> list[FileRecord]:
    writer = opened(folder, output_format, encode_format)
    given = samples(captions)
    for sample in given:
        writer.add(sample)
    return writer.finish(table(given, captions))


def as_kept(output_format: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is read back: a TFRecord has no null and 32-bit floats."""
    if output_format != "tfrecord":
        return row
    return {
        name: "" if value is None else float(np.float32(value)) if name == "score" else value
        for name, value in row.items()
    }


def read_files(path: Path) -> dict[str, tuple[bytes, str | None, dict[str, Any]]]:
    """A folder, as it lies there."""
    captions = {file.stem: file.read_bytes().decode() for file in path.glob("*.txt")}
    return {
        file.stem: (
            file.read_bytes(),
            captions.get(file.stem),
            json.loads(file.with_suffix(".json").read_bytes()),
        )
        for file in sorted(path.glob("*.jpg"))
    }


def read_parquet(path: Path) -> dict[str, tuple[bytes, str | None, dict[str, Any]]]:
    """By pyarrow; rows without an image are left out."""
    found = {}
    for row in pq.read_table(path).to_pylist():
        image = row.pop("jpg")
        if image is not None:
            found[row["key"]] = (image, row.get("caption"), row)
    return found


def read_tfrecord(path: Path) -> dict[str, tuple[bytes, str | None, dict[str, Any]]]:
    """By the package `tfrecord`, with protobuf and without the checksums."""
    found = {}
    for features in tfrecord.tfrecord_loader(str(path), None):
        image = features.pop("jpg")
        text = features.pop("txt", None)
        row = {
            name: value.decode() if isinstance(value, bytes) else value.item()
            for name, value in features.items()
        }
        names = [name for name in SCHEMA[text is not None].names if name in row]
        assert len(names) == len(row)  # a map has no order
        caption = None if text is None else text.decode()
        found[row["key"]] = (image, caption, {name: row[name] for name in names})
    return found


def read_tar(path: Path) -> dict[str, tuple[bytes, str | None, dict[str, Any]]]:
    """By the standard library."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            assert member.isfile()
            file = archive.extractfile(member)
            assert file is not None
            key, _, extension = member.name.partition(".")
            assert extension not in found.setdefault(key, {})
            found[key][extension] = file.read()
    return {
        key: (
            parts["jpg"],
            parts["txt"].decode() if "txt" in parts else None,
            json.loads(parts["json"]),
        )
        for key, parts in found.items()
    }


def read_mds(path: Path) -> dict[str, tuple[bytes, str | None, dict[str, Any]]]:
    """By offsets, as streaming's reader finds a sample."""
    data = path.read_bytes()
    count = int(np.frombuffer(data[:4], "<u4")[0])
    offsets = np.frombuffer(data[4 : 4 * (count + 2)], "<u4")
    config = json.loads(data[4 * (count + 2) : offsets[0]])
    names = config["column_names"]
    assert len(config["column_encodings"]) == len(config["column_sizes"]) == len(names)
    found = {}
    for start, stop in pairwise(offsets.tolist()):
        sizes = np.frombuffer(data[start : start + 4 * len(names)], "<u4").tolist()
        ends = np.cumsum([start + 4 * len(names), *sizes]).tolist()
        assert ends[-1] == stop
        values = {n: data[a:b] for n, (a, b) in zip(names, pairwise(ends), strict=True)}
        caption = values["txt"].decode() if "txt" in values else None
        found[values["key"].decode()] = values["jpg"], caption, json.loads(values["json"])
    assert offsets[-1] == len(data)
    return found


def read_litdata(path: Path) -> dict[str, tuple[bytes, str | None, dict[str, Any]]]:
    """By offsets, as LitData's reader finds a sample; the names of values are in the index."""
    data = path.read_bytes()
    count = int(np.frombuffer(data[:4], "<u4")[0])
    offsets = np.frombuffer(data[4 : 4 * (count + 2)], "<u4").tolist()
    assert offsets[0] == 4 * (count + 2)
    assert offsets[-1] == len(data)
    found = {}
    for start, stop in pairwise(offsets):
        for names in (["jpg", "json", "key", "txt"], ["jpg", "json", "key"]):
            sizes = np.frombuffer(data[start : start + 4 * len(names)], "<u4").tolist()
            ends = np.cumsum([start + 4 * len(names), *sizes]).tolist()
            if ends[-1] == stop:
                break
        values = {n: data[a:b] for n, (a, b) in zip(names, pairwise(ends), strict=True)}
        caption = values["txt"].decode() if "txt" in values else None
        found[values["key"].decode()] = values["jpg"], caption, json.loads(values["json"])
    return found


def read_webdataset(path: Path) -> dict[str, tuple[bytes, str | None, dict[str, Any]]]:
    """By the readers' library."""
    dataset = webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)
    return {
        sample["__key__"]: (
            sample["jpg"],
            sample["txt"].decode() if "txt" in sample else None,
            json.loads(sample["json"]),
        )
        for sample in dataset
    }
