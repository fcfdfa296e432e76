"""Files of samples behind their offsets, as mds and litdata write them.

A file begins with the number of samples, 32 bits, and the offset of each and of the end. Something
of the format may follow. A sample is the length of each of its values, and the values. The offsets
are known at the end only: until then samples are spooled to a file that is already unlinked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from img2ds.core.naming import INDEX, STATS_SUFFIX, data_name
from img2ds.core.sample import Body, FileRecord, Sample
from img2ds.engine.marker import DamagedMarkerError, marker_names, read_image_marker
from img2ds.formats.contract import DamagedShardError, Digest, StagingPath, StoredSample
from img2ds.formats.data_file import BufferedFile, HashedFile
from img2ds.formats.hashed_stream import HashedStream
from img2ds.formats.members import members
from img2ds.storage import OutputFolder, RetryingFile, read_many

#: Bytes of a file whose offsets fit 32 bits, and those left for what comes before the samples.
_MOST, _HEAD = 1 << 32, 1 << 24
#: Samples that a file can have: no shard comes near it.
_MOST_SAMPLES = 1 << 26
#: Bytes copied at once.
_COPIED = 1 << 20


def columns_of(extension: str, captions: bool) -> list[str]:
    """Return the names of a sample's values, in their order."""
    return sorted({"key", extension, "json", *(["txt"] if captions else [])})


class SampleFileWriter:
    """One file of samples, in the order of their keys."""

    has_metadata_file = True
    format_name: str

    def __init__(self, name: str, extension: str, staging_path: StagingPath) -> None:
        self._name, self._extension, self._staging_path = name, extension, staging_path
        spool = staging_path(f"{name}.samples")
        self._spool = BufferedFile(spool)
        os.unlink(spool)
        self._places: dict[int, tuple[int, int]] = {}
        self._captions = False

    def between(self, columns: Sequence[str]) -> bytes:
        """Return what stands between the offsets and the samples."""
        return b""

    def add(self, sample: Sample) -> None:
        values: dict[str, Body] = {"key": sample.key.encode()}
        values.update(members(sample, self._extension))
        self._captions = "txt" in values
        data = [values[name] for name in sorted(values)]
        sizes = np.array([len(value) for value in data], "<u4").tobytes()
        start = self._spool.size
        if start + sum(map(len, data)) >= _MOST - _HEAD:
            raise OSError(
                f"a shard of the format {self.format_name} holds 4 GiB: lower "
                "--number_sample_per_shard"
            )
        self._spool.put(sizes, *data)
        self._places[sample.index] = start, self._spool.size - start

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        file = HashedFile(self._name, self._staging_path)
        try:
            self._spool.flush()
            places = [self._places[index] for index in sorted(self._places)]
            between = self.between(columns_of(self._extension, self._captions))
            first = 4 + 4 * (len(places) + 1) + len(between)
            offsets = np.cumsum([first, *(size for _, size in places)]).astype("<u4")
            file.put(len(places).to_bytes(4, "little"), offsets.tobytes(), between)
            for start, size in places:
                for at in range(start, start + size, _COPIED):
                    file.put(self._spool.read(at, min(_COPIED, start + size - at)))
            return [file.finish()]
        finally:
            file.close()
            self._spool.close()

    def abort(self) -> None:
        self._spool.close()


class SampleFileReader:
    """The file `name`, read from first to last."""

    has_json = has_captions = True
    format_name: str

    def __init__(self, folder: OutputFolder, name: str, extension: str | None) -> None:
        self.names = [name]
        self._path = f"{folder.path}/{name}"
        self._digests: dict[str, Digest] = {}

    def columns(self, between: bytes, count: int) -> list[str]:
        """Return the names of the values of a sample; raise DamagedShardError.

        Args:
            between: what stands between the offsets and the samples.
            count: values that the first sample has.
        """
        raise NotImplementedError

    def digests(self) -> Mapping[str, Digest]:
        return self._digests

    def samples(self) -> Iterator[StoredSample]:
        with RetryingFile(self._path) as file, HashedStream(file) as stream:
            between, lengths = self._head(stream)
            names: list[str] = []
            for place, length in enumerate(lengths):
                data = stream.read(length)
                if len(data) < length:
                    raise DamagedShardError(f"truncated in sample {place}")
                names = names or self.columns(between, _values_of(data))
                yield _sample(names, data, place)
            if stream.read(1):
                raise DamagedShardError("there is something after the last sample")
            self._digests[self.names[0]] = stream.digest()

    def _head(self, stream: HashedStream) -> tuple[bytes, list[int]]:
        """Read what comes before the samples; return it, and the length of each sample."""
        count = int.from_bytes(stream.read(4), "little")
        if count > _MOST_SAMPLES:
            raise DamagedShardError(f"not a file of {self.format_name}, or damaged")
        data = stream.read(4 * (count + 1))
        offsets = np.frombuffer(data[: len(data) // 4 * 4], "<u4").astype(np.int64)
        at = 4 + 4 * (count + 1)
        if len(offsets) <= count or offsets[0] < at or (np.diff(offsets) < 0).any():
            raise DamagedShardError(f"not a file of {self.format_name}, or damaged")
        return stream.read(int(offsets[0]) - at), np.diff(offsets).tolist()


def _values_of(data: bytes) -> int:
    """Return how many values a sample has: their lengths add up to its own."""
    total = 0
    sizes = np.frombuffer(data[: len(data) // 4 * 4], "<u4")
    for count, size in enumerate(sizes[:16].tolist(), 1):
        total += size
        if 4 * count + total == len(data):
            return count
    return 0


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


def write_index(
    folder: OutputFolder,
    output_format: str,
    document: Callable[[list[tuple[FileRecord, int]]], bytes],
) -> None:
    """Write `index.json`: the committed shards that have samples. Raises UsageError, OSError.

    Args:
        document: makes the index of the files and the samples that each holds.
    """
    while True:
        markers = marker_names(folder.names())
        content = document(_committed(folder, output_format, markers))
        if not folder.exists(INDEX) or folder.read_bytes(INDEX) != content:
            folder.write_bytes(INDEX, content)
        if markers == marker_names(folder.names()):
            return  # another rank may have committed a shard meanwhile


def _committed(
    folder: OutputFolder, output_format: str, markers: list[str]
) -> list[tuple[FileRecord, int]]:
    found = []
    for name, data in read_many(folder, markers):
        if isinstance(data, OSError):
            raise data
        try:
            marker = read_image_marker(data)
        except DamagedMarkerError:  # its shard is rebuilt
            continue
        file = data_name(name.removesuffix(STATS_SUFFIX), output_format)
        record = next((r for r in marker.files or () if r.name == file), None)
        if record is not None and marker.tally.successes:
            found.append((record, marker.tally.successes))
    return found
