"""The record of a file that is to be published: what a commit marker vouches for."""

from __future__ import annotations

import hashlib
import os

from img2ds.core.sample import FileRecord

_BLOCK = 1 << 20


def file_record(name: str, path: str) -> FileRecord:
    """The record of the file at the local `path`, to be published as `name`. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return FileRecord(name, os.path.getsize(path), digest.hexdigest())
