"""`--config`: flags in a YAML file; and completion scripts, which shells take."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from img2ds import cli
from img2ds.config import completion
from img2ds.config.config_file import with_config
from img2ds.config.options import COMMAND, Options
from img2ds.core.failure import UsageError
from laion import cli as laion_cli


def read(path: Path, text: str, **given: Any) -> Options:
    path.write_text(text)
    return Options.from_flags(with_config(COMMAND, {"config": str(path), **given}))


def test_flags_come_from_the_file(tmp_path: Path) -> None:
    options = read(
        tmp_path / "c.yaml",
        "url_list: u.txt\nimage-size: 128\nsave_additional_columns: [a, b]\nconcurrency: 8\n"
        "headers: {Referer: x}\nskip_reencode: true\nmax_image_bytes: 1MB\n",
        image_size="64",
    )
    assert options.input.url_list == "u.txt"
    assert options.image.image_size == 64, "the command line counts more"
    assert options.input.save_additional_columns == ("a", "b")
    assert options.network.thread_count == 8
    assert options.network.headers == {"Referer": "x"}
    assert options.network.max_image_bytes == 1_000_000
    assert options.image.skip_reencode
    assert "config" not in options.shard_identity()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "has no flags: write one on each line"),
        ("", "has no flags"),
        ("url_list: [\n", "is not YAML, line 2"),
        ("url_lst: u.txt\n", r"c.yaml: unknown flag --url_lst; did you mean --url_list\?"),
        ("config: other.yaml\n", "cannot name another file"),
        ("url_list: a\nurl-list: b\n", "has url_list twice"),
        ("url_list: u.txt\nimage_size: big\n", "--image_size takes a whole number, got 'big'"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(tmp_path / "c.yaml", text)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: no such file or directory" in capsys.readouterr().err
    assert cli.run(["--config", str(tmp_path)]) == 2
    assert "is a directory" in capsys.readouterr().err


@pytest.mark.parametrize(("program", "run"), [("img2ds", cli.run), ("laion", laion_cli.run)])
@pytest.mark.parametrize("shell", completion.SHELLS)
def test_shells_take_the_script(
    program: str, run: Any, shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{program} completion {shell}" in script
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
        assert checked.stderr == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--output_for"], ["--output_format"]),
        (["--output_format", "web"], ["webdataset"]),
        (["--output_format", "dum"], ["dummy"]),
        (["sta"], ["status"]),
        (["compl"], ["completion"]),
        (["verify", "--rep"], ["--repair"]),
        (["verify", "--url"], []),
    ],
)
def test_bash_completes(
    words: list[str], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    line = " ".join(["img2ds", *words])
    ask = f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; _img2ds; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", script + ask], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == expected


@pytest.mark.parametrize(("program", "run"), [("img2ds", cli.run), ("laion", laion_cli.run)])
def test_help_says_how_to_turn_it_on(
    program: str, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["completion", "--help"]) == 0
    assert f'eval "$({program} completion zsh)"' in capsys.readouterr().out
    assert run(["--help"]) == 0
    assert f"{program} completion" in capsys.readouterr().out


def test_another_shell_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["completion", "tcsh"]) == 2
    assert "completion takes a shell: bash, zsh, fish" in capsys.readouterr().err
