"""img2dataset, and the HTTP clients it is not made of, in a virtual environment to compare with.

`python -m benchmark.peer` makes it in `benchmark/.peer/`; nothing of it is imported here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

from benchmark.world import stop

#: The version all comparisons are made with.
VERSION = "1.47.0"
#: What `benchmark.fetch` compares with in addition to img2dataset.
CLIENTS = ("aiohttp", "pycurl")
HOME = Path(__file__).parent / ".peer"


def install(home: Path) -> None:
    """Create the environment with pip; installed packages are kept."""
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True, clear=True)
    wanted = [] if (home / "bin" / "img2dataset").exists() else [f"img2dataset=={VERSION}"]
    wanted += [name for name in CLIENTS if not has(home, name)]
    if not wanted:
        return
    print(f"installing {', '.join(wanted)}", file=sys.stderr)
    done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=False)
    if done.returncode:
        stop(f"pip could not install {', '.join(wanted)}; --peer_venv takes one you have")


def has(home: Path, package: str) -> bool:
    """Whether `package` is installed in `home`."""
    return any(home.glob(f"lib/python*/site-packages/{package}-*.dist-info"))


def program(home: Path) -> str:
    """Its command; ends the benchmark in one line when there is none."""
    path = home / "bin" / "img2dataset"
    if not path.exists():
        stop(f"there is no img2dataset in {home}: run python -m benchmark.peer")
    return str(path)


def version(home: Path) -> str:
    """Of the img2dataset that is in `home`."""
    found = sorted(home.glob("lib/python*/site-packages/img2dataset-*.dist-info"))
    return found[-1].name.split("-")[1].removesuffix(".dist") if found else "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer_venv", type=Path, default=HOME, help="where to make it")
    install(parser.parse_args().peer_venv)


if __name__ == "__main__":
    main()
