"""Images in a folder of files, by the paths that the rows of an index have.

Such paths are those on the machine that made the embeddings, and anybody may have written them:
only files in the folder are read, whatever a path says.
"""

from __future__ import annotations

import os
from typing import Any

from img2ds.core.failure import UsageError

#: The largest file that is read: no image of a dataset is larger.
MAX_BYTES = 100_000_000


class FileImages:
    """The images in a folder.

    Attributes:
        columns: those of a row that `name` looks at.

    Raises:
        UsageError: there is no such folder.
    """

    columns = ("image_path",)

    def __init__(self, folder: str) -> None:
        if not os.path.isdir(folder):
            raise UsageError(f"--shards: no such folder '{folder}'")
        self._root = os.path.realpath(folder)

    def name(self, row: dict[str, Any]) -> str | None:
        """Return the path of the image of a row; None where it has none."""
        path: str | None = row["image_path"]
        return path or None

    def read(self, name: str) -> bytes | None:
        """Read an image; None when the folder does not have it. Raises OSError."""
        path = self._find(name)
        if path is None or os.path.getsize(path) > MAX_BYTES:
            return None
        with open(path, "rb") as file:
            return file.read()

    def _find(self, name: str) -> str | None:
        """The path as it is, below the folder, or behind the last part with the folder's name."""
        if "\0" in name:
            return None
        parts = name.split("/")
        folder = os.path.basename(self._root)
        places = [name, os.path.join(self._root, name.lstrip("/"))]
        if folder in parts:
            last = len(parts) - 1 - parts[::-1].index(folder)
            places.append(os.path.join(self._root, *parts[last + 1 :]))
        for place in places:
            real = os.path.realpath(place)
            if real.startswith(self._root + os.sep) and os.path.isfile(real):
                return real
        return None
