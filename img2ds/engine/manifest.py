"""The manifest of an output folder, `.img2ds-manifest`: which input made which shards.

It lists segments, one for each input, with the options that its shards were made with. Resuming
with another input or other options would mix datasets and is refused. The only module that knows
the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import (
    OUTPUT_FORMATS,
    STATS_SUFFIX,
    is_number,
    is_shard_folder,
    shard_name,
    shard_of_file,
)
from img2ds.core.state import MANIFEST, name_before
from img2ds.engine.committed import find_committed
from img2ds.engine.fingerprint import difference, input_difference
from img2ds.engine.marker_cache import MarkerCache
from img2ds.engine.partial import partial_shards, remove_partials
from img2ds.storage import OutputFolder, move_state, read_state, write_state

#: Raised when the manifest changes in a way that older versions would misread.
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Segment:
    """The shards of one input: `shard_count` of them from `first_shard` on.

    `shard_count` is None until a streamed input has been read to its end.
    """

    fingerprint: dict[str, Any]
    options: dict[str, Any]
    first_shard: int
    shard_count: int | None

    @property
    def file_names(self) -> list[str]:
        """The names of its input's files; whole paths for the stages of laion."""
        return [str(file["name"]) for file in self.fingerprint["files"]]

    def makes_same(self, other: Segment) -> bool:
        """Return whether both make the same shards."""
        return (self.fingerprint, self.options, self.first_shard) == (
            other.fingerprint, other.options, other.first_shard,
        )  # fmt: skip

    def numbers(self, last: int) -> range:
        """Return the numbers of its shards; up to `last` while their count is unknown."""
        end = last + 1 if self.shard_count is None else self.first_shard + self.shard_count
        return range(self.first_shard, end)


def _unknown_maker(folder: OutputFolder, committed: set[int]) -> str | None:
    return "there is no record of what made them"


@dataclass(frozen=True, kw_only=True)
class SegmentSpec:
    """What a run wants to make.

    Attributes:
        fingerprint, options: identify the input and the options that decide what a shard is.
        shard_count: shards of the input, None if unknown yet.
        mode: `incremental`, `overwrite` or `extend`.
        subfolders: folders of the output folder that hold files of shards as well.
        folder_digits: digits of a shard's name where each shard is a folder, else None.
        foreign: called when there are committed shards and no manifest; returns why they are
            not of this input, None when they are.
    """

    fingerprint: dict[str, Any]
    options: dict[str, Any]
    shard_count: int | None
    mode: str = "incremental"
    subfolders: tuple[str, ...] = ()
    folder_digits: int | None = None
    foreign: Callable[[OutputFolder, set[int]], str | None] = _unknown_maker


@dataclass(slots=True)
class Manifest:
    """The segments of a folder, and its committed shards as they were when it was opened.

    Attributes:
        current: the place of the segment that this run works on.
        leftovers: files to remove before shards are made.
        damaged: shards with a commit marker that are rebuilt, and why.
        before: the segments that the folder had, whose partial shards are kept.
        cache: of its commit markers; None if it begins anew.
        from_img2dataset: whether the committed shards are img2dataset's.
    """

    folder: OutputFolder
    segments: list[Segment]
    committed: set[int]
    current: int = 0
    leftovers: list[str] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)
    before: list[Segment] = field(default_factory=list)
    cache: MarkerCache | None = None
    from_img2dataset: bool = False

    def begin(self) -> None:
        """Remove the leftovers and write the manifest: from here on the folder is this run's.

        Raises:
            OSError: the folder cannot be written to.
        """
        move_state(self.folder)
        # Markers go first: if this is cut off, what is left counts as missing, not as done.
        self.folder.remove(name for name in self.leftovers if name.endswith(STATS_SUFFIX))
        self.folder.remove(self.leftovers)
        if self.cache is not None:
            self.cache.write()
        remove_partials(self.folder, self._keeps_partial)
        self.save()

    def _keeps_partial(self, shard: int) -> bool:
        """Return whether a partial shard is of an input and options that it can go on with."""
        if not self.folder.rank.owns(shard):
            return True
        if shard in self.committed:
            return False
        return any(
            shard in segment.numbers(shard)
            for segment in self.before
            if any(segment.makes_same(other) for other in self.segments)
        )

    @property
    def segment(self) -> Segment:
        """The segment that this run works on."""
        return self.segments[self.current]

    def committed_here(self) -> set[int]:
        """Return the committed shards of the current segment that are this rank's."""
        return set(filter(self.folder.rank.owns, _committed_of(self.segment, self.committed)))

    def set_shard_count(self, count: int) -> None:
        """Record how many shards the input of the current segment has. Raises OSError."""
        if self.segment.shard_count != count:
            self.segments[self.current] = replace(self.segment, shard_count=count)
            self.save()

    def save(self) -> None:
        """Write the manifest. Raises OSError."""
        _write(self.folder, self.segments)


