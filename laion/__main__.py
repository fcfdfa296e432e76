"""Run the command line: `python -m laion`."""

from __future__ import annotations

from laion.cli import main

if __name__ == "__main__":
    main()
