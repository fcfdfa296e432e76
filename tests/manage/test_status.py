"""`img2ds status`: what a folder holds and lacks, by its manifest and commit markers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from img2ds import cli
from img2ds.core.failure import UsageError
from img2ds.core.state import MANIFEST
from img2ds.manage.options import StatusOptions
from img2ds.manage.status import Status, run
from img2ds.manage.status_page import numbers
from img2ds.storage import OutputFolder
from tests.manage.dataset_rows import rows
from tests.manage.img2dataset_folder import write_shard
from tests.state import data_names


def status(path: Path) -> Status:
    return run(StatusOptions(output_folder=str(path)))


def test_a_finished_run_is_complete(made: Path) -> None:
    found = status(made)
    assert found.exit_code == 0
    assert (found.committed, found.rows, found.tally.successes) == (4, 35, 30)
    assert found.tally.reasons == {
        reason: 1 for reason in (row.reason for row in rows()) if reason is not None
    }
    assert (found.tally.failed_to_download, found.tally.failed_to_resize) == (4, 1)
    assert found.transient == 1  # the 500
    files = [made / name for name in data_names(made)]
    assert (found.files, found.size) == (12, sum(p.stat().st_size for p in files))
    page = found.text
    assert "complete, 4 shards" in page
    assert "list.parquet (parquet); 4 of 4 shards committed" in page
    assert f"img2ds retry --output_folder {made}" in page


def test_missing_shards_leftovers_and_those_in_the_making(made: Path) -> None:
    (made / "00001_stats.json").unlink()
    for path in made.glob("00002*"):
        path.unlink()
    found = status(made)
    assert found.exit_code == 1
    assert found.segments[0].missing == [1, 2]
    assert (found.leftovers, found.making, found.holder) == ([1], [], None)
    assert "rerun the command that made it" in found.text
    folder = OutputFolder.open(str(made))
    with folder.lock():
        Path(folder.staging_path("00002.tar")).write_bytes(b"half")
        found = status(made)
        assert (found.leftovers, found.making) == ([1], [2])
        assert "in use by process" in found.text
    folder.close()
    assert status(made).holder is None


def test_the_lock_of_a_dead_run_blocks_nothing(made: Path) -> None:
    (made / ".img2ds-lock").write_text(json.dumps({"pid": 1, "host": "h", "time": 0}))
    assert status(made).holder is None


def test_a_stream_that_was_not_read_to_its_end_is_incomplete(made: Path) -> None:
    document = json.loads((made / MANIFEST).read_text())
    document["segments"][0]["shard_count"] = None
    (made / MANIFEST).write_text(json.dumps(document))
    found = status(made)
    assert found.exit_code == 1
    assert "the total is not known yet" in found.text


def test_a_damaged_marker_is_reported_and_not_counted(made: Path) -> None:
    (made / "00000_stats.json").write_bytes(b'{"count": 1')
    found = status(made)
    assert found.exit_code == 1
    assert found.rows == 25
    assert list(found.damaged) == [0]
    assert "--repair" in found.text


def test_a_folder_of_img2dataset(tmp_path: Path) -> None:
    write_shard(tmp_path / "img2dataset", 0)
    write_shard(tmp_path / "img2dataset", 1)
    found = status(tmp_path / "img2dataset")
    assert found.exit_code == 0
    assert (found.output_format, found.by_img2dataset, found.rows) == ("webdataset", 2, 20)
    assert found.tally.reasons == {
        "http_404": 4, "connect_timeout": 2, "http_503": 2, "decode_error": 2
    }  # fmt: skip
    (tmp_path / "img2dataset" / "00000_stats.json").unlink()
    assert status(tmp_path / "img2dataset").segments[0].missing == [0]


@pytest.mark.parametrize("there", [None, "empty", "file"])
def test_no_data_set_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], there: str | None
) -> None:
    path = tmp_path / "x"
    if there == "empty":
        path.mkdir()
    elif there == "file":
        path.write_text("x")
    assert cli.run(["status", "--output_folder", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert there != "empty" or not list(path.iterdir())


def test_a_stage_of_laion_is_refused(made: Path) -> None:
    document = json.loads((made / MANIFEST).read_text())
    document["segments"][0]["options"]["stage"] = "score"
    (made / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(UsageError, match="made by laion score"):
        status(made)


def test_json_says_all_of_it(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["status", "--output_folder", str(made), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["complete"] is True
    assert (document["rows"], document["successes"]) == (35, 30)
    assert document["segments"][0]["shard_count"] == 4
    assert sum(document["reasons"].values()) == 5


def test_a_remote_folder(remote: str) -> None:
    found = run(StatusOptions(output_folder=remote))
    assert (found.rows, found.files, found.exit_code) == (35, 12, 0)
    assert found.size > 10_000
    with OutputFolder.open(remote).lock():
        holder = run(StatusOptions(output_folder=remote)).holder
        assert holder is not None
        assert holder.startswith("process")
    with pytest.raises(UsageError, match="there is no folder"):
        run(StatusOptions(output_folder=f"{remote}-nowhere"))


def test_formatted_numbers() -> None:
    assert numbers([3, 7, 8, 9, 12]) == "3, 7-9, 12"
    assert numbers(range(0, 40, 2)) == "0, 2, 4, 6, 8, 10, 12, 14 and 12 more"
