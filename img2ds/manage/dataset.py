"""A dataset in a folder: its segments, shards, commit markers and other files. Writes nothing.

Folders of img2dataset have no manifest; what it would say is derived from file names, where it
can be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import (
    STATS_SUFFIX,
    TABLE_SUFFIX,
    TAR_SIZES,
    format_names,
    format_of,
    shard_name,
    shard_of_file,
)
from img2ds.core.rank import Rank
from img2ds.core.state import STAGING, is_state, name_before
from img2ds.engine.manifest import Segment, read_segments
from img2ds.engine.marker import CommitMarker, DamagedMarkerError, read_image_marker
from img2ds.engine.marker_cache import MarkerCache
from img2ds.storage import Listing, OutputFolder, sizes
from img2ds.storage.filesystem import as_usage_error

#: The format of an input that is a dataset itself, in the fingerprints of manifests.
RESHARDED = "data set"  # in manifests since the first version
#: In the staging folder of a run, files are named after a process and their final name.
_STAGED_FILE = re.compile(r".*-(\d+)\.[a-z]+")


@dataclass(slots=True)
class Dataset:
    """A folder with shards.

    Attributes:
        sizes: its files with their sizes in bytes, its folders with None.
        segments: those of the manifest; none for a folder of img2dataset.
        committed: the names of the shards that have a commit marker, by number, in order.
    """

    folder: OutputFolder
    sizes: Listing
    segments: list[Segment]
    committed: dict[int, str]

    @classmethod
    def open(cls, path: str) -> Dataset:
        """Open the folder at `path`.

        Raises:
            UsageError: there is no such folder, or no dataset in it.
        """
        folder = OutputFolder.open(path)
        with as_usage_error(f"read {path}"):
            found = sizes(folder)
            if not found and not folder.exists(""):
                raise UsageError(f"there is no folder {path}")
            segments = read_segments(folder)
        if any("stage" in segment.options for segment in segments):
            stage = segments[0].options.get("stage")
            raise UsageError(
                f"{path} was made by laion {stage}: this command is for image datasets"
            )
        for segment in segments:
            made = segment.options.get("output_format")
            try:
                format_names(str(made))
            except UsageError:
                raise UsageError(
                    f"{path} has shards of an unknown format ({made}): install the plug-in that "
                    "made them, or update img2ds"
                ) from None
        shards = (marker.removesuffix(STATS_SUFFIX) for marker in found.ending(STATS_SUFFIX))
        names = {int(shard): shard for shard in shards}
        if len(set(map(len, names.values()))) > 1:  # else the order of names is that of numbers
            names = dict(sorted(names.items()))
        dataset = cls(folder, found, segments, names)
        if not segments and not names:
            raise UsageError(
                f"{path} holds no dataset: no complete shard of img2ds or img2dataset, and no "
                "manifest of a run"
            )
        return dataset

    @property
    def options(self) -> dict[str, Any]:
        """The options that its shards were made with; empty without a manifest."""
        return self.segments[-1].options if self.segments else {}

    @property
    def output_format(self) -> str:
        """The format of its shards: webdataset and so on."""
        if self.options:
            return str(self.options["output_format"])
        # The format of most shards: one stray file must not decide.
        found = Counter(
            kind
            for number, shard in self.committed.items()
            if (kind := format_of(shard, self.files_of(number))) is not None
        )
        if not found:
            return "dummy"
        # A shard that lost its data looks like one of the format whose data are the table.
        return max(found, key=lambda kind: (found[kind], format_names(kind).suffix != TABLE_SUFFIX))

    @property
    def digits(self) -> int:
        """The number of digits in a shard's name."""
        if "oom_shard_count" in self.options:
            return int(self.options["oom_shard_count"])
        return min(map(len, self.committed.values()), default=5)

    def name(self, number: int) -> str:
        """Return the name of shard `number`."""
        return shard_name(number, self.digits)

    def files_of(self, number: int) -> list[str]:
        """Return the files and folders with the number of this shard, its commit marker too."""
        return [name for name in self.sizes.numbered(number) if shard_of_file(name) == number]

    def markers(self) -> Iterator[tuple[int, CommitMarker | DamagedMarkerError]]:
        """Yield the marker of every committed shard, in order; an error for one that is damaged."""
        names = (shard + STATS_SUFFIX for shard in self.committed.values())
        contents = MarkerCache(self.folder, self.sizes).read(names)
        for number, (_, data) in zip(self.committed, contents, strict=True):
            if isinstance(data, OSError):
                yield number, DamagedMarkerError(f"cannot be read: {data.strerror or data}")
                continue
            try:
                yield number, read_image_marker(data)
            except DamagedMarkerError as error:
                yield number, error

    def last_shard(self) -> int:
        """Return the number of the last shard that exists or is expected; -1 for none."""
        ends = [s.first_shard + s.shard_count - 1 for s in self.segments if s.shard_count]
        return max([*ends, *self.committed, -1])

    def leftovers(self) -> list[int]:
        """Return the numbers of shards that have files but no commit marker."""
        # A folder called 2014 may be the user's, unless shards are folders.
        folders = format_names(self.output_format).suffix == ""
        return sorted(
            {
                number
                for name in self.sizes
                if (number := shard_of_file(name)) is not None
                and number not in self.committed
                and (folders or "." in name)
            }
        )

    def in_progress(self) -> list[int]:
        """Return the shards that have staged files inside the folder. Raises OSError."""
        if not self.folder.local:
            return []
        found = set()
        runs = [*self.folder.names(STAGING), *self.folder.names(name_before(STAGING))]
        for place in list(runs):  # a rank has a folder for its runs
            if Rank.of_name(place.rpartition("/")[2]) is not None:
                runs += self.folder.names(place)
        for run in runs:
            for name in self.folder.names(run):
                if match := _STAGED_FILE.fullmatch(name):
                    found.add(int(match[1]))
        return sorted(found - set(self.committed))

    def unrecognized(self) -> list[str]:
        """Return the names that belong to no shard."""
        own = [TAR_SIZES] if self.output_format == "webdataset" else []
        own += filter(None, [format_names(self.output_format).index])
        return [
            name
            for name in self.sizes
            if not is_state(name) and name not in own and shard_of_file(name) is None
        ]
