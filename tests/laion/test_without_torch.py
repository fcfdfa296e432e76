"""Modules that need no torch import without it; the others name the command that installs it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

#: Everything that an extra brings.
BLOCKED = ("torch", "torchvision", "open_clip", "timm", "huggingface_hub")

PROGRAM = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import img2ds, img2ds.cli, img2ds.downloader.job
from laion import cli
from laion.commands import COMMANDS
from importlib import import_module
for command in COMMANDS.values():
    import_module(command.options.partition(":")[0])
assert cli.run(["--help"]) == 0
assert cli.run(["score", "--help"]) == 0
sys.exit(cli.run(sys.argv[1:]))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False
    )


def test_everything_imports_without_torch() -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    assert "laion score" in done.stdout


def test_what_needs_it_says_how_to_install_it(tmp_path: Path) -> None:
    tarfile.open(tmp_path / "00000.tar", "w").close()
    for arguments in (
        ("tiny_clip", "--output_folder", str(tmp_path)),
        ("score", "--input", str(tmp_path / "00000.tar"), "--output_folder", f"{tmp_path}/out"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
        assert "pip install 'img2ds[clip]'" in done.stderr


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("jinja2", ("run", "--config", "run.yaml")),
        ("yaml", ("run", "--config", "run.yaml")),
        ("xxhash", ("extract", "--wat", "wats", "--output_folder", "out")),
    ],
)
def test_a_package_that_is_missing_is_named_in_one_line(
    package: str, arguments: tuple[str, ...]
) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; from laion.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"needs the package {package}" in done.stderr
    assert "pip install 'img2ds[laion]'" in done.stderr
