"""Run the command line: `python -m img2ds`."""

from __future__ import annotations

from img2ds.cli import main

if __name__ == "__main__":
    main()