def open_manifest(folder: OutputFolder, wanted: SegmentSpec) -> Manifest:
    """Read the manifest of a folder, and choose the segment to work on. Writes nothing.

    Leftovers are the files of shards without a commit marker, in mode `overwrite` all shards.

    Raises:
        UsageError: the folder belongs to another input or to other options.
        OSError: it cannot be read.
    """
    segments = read_segments(folder)
    before = list(segments)
    # Without a manifest, the rows of the shards are compared with the input.
    there = find_committed(folder, wanted.subfolders, check_files=bool(segments))
    names, committed = there.names, there.shards
    new = Segment(wanted.fingerprint, wanted.options, 0, wanted.shard_count)
    if wanted.mode == "overwrite":
        indices = _indices(before, folder)
        leftovers = [*there.cache.pieces, *indices, *_shard_files(folder, names, wanted)]
        return Manifest(folder, [new], set(), leftovers=leftovers)
    partial = partial_shards(folder)
    while segments and not (_has_any(segments[-1], committed) or _has_any(segments[-1], partial)):
        segments.pop()  # nothing came of it: it is not resumed
    manifest = Manifest(
        folder, segments or [new], committed,
        before=before, damaged=there.damaged, cache=there.cache,
    )  # fmt: skip
    if segments:
        manifest.current = _choose(manifest, new, wanted.mode)
    elif committed:
        _check_foreign(folder, committed, wanted)
        manifest.from_img2dataset = True
    missing = (name for name in names if shard_of_file(name) not in committed)
    manifest.leftovers = _shard_files(folder, missing, wanted)
    if manifest.leftovers and not before and not committed:
        raise UsageError(
            f"{folder.path} holds {manifest.leftovers[0]}, which this run would replace, and no "
            "record of what made it: choose another --output_folder, or replace all files of that "
            "kind with --incremental_mode overwrite"
        )
    if folder.rank.alone:  # others may have written pieces that the listing does not show whole
        manifest.leftovers += there.cache.unused
    return manifest


def read_segments(folder: OutputFolder) -> list[Segment]:
    """Return the segments that the manifest of a folder lists; none without a manifest.

    Raises:
        UsageError: it is damaged, or of another version.
        OSError: it cannot be read.
    """
    data = read_state(folder, MANIFEST)
    if data is None:
        return []
    try:
        document = json.loads(data)
        if document["version"] != FORMAT_VERSION:
            raise UsageError(
                f"{folder.path} was made by another version of img2ds "
                f"(manifest {document['version']}, this one knows {FORMAT_VERSION})"
            )
        return [Segment(**segment) for segment in document["segments"]]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        name = MANIFEST if folder.exists(MANIFEST) else name_before(MANIFEST)
        raise UsageError(
            f"{folder.path}/{name} is damaged ({error}): restore it, or remove it to have the "
            "shards compared with the input"
        ) from None


