"""Partial shards: what a shard has so far, put aside in `_img2ds/partial/` to be completed later.

There, a partial shard looks like a committed one: its data, its tables, and a marker that vouches
for them. Completing the shard begins with the rows that it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from img2ds.core.naming import STATS_SUFFIX, committed_shards, shard_of_file
from img2ds.storage import PRIVATE, OutputFolder

PARTIAL = f"{PRIVATE}/partial"


def partial_folder(folder: OutputFolder) -> OutputFolder:
    """Return the folder of the partial shards of `folder`; it need not exist."""
    # Without claims: its marker's hashes tell when two attempts have written one shard.
    return replace(folder, path=f"{folder.path}/{PARTIAL}", contended=False)


def partial_shards(folder: OutputFolder) -> set[int]:
    """Return the numbers of the partial shards of `folder`. Raises OSError."""
    return committed_shards(partial_folder(folder).names())


def remove_partial(folder: OutputFolder, name: str) -> None:
    """Remove the partial shard called `name`, such as `00042`. Raises OSError."""
    aside = partial_folder(folder)
    files = [file for file in aside.names() if file.startswith((f"{name}.", f"{name}_"))]
    # The marker goes first: if this is cut off, what is left counts for nothing.
    aside.remove([f"{name}{STATS_SUFFIX}", *files, name])


def remove_partials(folder: OutputFolder, keep: Callable[[int], bool]) -> None:
    """Remove the partial shards but those to `keep`, and the folder if none is left.

    Raises OSError.
    """
    aside = partial_folder(folder)
    names = aside.names()
    kept = set(filter(keep, committed_shards(names)))
    if not kept:
        folder.remove([PARTIAL] if names or folder.local else [])
        return
    gone = [name for name in names if _shard_of(name) not in kept]
    aside.remove(sorted(gone, key=lambda name: not name.endswith(STATS_SUFFIX)))


def _shard_of(name: str) -> int | None:
    return shard_of_file(name.replace("_rows.", ".").replace("_input.", "."))
