"""`sizes.json`: written when asked for, and known to be out of date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import img2ds
from img2ds import cli
from img2ds.core.failure import UsageError
from img2ds.core.sample import FileRecord
from img2ds.engine.marker import marker_json
from img2ds.manage.dataset import Dataset
from img2ds.report.tally import Tally
from tests.downloader.test_job import Background, flags, write_list
from tests.state import data_names


def commit(folder: Path, number: int, successes: int) -> None:
    tar = folder / f"{number:05d}.tar"
    tar.write_bytes(b"tar")
    counts = Tally(successes=successes)
    marker = marker_json(counts, 0.0, 1.0, [FileRecord(tar.name, 3, "")])
    (folder / f"{number:05d}_stats.json").write_bytes(marker)


def status(folder: Path, *more: str) -> int:
    return cli.run(["status", f"--output_folder={folder}", *more])


def listed(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "sizes.json").read_text())
    return found


def test_status_writes_it_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(tmp_path, 0, 7)
    commit(tmp_path, 1, 0)
    (tmp_path / "00002.tar").write_bytes(b"half")
    status(tmp_path)
    assert not (tmp_path / "sizes.json").exists()
    status(tmp_path, "--sizes_json")
    assert listed(tmp_path) == {"00000.tar": 7, "00001.tar": 0}
    assert Dataset.open(str(tmp_path)).unrecognized() == []
    assert "sizes.json" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"00000.tar": 6}', "has 6 for 00000.tar, not 7"),
        ('{"00000.tar": 7, "00003.tar": 1}', "00003.tar is not committed"),
        ("{}", "has nothing for 00000.tar, not 7"),
        ("[]", "is no object of numbers by tar"),
        ("{", "is not JSON"),
    ],
)
def test_status_and_verify_say_what_is_wrong_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, words: str
) -> None:
    commit(tmp_path, 0, 7)
    (tmp_path / "sizes.json").write_text(content)
    for command in (["status"], ["verify", "--fast", "--processes_count=1"]):
        cli.run([*command, f"--output_folder={tmp_path}"])
        assert words in capsys.readouterr().out
        cli.run([*command, f"--output_folder={tmp_path}", "--json"])
        assert words in json.loads(capsys.readouterr().out)["sizes_json"]
    status(tmp_path, "--sizes_json")
    assert listed(tmp_path) == {"00000.tar": 7}


def test_a_download_writes_it_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Background() as address:
        arguments = flags(address, write_list(tmp_path / "list.txt"), out, processes_count=1)
        arguments["output_format"] = "webdataset"
        img2ds.download(**arguments, max_rows=5)
        assert "sizes.json" not in data_names(out)
        img2ds.download(**arguments, max_rows=5, sizes_json=True)
    assert listed(out) == {"00000.tar": 5}


def test_other_formats_have_no_tars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"use --output_format webdataset$"):
        img2ds.download("list.txt", output_folder=str(tmp_path), sizes_json=True)
    commit(tmp_path, 0, 1)
    (tmp_path / "00000.tar").rename(tmp_path / "00000.parquet")
    assert status(tmp_path, "--sizes_json") == 2
    assert "counts the samples of tars" in capsys.readouterr().err
