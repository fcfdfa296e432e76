"""The compiled extension of `laion dedup`: bits of the filter, hosts of URLs, sorting.

It is optional. Set the environment variable `IMG2DS_NATIVE=0` to run without it; the output is the
same.
"""

from __future__ import annotations

from types import ModuleType

from img2ds.core.native import load_extension

#: Names of the extensions.
EXTENSIONS = ("pairs",)


def load(name: str) -> ModuleType | None:
    """Return the extension `_NAME`; None if it is turned off or not built."""
    return load_extension(__name__, name)


def loaded() -> list[str]:
    """Return the names of the extensions that are in use, sorted."""
    return [name for name in EXTENSIONS if load(name) is not None]