def follow_sizes(folder: OutputFolder, sizes: Mapping[str, int]) -> None:
    """Record new sizes of input files, by name, so that they count as the same input.

    Raises:
        UsageError, OSError: the manifest cannot be read or written.
    """
    segments = read_segments(folder)
    changed = False
    for segment in segments:
        for file in segment.fingerprint["files"]:
            size = sizes.get(file["name"], file["size"])
            changed |= size != file["size"]
            file["size"] = size
    if changed:
        _write(folder, segments)


def _write(folder: OutputFolder, segments: list[Segment]) -> None:
    document = {"version": FORMAT_VERSION, "segments": [asdict(s) for s in segments]}
    write_state(folder, MANIFEST, json.dumps(document, indent=1).encode())


def _indices(segments: list[Segment], folder: OutputFolder) -> list[str]:
    """Return the files of a folder that list the shards of segments for readers."""
    formats = {str(segment.options.get("output_format")) for segment in segments}
    found = {OUTPUT_FORMATS[name].index for name in formats if name in OUTPUT_FORMATS}
    return [name for name in found if name is not None and folder.exists(name)]


def _has_any(segment: Segment, shards: set[int]) -> bool:
    """Return whether some of these shards are the segment's."""
    numbers = segment.numbers(max(shards, default=-1))
    return any(shard in numbers for shard in shards)


def _committed_of(segment: Segment, committed: set[int]) -> set[int]:
    return committed.intersection(segment.numbers(max(committed, default=-1)))


def _choose(manifest: Manifest, new: Segment, mode: str) -> int:
    """Return the place of the segment to work on; `extend` may add one."""
    segments = manifest.segments
    path = manifest.folder.path
    if new.options != segments[-1].options:
        raise UsageError(
            f"{path} was made with other options "
            f"({difference(segments[-1].options, new.options, '--')}): use those, choose another "
            "--output_folder, or start over with --incremental_mode overwrite"
        )
    for place, segment in enumerate(segments):
        if segment.fingerprint == new.fingerprint:
            return place
    last = segments[-1]
    if mode == "incremental":
        raise UsageError(
            f"{path} was made from another input "
            f"({input_difference(last.fingerprint, new.fingerprint)}): to add this one use "
            "--incremental_mode extend, to start over --incremental_mode overwrite"
        )
    if last.shard_count is None:
        raise UsageError(
            f"the last input of {path} was never read to its end, so it is unknown where its "
            "shards end: finish it first, with its own --url_list"
        )
    segments.append(replace(new, first_shard=last.first_shard + last.shard_count))
    return len(segments) - 1


def _check_foreign(folder: OutputFolder, committed: set[int], wanted: SegmentSpec) -> None:
    """Raise UsageError unless shards that no manifest lists are of the input."""
    problem = wanted.foreign(folder, committed)
    if problem is not None:
        raise UsageError(
            f"{folder.path} holds shards that do not belong to this input ({problem}): choose "
            "another --output_folder, or start over with --incremental_mode overwrite"
        )


def _shard_files(folder: OutputFolder, names: Iterable[str], wanted: SegmentSpec) -> list[str]:
    """Return those of `names` that img2ds may have written as files, or folders, of shards.

    Those of other ranks are left out. Raises:
        UsageError: a shard would take the place of a folder that img2ds did not write.
        OSError: a folder cannot be read.
    """
    found: list[str] = []
    for name in names:
        number = shard_of_file(name)
        if number is not None and not folder.rank.owns(number):
            continue
        if not is_number(name):
            if number is not None:
                found.append(name)
            continue
        inside = folder.inside(name)
        if is_shard_folder(name, inside or ()):
            found.append(name)
        elif inside != [] and _is_replaced(name, wanted.folder_digits):
            raise UsageError(
                f"{folder.path}/{name} has a shard's name but was not written by img2ds: move it "
                "away, or choose another --output_folder"
            )
    return found


def _is_replaced(name: str, folder_digits: int | None) -> bool:
    """Return whether publishing a shard would replace the folder `name`, a number."""
    return folder_digits is not None and name == shard_name(int(name), folder_digits)
