"""What img2ds keeps for itself in an output folder, for tests that look at everything else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from img2ds.core.state import is_state
from img2ds.storage import OutputFolder


def data_names(folder: Path) -> set[str]:
    """The entries of an output folder, except those of img2ds itself."""
    return {name for name in os.listdir(folder) if not is_state(name)}


def remove_state(folder: Path) -> None:
    """Leave what img2dataset would have left."""
    for name in filter(is_state, os.listdir(folder)):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def published(folder: OutputFolder) -> list[str]:
    """The same, sorted, of any folder."""
    return [name for name in folder.names() if not is_state(name)]
