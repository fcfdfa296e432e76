"""mds: Mosaic Data Shards, `NNNNN.mds`, and `index.json`, for `streaming.StreamingDataset`.

A sample has the columns `key`, the image under the name of the encode format, `txt` with captions,
and `json`, the metadata. Samples stand in the order of their keys.

A file begins with the number of samples and the offset of each, which are known at the end only:
until then samples are spooled to a file that is already unlinked. The format is that of
streaming/base/format/mds/writer.py of mosaicml-streaming, version 2; it takes no package to write.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from img2ds.core.naming import INDEX, STATS_SUFFIX, data_name
from img2ds.core.sample import Body, FileRecord, Sample
from img2ds.engine.manifest import read_segments
from img2ds.engine.marker import CommitMarker, DamagedMarkerError, marker_names, read_image_marker
from img2ds.formats.contract import DamagedShardError, Digest, StagingPath, StoredSample
from img2ds.formats.data_file import BufferedFile, HashedFile
from img2ds.formats.hashed_stream import HashedStream
from img2ds.formats.members import members
from img2ds.storage import OutputFolder, RetryingFile, read_many

#: Encodings of columns: streaming/base/format/mds/encodings.py. Images open as PIL images; there is
#: none for webp.
_ENCODINGS = {"jpg": "jpeg", "png": "png", "webp": "bytes", "json": "json"}
#: Bytes of a file whose offsets fit 32 bits.
_MOST = 1 << 32
#: Samples that a file can have: no shard comes near it.
_MOST_SAMPLES = 1 << 26
#: Bytes copied at once.
_COPIED = 1 << 20


def _columns(extension: str, captions: bool) -> dict[str, str]:
    """Return the columns and their encodings, in the order of a sample's values."""
    names = sorted({"key", extension, "json", *(["txt"] if captions else [])})
    return {name: _ENCODINGS.get(name, "str") for name in names}


def _config(columns: Mapping[str, str]) -> dict[str, Any]:
    """Return what describes the columns, in each file and in the index."""
    return {
        "column_encodings": list(columns.values()),
        "column_names": list(columns),
        "column_sizes": [None] * len(columns),
        "compression": None,
        "format": "mds",
        "hashes": ["sha256"],
        "size_limit": None,
        "version": 2,
    }


class MDSWriter:
    """One `NNNNN.mds`."""

    has_metadata_file = True

    def __init__(self, name: str, extension: str, staging_path: StagingPath) -> None:
        self._name, self._extension, self._staging_path = name, extension, staging_path
        spool = staging_path(f"{name}.samples")
        self._spool = BufferedFile(spool)
        os.unlink(spool)
        self._places: dict[int, tuple[int, int]] = {}
        self._captions = False

    def add(self, sample: Sample) -> None:
        values: dict[str, Body] = {"key": sample.key.encode()}
        values.update(members(sample, self._extension))
        self._captions = "txt" in values
        data = [values[name] for name in sorted(values)]
        sizes = np.array([len(value) for value in data], "<u4").tobytes()
        start = self._spool.size
        if start + sum(map(len, data)) >= _MOST - (1 << 24):  # what comes before the samples
            raise OSError("a shard of the format mds holds 4 GiB: lower --number_sample_per_shard")
        self._spool.put(sizes, *data)
        self._places[sample.index] = start, self._spool.size - start

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        file = HashedFile(self._name, self._staging_path)
        try:
            self._spool.flush()
            places = [self._places[index] for index in sorted(self._places)]
            columns = _columns(self._extension, self._captions)
            config = json.dumps(_config(columns), sort_keys=True).encode()
            first = 4 + 4 * (len(places) + 1) + len(config)
            offsets = np.cumsum([first, *(size for _, size in places)]).astype("<u4")
            file.put(len(places).to_bytes(4, "little"), offsets.tobytes(), config)
            for start, size in places:
                for at in range(start, start + size, _COPIED):
                    file.put(self._spool.read(at, min(_COPIED, start + size - at)))
            return [file.finish()]
        finally:
            file.close()
            self._spool.close()

    def abort(self) -> None:
        self._spool.close()


