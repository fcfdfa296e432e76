"""The command line: wrong use is one line and exit code 2, before any work starts."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import img2ds
from img2ds import cli
from img2ds.config.options import FLAGS, Options
from img2ds.config.positions import POSITIONS
from img2ds.core.failure import UsageError
from img2ds.manage.commands import COMMANDS
from laion import cli as laion_cli

WEBDATASET = ("--output_format", "webdataset")


def test_names_are_read_as_typed() -> None:
    flags = cli.read_flags(
        ["--url-list", "-", "--output_format=webdataset", "--skip_reencode", "--noextract_exif",
         "--save_additional_columns", '["a","b"]', "--headers", '{"Referer": "x"}',
         "--max_image_bytes", "1MB", "--concurrency", "7", "--url_col", "007",
         "--disallowed_header_directives", "[]", "--compute_hash", "None", "--timeout", "2.5"]
    )  # fmt: skip
    options = Options.from_flags(flags)
    assert options.input.url_list == "-"
    assert options.input.url_col == "007"
    assert options.input.save_additional_columns == ("a", "b")
    assert options.image.skip_reencode is True
    assert options.image.extract_exif is False
    assert options.image.compute_hash is None
    assert options.network.headers == {"Referer": "x"}
    assert options.network.max_image_bytes == 1_000_000
    assert options.network.thread_count == 7
    assert options.network.disallowed_header_directives == ()
    assert options.network.timeout == 2.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--url_list is required"),
        (["--output_folder", "x"], "--url_list is required"),
        (["urls.txt"], "there is no file or folder urls.txt"),
        (["-u", "x"], "-u can be short for --url_list, --upscale_interpolation, --url_col or"),
        (["x", "out"], "by position the output folder comes third: img2ds LIST 256 out"),
        (["x", __file__, __file__], "quote a glob, so that the shell does not expand it: "),
        (["--url_list", "x", "--image_size", "8", __file__], "where --output_folder was expected"),
        (["x", *map(str, range(38))], "unexpected argument '37'"),
        (["--url_lst", "x"], "did you mean --url_list?"),
        (["--url_list"], "--url_list needs a value"),
        (["--url_list", "--output_folder", "x"], "--url_list needs a value"),
        (["--url_list", "x", "--url-list", "y"], "--url_list is given twice"),
        (["--url_list", "x", "--image_size", "big"], "--image_size takes a whole number"),
        (["--url_list", "x", "--image_size", "0"], "--image_size must be at least 1"),
        (["--url_list", "x", "--output_format", "webdatset"], "did you mean webdataset?"),
        (
            ["statu", "--output_folder", "x"],
            "there is no file or folder statu; did you mean img2ds status?",
        ),
        (["--url_list", "x"], "there is no file or folder x"),
        (
            ["--url_list", "x", "--bbox_col", "b", "--disable_all_reencoding", *WEBDATASET],
            "--bbox_col and --disable_all_reencoding exclude each other",
        ),
        (["--url_list", "x", "--skip_reencode", "maybe"], "--skip_reencode takes True or False"),
        (["--url_list", "nope.txt", *WEBDATASET], "no file or folder nope.txt"),
        (["--url_list", "x", "--ca_bundle", "nope.pem", *WEBDATASET], "no such file: 'nope.pem'"),
        (["--url_list", "x", "-z"], "unknown flag --z"),
        (["reshard", "--output_folder", "x"], "--to is required"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments) == 2
    output = capsys.readouterr()
    assert words in output.err
    assert len(output.err.splitlines()) == 1
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_missing_column_leaves_no_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("URL,TEXT\nhttp://a/1,x\n")
    out = tmp_path / "out"
    arguments = ["--url_list", str(tmp_path / "list.csv"), "--output_folder", str(out), *WEBDATASET]
    assert cli.run(arguments) == 2
    assert "did you mean 'URL'? its columns are URL, TEXT" in capsys.readouterr().err
    assert not out.exists()


def test_the_list_may_not_lie_among_the_shards(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "00000.txt").write_text("http://a/1\n")
    arguments = ["--url_list", str(tmp_path), "--output_folder", str(tmp_path), *WEBDATASET]
    assert cli.run(arguments) == 2
    assert "is in the output folder, whose files are replaced" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_done(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("http://a/1\nhttp://a/2\n")
    out = tmp_path / "out"
    arguments = ["--url_list", str(tmp_path / "list.txt"), "--output_folder", str(out), *WEBDATASET]
    assert cli.run([*arguments, "--dry_run", "--processes_count", "3"]) == 0
    assert "list.txt (txt, 2 rows, 1 shard); 3 processes x 256 requests" in capsys.readouterr().err
    assert not out.exists()


def test_help_shows_every_flag_by_subject(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.run(["--help"]) == 0
    page = capsys.readouterr().out
    assert set(re.findall(r"^  --(\w+)", page, re.MULTILINE)) == set(FLAGS)
    assert re.findall(r"^(\w+):$", page, re.MULTILINE) == [
        "Input", "Output", "Images", "Network", "Run",
    ]  # fmt: skip
    assert max(map(len, page.splitlines())) <= 100
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in ([], *([name] for name in COMMANDS)):
        assert cli.run([*arguments, "--help"]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_download_has_the_flags_as_its_signature() -> None:
    parameters = inspect.signature(img2ds.download).parameters
    assert list(parameters)[: len(POSITIONS)] == list(POSITIONS)
    assert set(parameters) == set(FLAGS)
    assert parameters["image_size"].default == 256
    with pytest.raises(UsageError, match="did you mean --image_size"):
        img2ds.download("list.txt", imagesize=3)  # type: ignore[call-arg]


def test_values_of_download_by_position(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "u.txt").write_text("http://a/1\n")
    img2ds.download(tmp_path / "u.txt", 64, str(tmp_path / "out"), dry_run=True)
    assert f"into {tmp_path}/out" in capsys.readouterr().err
    with pytest.raises(UsageError, match="image_size is given twice"):
        img2ds.download("u.txt", 64, image_size=64)
    with pytest.raises(UsageError, match="39 values by position, but only 38 flags"):
        img2ds.download(*range(39))


def test_a_mistake_is_answered_without_loading_codecs() -> None:
    code = (
        "import sys; from img2ds import cli; code = cli.run(['--url_lst', 'x']);"
        "assert code == 2; assert 'cv2' not in sys.modules; assert 'trio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)


def test_help_may_be_the_name_of_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--url_list", "/nowhere.csv", "--caption_col", "help", *WEBDATASET]
    assert cli.run(arguments) == 2
    assert "there is no file" in capsys.readouterr().err


def test_a_signal_while_nothing_runs_yet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130
    assert capsys.readouterr().err.startswith("img2ds: interrupted")


def test_the_version_tells_which_compiled_parts_are_in_use(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"img2ds {img2ds.__version__} (native: ")
    monkeypatch.setenv("IMG2DS_NATIVE", "0")
    assert cli.run(["version"]) == 0
    expected = f"img2ds {img2ds.__version__} (native: none; IMG2DS_NATIVE=0)\n"
    assert capsys.readouterr().out == expected
    assert laion_cli.run(["--version"]) == 0
    assert capsys.readouterr().out == expected.replace("img2ds", "laion", 1)
