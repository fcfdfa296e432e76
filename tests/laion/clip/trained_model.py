"""The model of shapes and colours that tests share, with a shorter training than the command's."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from importlib.metadata import version
from pathlib import Path

import laion.clip
from img2ds import image
from laion.clip.tiny import write

#: Processors differ in the last digits of a sum: 400 steps are enough for all tests on some, and
#: too few on others.
STEPS, IMAGES = 600, 3500


def train_tiny(folder: Path) -> tuple[str, str]:
    """Train into a folder; return the paths of the model's file and of its weights."""
    return write(str(folder), seed=0, steps=STEPS, count=IMAGES)


def trained_once(folder: Path, cache: Path | None) -> tuple[str, str]:
    """Copy the model that an earlier session has trained into `folder`, or train it now.

    Training is deterministic: weights in `cache` hold as long as the sources and libraries that
    they depend on are the same.
    """
    if cache is None:
        return train_tiny(folder)
    digest = hashlib.sha256(f"{STEPS} {IMAGES}".encode())
    for name in ("torch", "open_clip_torch", "numpy"):
        digest.update(version(name).encode())
    for package in (laion.clip, image):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    kept = cache / digest.hexdigest()[:16]
    with (cache / "lock").open("w") as lock:  # one process trains, others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "done").exists():
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir()
            train_tiny(kept)
            (kept / "done").touch()
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    return str(folder / "tiny.json"), str(folder / "tiny.pt")
