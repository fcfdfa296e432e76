"""What img2ds keeps for itself in an output folder: read, written, and moved from its former place.

Folders of before have it in `_img2ds/`. It is read there as it is. The first run that writes any of
it moves all; one that is killed in between leaves each file in one of the two places.
"""

from __future__ import annotations

import contextlib
import os
import shutil

from img2ds.core.state import BEFORE, MANIFEST, is_obsolete, name_before, name_now
from img2ds.storage.filesystem import as_os_error, resolve
from img2ds.storage.output import OutputFolder
from img2ds.storage.tree import flush


def read_state(folder: OutputFolder, name: str) -> bytes | None:
    """Return the content of the state file `name`; None if there is none. Raises OSError."""
    for place in (name, name_before(name), name):  # a run may move it between two looks
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return folder.read_bytes(place)
    return None


def write_state(folder: OutputFolder, name: str, data: bytes) -> None:
    """Write the state file `name`, whole or not at all. Raises OSError."""
    move_state(folder)
    folder.write_bytes(name, data)


def move_state(folder: OutputFolder) -> None:
    """Move the state of an older folder to where it is today. Call it while the folder is locked.

    Raises OSError.
    """
    if folder.local:
        _move_local(folder.path)
    elif folder.exists(BEFORE):
        with as_os_error(f"move {folder.path}/{BEFORE}"):
            _move_remote(folder.path)


def _move_local(path: str) -> None:
    before = os.path.join(path, BEFORE)
    if os.path.islink(before) or not os.path.isdir(before):
        return
    for name in filter(is_obsolete, os.listdir(before)):
        if os.path.isdir(os.path.join(before, name)):
            shutil.rmtree(os.path.join(before, name))
        else:
            os.unlink(os.path.join(before, name))
    found = [
        os.path.relpath(os.path.join(place, name), before)
        for place, _, names in os.walk(before)
        for name in names
    ]
    for old, new in _moves(found):
        target = os.path.join(path, new)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.lexists(target):
            os.unlink(os.path.join(before, old))
        else:
            os.rename(os.path.join(before, old), target)
    flush(path)
    for place, _, _ in os.walk(before, topdown=False):
        with contextlib.suppress(OSError):  # a file of somebody else is in there
            os.rmdir(place)


def _move_remote(path: str) -> None:
    fs, root = resolve(path)
    before = f"{root.rstrip('/')}/{BEFORE}"
    fs.invalidate_cache()
    found = [place.partition(f"/{BEFORE}/")[2] for place in fs.find(before)]
    for old, new in _moves(found):
        target = f"{root.rstrip('/')}/{new}"
        if fs.exists(target):
            fs.rm_file(f"{before}/{old}")
        else:
            fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            fs.mv(f"{before}/{old}", target)
    for old in filter(is_obsolete, found):
        fs.rm_file(f"{before}/{old}")
    fs.invalidate_cache()
    if not fs.find(before):
        with contextlib.suppress(FileNotFoundError):  # as where folders are no more than names
            fs.rm(before, recursive=True)


def _moves(found: list[str]) -> list[tuple[str, str]]:
    """Return old and new names in the order in which they are moved: the manifest is the last."""
    moves = [(old, new) for old in sorted(found) if (new := name_now(old)) is not None]
    return sorted(moves, key=lambda move: move[1] == MANIFEST)
