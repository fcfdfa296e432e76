"""Compiled extensions of the image pipeline: JPEG and PNG decoding, resampling.

Every one is optional. Set the environment variable `IMG2DS_NATIVE=0` to run without them: images
are then decoded by libjpeg-turbo, OpenCV and Pillow, and resized by OpenCV.
"""

from __future__ import annotations

from types import ModuleType

from img2ds.core.native import load_extension

#: Names of the extensions; `_jpeg` is built on x86-64 only.
EXTENSIONS = ("jpeg", "planes", "png", "resample")
#: What `INTERFACE` of an extension has to be, if it is not 1: it changes with the arguments of its
#: functions. An extension that was built before the last update is left out.
INTERFACES = {"jpeg": 2}


def load(name: str) -> ModuleType | None:
    """Return the extension `_NAME`; None if it is turned off, or not built from these sources."""
    module = load_extension(__name__, name)
    if getattr(module, "INTERFACE", 1) != INTERFACES.get(name, 1):
        return None
    return module


def loaded() -> list[str]:
    """Return the names of the extensions that are in use, sorted."""
    return [name for name in EXTENSIONS if load(name) is not None]
