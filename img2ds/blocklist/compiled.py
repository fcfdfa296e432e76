"""A block list as processes use it: compiled once a machine into a sorted file that all map.

The file is kept in the cache of the user, under a name that changes with the lists: a run that is
resumed, and each further worker, opens it at once.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from img2ds.blocklist.entries import DIGEST_BYTES, READERS, BadLineError, Reader
from img2ds.blocklist.near_hashes import NearHashes, near_hashes_bytes, write_near_hashes
from img2ds.core.failure import UsageError
from img2ds.storage import InputFile, InputStream, find_inputs
from img2ds.storage.cache import cache_folder, cache_lock, content_key, remove_unused, touch
from img2ds.storage.digest_file import DigestFile, write_digests
from img2ds.storage.filesystem import as_usage_error

#: Changes when a line comes to stand for other digests.
_FORMAT = 1
#: Bytes of digests that are gathered before they are written.
_BATCH = 1 << 20
#: Characters of a line that a message shows.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class BlockList:
    """One or more files of one kind of list.

    Attributes:
        flag: the flag that names them.
        kind: `hashes`, `pdq`, which are those of the same files, `urls` or `hosts`.
        paths: files, folders or globs, local or fsspec.
    """

    flag: str
    kind: str
    paths: tuple[str, ...]

    def compile(self) -> Compiled:
        """Return the compiled list, from the cache if it is there. Blocks.

        Raises:
            UsageError: a file cannot be read, or has a line that stands for nothing.
        """
        try:
            files = [file for path in self.paths for file in find_inputs(path, [""])]
        except UsageError as error:
            raise UsageError(f"--{self.flag}: {error}") from None
        with as_usage_error(f"use --{self.flag}"):
            folder = cache_folder("blocklists")
            key = f"{self.kind}-{_FORMAT}-{content_key(files)}"
            found = self._read(folder, key)
            if found is None:
                with cache_lock(folder, key):
                    found = self._read(folder, key) or self._write(folder, key, files)
                remove_unused(folder)
            touch(found.path)
            touch(found.path.with_suffix(".json"))
        return found

    def _write(self, folder: Path, key: str, files: Sequence[InputFile]) -> Compiled:
        counts: Counter[str] = Counter()
        path = folder / f"{key}.digests"
        staged = path.with_suffix(".part")
        write = write_near_hashes if self.kind == "pdq" else write_digests
        count, digest = write(staged, self._batches(files, counts))
        note = {"count": count, "digest": digest, "kinds": counts}
        os.replace(staged, path)
        document = path.with_suffix(".json.part")
        document.write_text(json.dumps(note))
        os.replace(document, path.with_suffix(".json"))  # last: it vouches for the other
        return Compiled(path, count, digest, dict(counts))

    def _batches(self, files: Sequence[InputFile], counts: Counter[str]) -> Iterator[bytes]:
        batch = bytearray()
        for file in files:
            for digest, kind in self._entries(file.path, READERS[self.kind]):
                batch += digest
                counts[kind] += 1
                if len(batch) >= _BATCH:
                    yield bytes(batch)
                    batch.clear()
        yield bytes(batch)

    def _entries(self, path: str, read: Reader) -> Iterator[tuple[bytes, str]]:
        with io.TextIOWrapper(
            io.BufferedReader(InputStream(path), 1 << 20), "utf-8-sig", "replace"
        ) as lines:
            for number, text in enumerate(lines, 1):
                line = text.strip()
                if not line or line[0] == "#":
                    continue
                try:
                    entry = read(line)
                except BadLineError as error:
                    shown = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
                    raise UsageError(
                        f"--{self.flag}: {path}, line {number}: {shown!r} is {error}"
                    ) from None
                if entry is not None:
                    yield entry

    def _read(self, folder: Path, key: str) -> Compiled | None:
        path = folder / f"{key}.digests"
        try:
            note = json.loads(path.with_suffix(".json").read_text())
            count = note["count"]
            size = near_hashes_bytes(count) if self.kind == "pdq" else count * DIGEST_BYTES
            if path.stat().st_size != size:
                return None
            return Compiled(path, count, note["digest"], note["kinds"])
        except (OSError, ValueError, KeyError):
            return None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled list.

    Attributes:
        count: different entries.
        digest: identifies the set of entries, whatever their files and order.
        kinds: lines by what they are: `md5`, `sha256`, `pdq`, `url`, `host`.
    """

    path: Path
    count: int
    digest: str
    kinds: dict[str, int] = field(default_factory=dict)

    def open(self) -> DigestFile:
        """Map the list, of any kind but `pdq`. Raises OSError."""
        return DigestFile(self.path)

    def open_near(self) -> NearHashes:
        """Map the list, of the kind `pdq`. Raises OSError."""
        return NearHashes(self.path, self.count)
