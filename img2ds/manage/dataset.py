"""A data set as it lies in a folder: its segments, shards, marks and other files. Writes nothing.

Folders of img2dataset have no manifest; what it would say is told from names where it can be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import STATS_SUFFIX, committed_shards, data_name, shard_name, shard_of_file
from img2ds.engine.manifest import Segment, read_segments
from img2ds.engine.marker import CommitMarker, DamagedMarkerError, read_image_marker
from img2ds.storage import OutputFolder, read_many, sizes
from img2ds.storage.filesystem import said_plainly

#: In the order that tells them apart where nothing but the names of files does: a parquet shard is
#: called what every other format's table is.
_FORMATS = ("webdataset", "tfrecord", "files", "parquet")
#: The format of an input that is a data set itself, in fingerprints.
RESHARDED = "data set"
#: What `_img2ds/tmp` holds: one folder a run, files named after a process and what they become.
_ASIDE = "_img2ds/tmp"
_ASIDE_FILE = re.compile(r".*-(\d+)\.[a-z]+")


@dataclass(slots=True)
class Dataset:
    """What lies in a folder.

    Attributes:
        sizes: its files with their sizes in bytes, its folders with None.
        segments: those of the manifest; none for a folder of img2dataset.
        committed: the shards that have a marker, by number, in order, and what they are called.
    """

    folder: OutputFolder
    sizes: dict[str, int | None]
    segments: list[Segment]
    committed: dict[int, str]
    _by_shard: dict[int, list[str]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str) -> Dataset:
        """Look into the folder at `path`.

        Raises:
            UsageError: there is no such folder, or no data set in it.
        """
        folder = OutputFolder.open(path)
        with said_plainly(f"read {path}"):
            found = sizes(folder)
            if not found and not folder.exists(""):
                raise UsageError(f"there is no folder {path}")
            segments = read_segments(folder)
        if any("stage" in segment.options for segment in segments):
            stage = segments[0].options.get("stage")
            raise UsageError(f"{path} was made by laion {stage}: this is for image data sets")
        names = {
            number: name.removesuffix(STATS_SUFFIX)
            for name in found
            for number in committed_shards([name])
        }
        dataset = cls(folder, found, segments, dict(sorted(names.items())))
        for name in found:
            number = _shard_of(name)
            if number is not None:
                dataset._by_shard.setdefault(number, []).append(name)
        if not segments and not names:
            raise UsageError(
                f"{path} holds no data set: no shard that img2ds or img2dataset finished, and no "
                "record of a run"
            )
        return dataset

    @property
    def options(self) -> dict[str, Any]:
        """The options that its shards were made with; empty where nobody wrote them down."""
        return self.segments[-1].options if self.segments else {}

    @property
    def output_format(self) -> str:
        """What a shard is: webdataset and so on."""
        if self.options:
            return str(self.options["output_format"])
        # Most shards decide: a stray file makes no format.
        found = Counter(
            kind
            for number, shard in self.committed.items()
            for kind in _formats(shard, self._by_shard.get(number, ()))
        )
        return max(_FORMATS, key=lambda kind: found[kind]) if found else "dummy"

    @property
    def digits(self) -> int:
        """Digits of a shard's name."""
        if "oom_shard_count" in self.options:
            return int(self.options["oom_shard_count"])
        return min(map(len, self.committed.values()), default=5)

    def name(self, number: int) -> str:
        """What shard `number` is called."""
        return shard_name(number, self.digits)

    def files_of(self, number: int) -> list[str]:
        """The files and folders there are with the number of this shard, its mark among them."""
        return self._by_shard.get(number, [])

    def markers(self) -> Iterator[tuple[int, CommitMarker | DamagedMarkerError]]:
        """The marker of every committed shard, in order; an error in place of one that is none."""
        numbers = list(self.committed)
        names = [shard + STATS_SUFFIX for shard in self.committed.values()]
        for number, (_, data) in zip(numbers, read_many(self.folder, names), strict=True):
            if isinstance(data, OSError):
                yield number, DamagedMarkerError(f"it cannot be read: {data.strerror or data}")
                continue
            try:
                yield number, read_image_marker(data)
            except DamagedMarkerError as error:
                yield number, error

    def last_shard(self) -> int:
        """The number of the last shard that there is or has to be; -1 for none."""
        ends = [s.first_shard + s.shard_count - 1 for s in self.segments if s.shard_count]
        return max([*ends, *self.committed, -1])

    def leftovers(self) -> list[int]:
        """Numbers of shards that have files and no commit marker."""
        # A folder called 2014 may well be somebody else's, but where shards are folders.
        folders = self.output_format == "files"
        return sorted(
            number
            for number, names in self._by_shard.items()
            if number not in self.committed and (folders or any("." in name for name in names))
        )

    def in_the_making(self) -> list[int]:
        """Shards that files are written aside for, inside the folder. Raises OSError."""
        if not self.folder.local:
            return []
        found = set()
        for run in self.folder.names(_ASIDE):
            for name in self.folder.names(run):
                if match := _ASIDE_FILE.fullmatch(name):
                    found.add(int(match[1]))
        return sorted(found - set(self.committed))

    def unrecognized(self) -> list[str]:
        """Names that no shard has."""
        return [n for n in self.sizes if n != "_img2ds" and _shard_of(n) is None]


def _shard_of(name: str) -> int | None:
    if name.isdigit():
        return int(name)
    return shard_of_file(name)


def _formats(shard: str, names: Collection[str]) -> Iterator[str]:
    """The formats that a shard with these files may be of: the first that fits."""
    for kind in _FORMATS:
        if data_name(shard, kind) in names:
            yield kind
            return
