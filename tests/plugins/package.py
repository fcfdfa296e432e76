"""The package of docs/plugins.md, installed by pip into a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "plugins.md"


def install(folder: Path) -> Path:
    """Write the package as the page has it, and install it; return where it can be imported."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    source = folder / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text("".join(b for kind, b in blocks if kind == "toml"))
    module = "\n\n".join(block for kind, block in blocks if kind == "python")
    (source / "img2ds_example.py").write_text(module)
    target = folder / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    return target


def environment(installed: Path) -> dict[str, str]:
    """The environment of a command that finds the package."""
    path = os.pathsep.join([str(installed), str(ROOT)])
    # A Ray of its own: one that runs here already does not know the folder.
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "RAY_ADDRESS": "local"}
