"""The command line of laion: `laion STAGE ...`, one subcommand a stage."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script."""
    print(
        "laion: no stage is built yet in this version; img2ds is (img2ds --help)", file=sys.stderr
    )
    sys.exit(2)
