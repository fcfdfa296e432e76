"""img2dataset's interface on top of img2ds; see docs/from-img2dataset.md there."""

from __future__ import annotations

try:
    import img2ds  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "img2ds":
        raise
    raise ModuleNotFoundError(
        "this img2dataset needs img2ds: run `pip install .` in its repository", name="img2ds"
    ) from None

from img2dataset.main import download, main

__all__ = ["download", "main"]
