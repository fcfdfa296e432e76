"""Partial shards: what a shard has so far, saved in `.img2ds/partial/` to be completed later.

There, a partial shard looks like a committed one: its data, its tables, and a marker that vouches
for them. Completing the shard begins with the rows that it has. A shard that is saved once more
goes to the other one of two places, so that nothing is lost if that fails.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace

from img2ds.core.naming import STATS_SUFFIX, committed_shards, shard_of_file
from img2ds.core.state import WORK, name_before
from img2ds.storage import OutputFolder

PARTIAL = f"{WORK}/partial"
#: The two places, folders in it.
PLACES = ("0", "1")


def partial_folder(folder: OutputFolder, place: str) -> OutputFolder:
    """Return one of the folders of the partial shards of `folder`; it need not exist."""
    # Without claims: its marker's hashes tell when two attempts have written one shard.
    return replace(folder, path=f"{folder.path}/{PARTIAL}/{place}", contended=False)


def partial_shards(folder: OutputFolder) -> set[int]:
    """Return the numbers of the partial shards of `folder`, also of an older one.

    Raises OSError.
    """
    places = [f"{root}/{place}" for root in (PARTIAL, name_before(PARTIAL)) for place in PLACES]
    names = [name.rpartition("/")[2] for place in places for name in folder.names(place)]
    return committed_shards(names)


def remove_partial(folder: OutputFolder, name: str, places: tuple[str, ...] = PLACES) -> None:
    """Remove the partial shard called `name`, such as `00042`. Raises OSError."""
    for place in places:
        there = partial_folder(folder, place)
        files = [file for file in there.names() if file.startswith((f"{name}.", f"{name}_"))]
        # The marker goes first: if this is cut off, what is left counts for nothing.
        there.remove([f"{name}{STATS_SUFFIX}", *files, name])


def remove_partials(folder: OutputFolder, keep: Callable[[int], bool]) -> None:
    """Remove the partial shards but those to `keep`, and the folder if none is left.

    Those of other ranks are left alone. Raises OSError.
    """
    names = {place: partial_folder(folder, place).names() for place in PLACES}
    kept = {place: set(filter(keep, committed_shards(names[place]))) for place in PLACES}
    if not any(kept.values()) and folder.rank.alone:
        folder.remove([PARTIAL] if folder.local or any(names.values()) else [])
        return
    for place in PLACES:
        gone = [
            name
            for name in names[place]
            if (shard := _shard_of(name)) not in kept[place]
            and (folder.rank.alone or (shard is not None and folder.rank.owns(shard)))
        ]
        gone.sort(key=lambda name: not name.endswith(STATS_SUFFIX))
        partial_folder(folder, place).remove(gone)
    if folder.local:
        for name in (*(f"{PARTIAL}/{place}" for place in PLACES), PARTIAL):
            with contextlib.suppress(OSError):  # there is something in it
                os.rmdir(os.path.join(folder.path, name))


def _shard_of(name: str) -> int | None:
    return shard_of_file(name.replace("_rows.", ".").replace("_input.", "."))
