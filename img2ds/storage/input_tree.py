"""The files of a folder and of all folders in it, local or remote."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from img2ds.core.failure import UsageError
from img2ds.storage.filesystem import as_usage_error, local_path, resolve
from img2ds.storage.inputs import InputFile

#: Names that are passed over, with all that is in them: hidden files and files of tools.
_HIDDEN = (".", "_")


@dataclass(frozen=True, slots=True)
class InputTree:
    """A folder and files in it, at any depth, sorted by path. Their paths begin with its own."""

    path: str
    files: tuple[InputFile, ...]

    def name(self, file: InputFile) -> str:
        """Return the path of a file in the folder."""
        return file.path[len(self.path) + 1 :]


def find_tree(folder: str, extensions: Sequence[str]) -> InputTree:
    """Return the files of a folder at any depth that end in one of `extensions`.

    Names that begin with a dot or an underscore are passed over. Links to folders are not followed.

    Args:
        extensions: endings with their dot, in lower case; files' own may have any case.

    Raises:
        UsageError: the folder does not exist or cannot be listed.
    """
    local = local_path(folder)
    endings = tuple(extensions)
    with as_usage_error(f"read {folder}"):
        if local is None:
            return _find(folder, endings)
        if not os.path.isdir(local):
            raise UsageError(f"there is no folder {folder}")
        return _sorted(local, _walk(local, endings))


def _sorted(path: str, files: Iterable[InputFile]) -> InputTree:
    return InputTree(path.rstrip("/"), tuple(sorted(files, key=lambda file: file.path)))


def _walk(folder: str, extensions: tuple[str, ...]) -> Iterator[InputFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_HIDDEN):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, extensions)
            elif entry.name.lower().endswith(extensions) and entry.is_file():
                yield InputFile(entry.path, entry.stat().st_size)


def _find(folder: str, extensions: tuple[str, ...]) -> InputTree:
    fs, path = resolve(folder)
    entries: dict[str, dict[str, Any]] = fs.find(path, detail=True)
    files = [
        InputFile(cast(str, fs.unstrip_protocol(name)), entry.get("size"))
        for name, entry in entries.items()
        if name.lower().endswith(extensions)
        and not any(p.startswith(_HIDDEN) for p in name.removeprefix(path).strip("/").split("/"))
    ]
    return _sorted(cast(str, fs.unstrip_protocol(path)), files)
