"""webdataset tars read from first to last: members, samples, and a digest on the way.

`tarfile` takes a truncated tar for one that ends early, and four times as long. What is read
here is what img2ds and img2dataset write: plain files, with extended headers (POSIX.1-2001 pax,
GNU long names) before them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from img2ds.formats.hashed_stream import HashedStream
from img2ds.formats.stored import DamagedShardError, Digest, StoredSample
from img2ds.storage import PatientFile, open_seekable

_BLOCK = 512
_READ = 1 << 20
#: Members whose data are extended headers, or that are no files.
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK, _FOLDER = b"x", b"g", b"L", b"K", b"5"
_PLAIN = (b"0", b"\0")
#: Longest extended header taken for one, in bytes.
_MAX_EXTENDED = 1 << 20


class TarSamples:
    """See `stored.StoredShard`."""

    has_json = has_captions = True

    def __init__(self, folder: str, name: str) -> None:
        self.names = [name]
        self._path = f"{folder}/{name}"
        self._digests: dict[str, Digest] = {}

    def digests(self) -> Mapping[str, Digest]:
        return self._digests

    def samples(self) -> Iterator[StoredSample]:
        sample: StoredSample | None = None
        with PatientFile(self._path) as file:
            tar = TarMembers(file)
            for name, data in tar:
                folder, _, leaf = name.rpartition("/")
                key, _, extension = leaf.partition(".")
                key = f"{folder}/{key}" if folder else key
                if sample is None or sample.key != key or extension in sample.parts:
                    if sample is not None:
                        yield sample
                    sample = StoredSample(key)
                sample.parts[extension] = data
            self._digests[self.names[0]] = tar.stream.size, tar.stream.sha256()
        if sample is not None:
            yield sample


class TarMembers:
    """Iterates over the plain files of a tar as (name, data); `stream` then has been read whole."""

    def __init__(self, file: PatientFile) -> None:
        self.stream = HashedStream(file)
        self._take = self.stream.take

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        name: str | None = None
        size: int | None = None
        last = "its beginning"
        while True:
            block = self._take(_BLOCK)
            if len(block) < _BLOCK:
                raise DamagedShardError(f"it is cut off behind {last}, {self.stream.size} bytes in")
            if not any(block):
                break
            if not _sums_up(block):
                raise DamagedShardError(f"no member begins behind {last}, where one has to")
            kind = block[156:157]
            own_size = _number(block[124:136])
            if kind in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK):
                if own_size > _MAX_EXTENDED:
                    raise DamagedShardError(f"a header behind {last} is too long")
                data = self._data(own_size, f"a header behind {last}")
                if kind == _PAX:
                    records = _pax(data)
                    name = records.get("path", name)
                    size = int(records["size"]) if "size" in records else size
                elif kind == _GNU_NAME:
                    name = data.rstrip(b"\0").decode("utf-8", "replace")
                continue
            if name is None:
                name = _name(block)
            data = self._data(own_size if size is None else size, name)
            if kind in _PLAIN:
                yield name, data
            elif kind != _FOLDER:
                raise DamagedShardError(f"{name} is no plain file")
            last, name, size = name, None, None
        # Two blocks of zeros end a tar; writers fill up with more of them.
        rest = self._take(_BLOCK)
        if len(rest) < _BLOCK:
            raise DamagedShardError(f"it is cut off in its end mark, {self.stream.size} bytes in")
        while rest:
            if any(rest):
                raise DamagedShardError(f"there are data behind its end mark, after {last}")
            rest = self._take(_READ)
        if self.stream.size % _BLOCK:
            raise DamagedShardError(f"it is cut off in its end mark, {self.stream.size} bytes in")

    def _data(self, size: int, name: str) -> bytes:
        data = self._take(size)
        if len(data) < size:
            raise DamagedShardError(
                f"it is cut off within {name}, which has {len(data)} of {size} bytes"
            )
        padding = -size % _BLOCK
        if len(self._take(padding)) < padding:
            raise DamagedShardError(f"it is cut off behind {name}, {self.stream.size} bytes in")
        return data


def ends_whole(path: str) -> bool:
    """Whether a tar ends as one has to, in two blocks of zeros; reads nothing else of it.

    Raises OSError; UsageError when it is empty.
    """
    opened = open_seekable(path)
    with open(opened, "rb") if isinstance(opened, str) else opened as file:
        size = file.seek(0, 2)
        if size < 2 * _BLOCK or size % _BLOCK:
            return False
        file.seek(size - 2 * _BLOCK)
        return not any(file.read(2 * _BLOCK))


def _sums_up(block: bytes) -> bool:
    """Whether the checksum of a header is right; it counts itself as blanks."""
    try:
        wanted = int(block[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    return sum(block) - sum(block[148:156]) + 8 * 32 == wanted


def _number(digits: bytes) -> int:
    """Octal, or GNU's base 256 for what does not fit."""
    if digits[0] & 0x80:
        return int.from_bytes(digits[1:], "big")
    try:
        return int(digits.strip(b" \0") or b"0", 8)
    except ValueError:
        raise DamagedShardError("a header has no size") from None


def _name(block: bytes) -> str:
    name = block[:100].rstrip(b"\0")
    if block[257:262] == b"ustar" and (prefix := block[345:500].rstrip(b"\0")):
        name = prefix + b"/" + name
    return name.decode("utf-8", "replace")


def _pax(data: bytes) -> dict[str, str]:
    """Records `LENGTH KEY=VALUE\\n`."""
    records = {}
    while data:
        length, _, _ = data.partition(b" ")
        try:
            end = int(length)
        except ValueError:
            raise DamagedShardError("an extended header cannot be read") from None
        if end <= len(length) + 1:
            raise DamagedShardError("an extended header cannot be read")
        key, _, value = data[len(length) + 1 : end].rstrip(b"\n").partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        data = data[end:]
    return records
