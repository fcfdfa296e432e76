"""Console scripts as processes: encodings of the locale, and readers that go away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: An ASCII locale, of which Python is kept from making UTF-8 by itself.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*words: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", *words], check=False, capture_output=True,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("environment", [ASCII, {}], ids=["ascii", "default"])
@pytest.mark.parametrize("name", ["\u00fc".encode(), b"\xe9"], ids=["utf-8", "no_text"])
def test_names_of_files_in_any_locale(
    tmp_path: Path, name: bytes, environment: dict[str, str]
) -> None:
    list_path = os.path.join(os.fsencode(tmp_path), name + b".txt")
    out = os.path.join(os.fsencode(tmp_path), name)
    with open(list_path, "w") as file:
        file.write("ftp://host.example/a.jpg\n")
    flags = [b"--output_format=webdataset", b"--processes_count=1"]
    done = run("img2ds", b"--url_list", list_path, b"--output_folder", out, *flags, **environment)
    assert done.returncode == 3, done.stderr.decode()
    assert b"1 shard written in " + out in done.stderr + done.stdout
    for command in ("status", "verify"):
        checked = run("img2ds", command, b"--output_folder", out, **environment)
        assert checked.returncode == 0, checked.stderr.decode()
    assert sorted(os.listdir(tmp_path)) == sorted(map(os.fsdecode, (name, name + b".txt")))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8:strict"])
def test_standard_output_of_any_encoding_takes_every_name(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "list.txt").write_text("ftp://host.example/a.jpg\n")
    out = os.path.join(os.fsencode(tmp_path), "\u00fc\u2603".encode() + b"\xff")
    flags = [b"--output_format=webdataset", b"--processes_count=1"]
    list_path = os.fsencode(tmp_path / "list.txt")
    done = run("img2ds", b"--url_list", list_path, b"--output_folder", out, *flags,
               PYTHONIOENCODING=encoding)  # fmt: skip
    assert done.returncode == 3, done.stderr.decode()
    assert b"1 shard written in " + os.fsencode(tmp_path) in done.stdout
    checked = run("img2ds", "status", b"--output_folder", out, PYTHONIOENCODING=encoding)
    assert checked.returncode == 0, checked.stderr.decode()
    assert (out in checked.stdout) == (encoding == "utf-8:strict")


@pytest.mark.parametrize("program", ["img2ds", "laion"])
def test_a_reader_that_goes_away_is_no_traceback(program: str) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", program, "--help"], check=False, stdout=write,
            stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