class MDSReader:
    """The file `name`, read from first to last."""

    has_json = has_captions = True

    def __init__(self, folder: OutputFolder, name: str, extension: str | None) -> None:
        self.names = [name]
        self._path = f"{folder.path}/{name}"
        self._digests: dict[str, Digest] = {}

    def digests(self) -> Mapping[str, Digest]:
        return self._digests

    def samples(self) -> Iterator[StoredSample]:
        with RetryingFile(self._path) as file, HashedStream(file) as stream:
            names, lengths = _head(stream)
            for place, length in enumerate(lengths):
                data = stream.read(length)
                if len(data) < length:
                    raise DamagedShardError(f"truncated in sample {place}")
                yield _sample(names, data, place)
            if stream.read(1):
                raise DamagedShardError("there is something after the last sample")
            self._digests[self.names[0]] = stream.digest()


def _head(stream: HashedStream) -> tuple[list[str], list[int]]:
    """Read what comes before the samples; return their columns, and the length of each sample."""
    count = int.from_bytes(stream.read(4), "little")
    if count > _MOST_SAMPLES:
        raise DamagedShardError("not an mds file, or damaged")
    data = stream.read(4 * (count + 1))
    offsets = np.frombuffer(data[: len(data) // 4 * 4], "<u4").astype(np.int64)
    at = 4 + 4 * (count + 1)
    if len(offsets) <= count or offsets[0] < at or (np.diff(offsets) < 0).any():
        raise DamagedShardError("not an mds file, or damaged")
    try:
        config = orjson.loads(stream.read(int(offsets[0]) - at))
        names = [str(name) for name in config["column_names"]]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise DamagedShardError("damaged: the columns cannot be read") from None
    return names, np.diff(offsets).tolist()


def _sample(names: list[str], data: bytes, place: int) -> StoredSample:
    at = 4 * len(names)
    sizes = np.frombuffer(data[:at], "<u4").tolist() if len(data) >= at else []
    if at + sum(sizes) != len(data) or not sizes:
        raise DamagedShardError(f"damaged: sample {place} has another length")
    parts = {}
    for name, size in zip(names, sizes, strict=True):
        parts[name] = data[at : at + size]
        at += size
    if "key" not in parts:
        raise DamagedShardError(f"damaged: sample {place} has no key")
    return StoredSample(parts.pop("key").decode("utf-8", "replace"), parts)


def write_index(folder: OutputFolder) -> None:
    """Write `index.json`: the committed shards that have samples. Raises UsageError, OSError."""
    while True:
        document, markers = _index(folder)
        if not folder.exists(INDEX) or folder.read_bytes(INDEX) != document:
            folder.write_bytes(INDEX, document)
        if markers == marker_names(folder.names()):
            return  # another rank may have committed a shard meanwhile


def _index(folder: OutputFolder) -> tuple[bytes, list[str]]:
    """Return the index of what is committed now, and the markers it was made of."""
    options = read_segments(folder)[-1].options
    config = _config(_columns(options["encode_format"], options["captions"]))
    markers = marker_names(folder.names())
    shards = []
    for name, data in read_many(folder, markers):
        if isinstance(data, OSError):
            raise data
        try:
            marker = read_image_marker(data)
        except DamagedMarkerError:  # its shard is rebuilt
            continue
        entry = _entry(config, data_name(name.removesuffix(STATS_SUFFIX), "mds"), marker)
        if entry is not None:
            shards.append(entry)
    return orjson.dumps({"version": 2, "shards": shards}), markers


def _entry(config: dict[str, Any], name: str, marker: CommitMarker) -> dict[str, Any] | None:
    record = next((r for r in marker.files or () if r.name == name), None)
    if record is None or not marker.tally.successes:
        return None
    raw = {"basename": name, "bytes": record.size, "hashes": {"sha256": record.sha256}}
    return {**config, "raw_data": raw, "samples": marker.tally.successes, "zip_data": None}
