"""The function and the command: img2ds's."""

from __future__ import annotations

from img2ds.api import download
from img2ds.cli import main

__all__ = ["download", "main"]

if __name__ == "__main__":
    main()
