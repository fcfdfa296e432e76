"""The command `laion dalle`: what it writes, what it rejects, how it stops."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("open_clip")
pytest.importorskip("matplotlib")

from img2ds.image.decode import decode
from img2ds.image.header import Header
from img2ds.image.sniff import sniff
from laion import cli
from laion.dalle import checkpoint
from laion.dalle.trainer import Trainer
from tests.laion.dalle.small_training import typed, write_shapes
from tests.state import data_names


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "shards", 1, 100)


def size(path: Path) -> tuple[int, int]:
    header = sniff(path.read_bytes())
    assert isinstance(header, Header)
    assert decode(path.read_bytes(), header, (0, 0), 10**8).std() > 0
    return header.width, header.height


@pytest.fixture(scope="module")
def trained(
    shards: Path, tiny_model: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A quick training with ranked samples of two prompts."""
    output = tmp_path_factory.mktemp("trained")
    prompts = output.parent / "prompts.txt"
    prompts.write_text("a red star\n\na xylophone $x^2$ in <b>\n")
    flags: dict[str, Any] = {"prompts": prompts, "samples": 3, "shown": 2}
    flags |= {"model": tiny_model[0], "pretrained": tiny_model[1]}
    assert cli.run(typed(shards, output, **flags)) == 0
    return output


def test_everything_is_written(trained: Path) -> None:
    assert sorted(data_names(trained)) == [
        "README.md", "curves.jsonl", "curves.png", "dalle.pt", "samples", "samples.json",
        "samples.png",
    ]  # fmt: skip
    images = sorted((trained / "samples").iterdir())
    assert [path.name for path in images] == [
        f"00{prompt}_0{number}.png" for prompt in (0, 1) for number in range(3)
    ]
    assert {size(path) for path in images} == {(32, 32)}
    assert min(size(trained / "samples.png")) > 100
    assert min(size(trained / "curves.png")) > 300
    page = (trained / "README.md").read_text()
    assert "12 steps, 96 pairs" in page
    assert r"\<b\>" in page
    assert "knows no word" not in page


def test_samples_are_in_the_order_of_their_similarity(trained: Path) -> None:
    records = json.loads((trained / "samples.json").read_text())
    for at in (0, 3):
        cosines = [sample["similarity"] for sample in records[at : at + 3]]
        assert cosines == sorted(cosines, reverse=True)
        assert len(set(cosines)) > 1


def test_regenerating_without_a_model_and_with_held_out_captions(
    shards: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(typed(shards, trained, samples=1)) == 0
    records = json.loads((trained / "samples.json").read_text())
    assert [sample["similarity"] for sample in records] == [None] * 8
    assert len({sample["prompt"] for sample in records}) == 8
    assert len(list((trained / "samples").iterdir())) == 8
    assert "codebook step" not in capsys.readouterr().err


def test_ctrl_c_saves_and_says_so(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    point = Trainer._add_point

    def interrupted(self: Trainer, *given: Any) -> None:
        point(self, *given)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_add_point", interrupted)
        assert cli.run(typed(shards, tmp_path, samples=0)) == 130
    out = capsys.readouterr().out
    assert "stopped by SIGINT in the codebook phase after step 4, which is saved" in out
    assert cli.run(typed(shards, tmp_path, samples=0)) == 0
    lines = (tmp_path / "curves.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4, 8, 12] * 2


def test_a_full_disk_is_reported_in_one_line(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: Any) -> None:
        Path("/dev/full").write_bytes(b"x")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        assert cli.run(typed(shards, tmp_path, samples=0)) == 1
    out = capsys.readouterr().out
    assert "cannot write to the output folder: no space left on device" in out
    assert "rerun the same command to resume" in out
    assert out.count("\n") == 1
    assert cli.run(typed(shards, tmp_path, samples=0)) == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"image_size": 30}, "--image_size must be a multiple of --downsampling 8, got 30"),
        ({"downsampling": 3}, "--downsampling must be 2, 4, 8 or 16, got 3"),
        ({"width": 33}, "--width must be a multiple of --heads 2, got 33"),
        ({"epochs": 1}, "--steps and --epochs: give one of them"),
        ({"held_out": 1.5}, "--held_out must be between 0 and 1, got 1.5"),
        ({"temperature": 0}, "--temperature must be above 0, got 0"),
        ({"pretrained": "x.pt"}, "--pretrained without --model"),
        ({"devices": ("cuda:0", "cuda:1")}, "give one device"),
        ({"devices": ("gpu",)}, "--devices gpu: name cpu, cuda"),
        ({"preset": "tinny"}, "did you mean tiny?"),
        ({"prompts": "/nowhere.txt"}, "--prompts '/nowhere.txt' cannot be read: No such file"),
        ({"prompts": "/dev/null"}, "--prompts '/dev/null' has no prompts"),
        ({"model": "ViT-B-33", "pretrained": "x"}, "--model ViT-B-33 is not a model"),
        ({"input": "/nowhere"}, "/nowhere"),
        ({"image_sise": 32}, "did you mean --image_size?"),
        ({"held_out": 1e-9}, "no pair is held out"),
    ],
)
def test_wrong_use_is_one_line_before_any_work(
    shards: Path, tmp_path: Path, flags: dict[str, Any], words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert cli.run(typed(shards, tmp_path / "out", **flags)) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert not shown.out
    assert not list(tmp_path.glob("out/[!.]*"))
