"""`laion tiny_clip`: the command, and that the same seed gives the same model."""

from __future__ import annotations

from pathlib import Path

import pytest

from laion import cli
from laion.clip.embed import Embedder
from laion.clip.model import ModelSpec, fetch
from laion.clip.tiny_training import train

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")


def test_the_same_seed_gives_the_same_weights() -> None:
    before = torch.get_rng_state()
    one, again, other = (train(seed, 3, 64, batch=16).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["text_projection"], other["text_projection"])
    assert torch.equal(before, torch.get_rng_state())


def test_the_command_writes_a_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "tiny"
    flags = ["--steps", "2", "--pictures", "64"]
    assert cli.run(["tiny_clip", "--output_folder", str(folder), *flags]) == 0
    printed, progress = capfd.readouterr()
    assert "AUC 0." in printed
    steps = ["loading PyTorch", "drawing 64 images", "step 1 of 2", "step 2 of 2", "measuring"]
    assert [word for word in steps if word in progress] == steps
    assert f"--model {folder}/tiny.json --pretrained {folder}/tiny.pt" in printed
    spec = fetch(ModelSpec(str(folder / "tiny.json"), str(folder / "tiny.pt")))
    assert Embedder(spec, "cpu").dim == 64


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--output_folder is required"),
        (["--output_folder", "{file}/x"], "cannot write to"),
        (["--output_folder", "{file}", "--steps", "0"], "steps must be at least 1"),
    ],
)
def test_wrong_use_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    (tmp_path / "file").touch()
    typed = [flag.format(file=tmp_path / "file") for flag in flags]
    assert cli.run(["tiny_clip", *typed]) == 2
    error = capfd.readouterr().err.strip()
    assert words in error
    assert "\n" not in error
