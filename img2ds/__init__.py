"""Turn a list of image URLs into a training dataset.

import img2ds
report = img2ds.download("urls.txt", output_folder="out", output_format="webdataset")
for sample in img2ds.stream(["https://example.com/a.jpg"]): ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from img2ds.api import download, stream
    from img2ds.config.options import Options
    from img2ds.core.failure import UsageError
    from img2ds.core.sample import Sample
    from img2ds.downloader.job import Report
    from img2ds.downloader.stream import Stream

__version__ = "0.1.0"
__all__ = ["Options", "Report", "Sample", "Stream", "UsageError", "download", "stream"]

_HOMES = {
    "Options": "img2ds.config.options",
    "Report": "img2ds.downloader.job",
    "Sample": "img2ds.core.sample",
    "Stream": "img2ds.downloader.stream",
    "UsageError": "img2ds.core.failure",
    "download": "img2ds.api",
    "stream": "img2ds.api",
}


def __getattr__(name: str) -> Any:
    # Imported at first use: the command line reports a typing mistake without loading codecs.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'img2ds' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
