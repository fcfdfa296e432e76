"""What an output folder holds: which input made which shards, under which options.

`_img2ds/manifest.json` lists segments, one an input; `NNNNN_stats.json` marks a shard as
committed. Resuming with another input or other options would mix data sets and is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import (
    STATS_SUFFIX,
    committed_shards,
    is_number,
    is_shard_folder,
    shard_of_file,
)
from img2ds.storage import OutputFolder

MANIFEST = "_img2ds/manifest.json"
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


@dataclass(slots=True)
class Manifest:
    """The segments of a folder, and its committed shards as they were when it was opened.

    `leftovers` are the files that have to go before shards are made, `strangers` what is called
    like a shard's folder and holds something else.
    """

    folder: OutputFolder
    segments: list[Segment]
    committed: set[int]
    current: int = 0
    leftovers: list[str] = field(default_factory=list)
    unrecognized: list[str] = field(default_factory=list)
    adopted: bool = False

    def begin(self) -> None:
        """Remove the leftovers and write the manifest: from here on the folder is this run's.

        Raises OSError when the folder does not take it.
        """
        # Marks go first: if this is cut off, what is left counts as missing, not as done.
        self.folder.remove(name for name in self.leftovers if name.endswith(STATS_SUFFIX))
        self.folder.remove(self.leftovers)
        self.save()

    @property
    def segment(self) -> Segment:
        """The segment that this run works on."""
        return self.segments[self.current]

    def committed_here(self) -> set[int]:
        """The committed shards of the current segment."""
        return self.committed & _span(self.segment, self.committed)

    def set_shard_count(self, count: int) -> None:
        """The input of the current segment turned out to have this many shards."""
        if self.segment.shard_count != count:
            self.segments[self.current] = replace(self.segment, shard_count=count)
            self.save()

    def save(self) -> None:
        document = {"version": FORMAT_VERSION, "segments": [asdict(s) for s in self.segments]}
        self.folder.write_bytes(MANIFEST, json.dumps(document, indent=1).encode())


def _span(segment: Segment, committed: set[int]) -> set[int]:
    if segment.shard_count is not None:
        return set(range(segment.first_shard, segment.first_shard + segment.shard_count))
    return {number for number in committed if number >= segment.first_shard}


def open_manifest(
    folder: OutputFolder,
    mode: str,
    fingerprint: dict[str, Any],
    options: dict[str, Any],
    shard_count: int | None,
    holds: Callable[[OutputFolder, set[int]], str | None],
    inside: Iterable[str] = (),
) -> Manifest:
    """The manifest of a folder, set to the segment that the run works on. Writes nothing.

    Leftovers are the files of shards without a commit marker, in mode `overwrite` all shards.

    Args:
        mode: `incremental`, `overwrite` or `extend`.
        fingerprint, options: what the run's input and options are told by.
        shard_count: shards of the run's input, None if unknown yet.
        holds: asked when there are shards and no manifest, whether they are of this input:
            None, or a line that says why not.
        inside: folders in it that hold files of shards as well.

    Raises:
        UsageError: the folder belongs to another input or to other options.
        OSError: it cannot be read.
    """
    names = folder.names()
    names += [name for place in inside for name in folder.names(place)]
    segments = read_segments(folder)
    known = bool(segments)
    committed = committed_shards(names)
    new = Segment(fingerprint, options, 0, shard_count)
    if mode == "overwrite":
        found, unrecognized = _shard_files(folder, names)
        return Manifest(folder, [new], set(), leftovers=found, unrecognized=unrecognized)
    while segments and not committed & _span(segments[-1], committed):
        segments.pop()  # nothing came of it: it binds nobody
    if not segments and committed:
        problem = holds(folder, committed)
        if problem is not None:
            raise UsageError(
                f"{folder.path} holds shards that do not belong to this input ({problem}): choose "
                "another --output_folder, or start anew with --incremental_mode overwrite"
            )
        manifest = Manifest(folder, [new], committed, adopted=True)
    elif not segments:
        found, _ = _shard_files(folder, names)
        if found and not known:
            raise UsageError(
                f"{folder.path} holds {found[0]}, which this run would replace, and no record "
                "of what made it: choose another --output_folder, or replace all files of that "
                "kind with --incremental_mode overwrite"
            )
        manifest = Manifest(folder, [new], committed)
    else:
        manifest = Manifest(folder, segments, committed)
        manifest.current = _choose(manifest, new, mode)
    missing = [name for name in names if shard_of_file(name) not in committed]
    manifest.leftovers, manifest.unrecognized = _shard_files(folder, missing)
    return manifest


def _choose(manifest: Manifest, new: Segment, mode: str) -> int:
    """The place of the segment to work on; `extend` may add one."""
    segments = manifest.segments
    if new.options != segments[-1].options:
        raise UsageError(
            f"{manifest.folder.path} was made with other options "
            f"({_difference(segments[-1].options, new.options, '--')}): use those, choose another "
            "--output_folder, or start anew with --incremental_mode overwrite"
        )
    for place, segment in enumerate(segments):
        if segment.fingerprint == new.fingerprint:
            return place
    if mode == "incremental":
        raise UsageError(
            f"{manifest.folder.path} was made from another input "
            f"({_changed_input(segments[-1].fingerprint, new.fingerprint)}): to add this one use "
            "--incremental_mode extend, to start anew --incremental_mode overwrite"
        )
    last = segments[-1]
    if last.shard_count is None:
        raise UsageError(
            f"the last input of {manifest.folder.path} was never read to its end, so nobody knows "
            "where its shards end: finish it first, with its own --url_list"
        )
    segments.append(replace(new, first_shard=last.first_shard + last.shard_count))
    return len(segments) - 1


def read_segments(folder: OutputFolder) -> list[Segment]:
    """The segments that the manifest of a folder lists; none where there is no manifest.

    Raises:
        UsageError: it is damaged, or of another version.
        OSError: it cannot be read.
    """
    if not folder.exists(MANIFEST):
        return []
    try:
        document = json.loads(folder.read_bytes(MANIFEST))
        if document["version"] != FORMAT_VERSION:
            raise UsageError(
                f"{folder.path} was made by another version of img2ds "
                f"(manifest {document['version']}, this one knows {FORMAT_VERSION})"
            )
        return [Segment(**segment) for segment in document["segments"]]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"{folder.path}/{MANIFEST} is damaged ({error}): restore it, or remove it to have the "
            "shards compared with the input"
        ) from None


def _shard_files(folder: OutputFolder, names: list[str]) -> tuple[list[str], list[str]]:
    """Those that img2ds may have made, and those that are called as a folder of its own.

    Of the latter, empty ones are nobody's. Raises OSError.
    """
    found: list[str] = []
    unrecognized: list[str] = []
    for name in names:
        if not is_number(name):
            if shard_of_file(name) is not None:
                found.append(name)
            continue
        inside = folder.inside(name)
        if inside != []:
            (found if is_shard_folder(name, inside or ()) else unrecognized).append(name)
    return found, unrecognized


def _difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str:
    changes = [
        f"{prefix}{name} {new.get(name)!r}, there {old.get(name)!r}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    return "; ".join(changes)


def _changed_input(old: dict[str, Any], new: dict[str, Any]) -> str:
    """In a few words what makes one fingerprint differ from another."""
    if old["format"] != new["format"] or old["max_rows"] != new["max_rows"]:
        own = ("format", "max_rows")
        return _difference({k: old[k] for k in own}, {k: new[k] for k in own})
    before = {file["name"]: file for file in old["files"]}
    after = {file["name"]: file for file in new["files"]}
    for name, file in after.items():
        if name not in before:
            return f"{name} is new" if set(before) & set(after) else f"there {min(before)}"
        if file != before[name]:
            for what in ("size", "rows", "schema"):
                if file[what] != before[name][what]:
                    return f"{what} of {name} {file[what]}, there {before[name][what]}"
            return f"the content of {name} changed"
    for name in before:
        if name not in after:
            return f"{name} is missing"
    rest = [key for key in {**old, **new} if key != "files"]
    return _difference({k: old.get(k) for k in rest}, {k: new.get(k) for k in rest})
