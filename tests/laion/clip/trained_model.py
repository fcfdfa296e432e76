"""The model of shapes and colours that tests share, in a shorter training than the command's."""

from __future__ import annotations

from pathlib import Path

from laion.clip.tiny import write

#: Enough for an AUC of 0.999 on pictures not seen; takes some 20 s of one core.
STEPS, PICTURES = 400, 3500


def train_tiny(folder: Path) -> tuple[str, str]:
    """Train into a folder; the paths of the model's file and of its weights."""
    return write(str(folder), seed=0, steps=STEPS, count=PICTURES)
