"""Training: it learns, resumes after a stop or a kill, and rejects another training's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("open_clip")

import torch

from img2ds.core.failure import UsageError
from img2ds.engine.stop import StopSwitch
from img2ds.storage import OutputFolder
from laion.dalle import checkpoint
from laion.dalle.options import DalleOptions
from laion.dalle.phases import TEXT_WEIGHT, TransformerPhase
from laion.dalle.readme import training_lines
from laion.dalle.trainer import CURVES, Trainer
from laion.samples.source import find_shards
from tests.laion.dalle.small_training import quick, write_shapes


class Killed(Exception):
    """Stands for a kill, after which nothing runs."""


class After(StopSwitch):
    """A switch that is set, or that kills, after a number of steps."""

    def __init__(self, steps: int, kills: bool = False) -> None:
        super().__init__()
        self._left = steps
        self._kills = kills

    def is_set(self) -> bool:
        self._left -= 1
        if self._left == 0:
            if self._kills:
                raise Killed
            self.set("stopped by the test")
        return super().is_set()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "shards", 2, 70)


def train(options: DalleOptions, stop: StopSwitch | None = None) -> tuple[Trainer, bool]:
    folder = OutputFolder.open(options.output_folder)
    folder.check_writable()
    shards = find_shards(options.input).shards
    trainer = Trainer(options, shards, folder, "cpu", lambda line: None)
    return trainer, trainer.run(stop or StopSwitch())


def points(folder: Path) -> list[dict[str, Any]]:
    """Points of the curves, without durations."""
    lines = (folder / CURVES).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path]:
    output = tmp_path_factory.mktemp("uninterrupted")
    trainer, done = train(quick(shards, output))
    assert done
    return trainer, output


def assert_equal_models(first: Trainer, other: Trainer) -> None:
    for name in ("coder", "transformer"):
        wanted = getattr(first, name).state_dict()
        found = getattr(other, name).state_dict()
        assert all(torch.equal(wanted[key], found[key]) for key in wanted), name


def test_curves(uninterrupted: tuple[Trainer, Path]) -> None:
    found = points(uninterrupted[1])
    assert [(point["phase"], point["step"]) for point in found] == [
        (phase, step) for phase in ("codebook", "transformer") for step in (4, 8, 12)
    ]
    assert found[0]["pairs"] == 32
    for phase, name in (("codebook", "error"), ("transformer", "image"), ("transformer", "text")):
        first, _, last = (point for point in found if point["phase"] == phase)
        for kind in ("train", "held_out"):
            assert last[f"{kind}_{name}"] < first[f"{kind}_{name}"]


@pytest.mark.parametrize("steps", [1, 7, 13, 21])
@pytest.mark.parametrize("kills", [False, True])
def test_a_resumed_training_equals_an_uninterrupted_one(
    shards: Path, uninterrupted: tuple[Trainer, Path], tmp_path: Path, steps: int, kills: bool
) -> None:
    options = quick(shards, tmp_path)
    if kills:
        with pytest.raises(Killed):
            train(options, After(steps, kills=True))
    else:
        trainer, done = train(options, After(steps))
        assert not done
        # After the last step of a phase the next phase starts without checking the switch.
        assert trainer.progress.step == (steps if steps < 12 else steps - 11)
    trainer, done = train(options)
    assert done
    assert points(tmp_path) == points(uninterrupted[1])
    assert_equal_models(trainer, uninterrupted[0])


def test_epochs_end_the_training(shards: Path, tmp_path: Path) -> None:
    options = quick(shards, tmp_path, steps=None, epochs=2)
    trainer, done = train(options, After(20))
    assert not done
    trainer, done = train(options)
    assert done
    pairs = trainer.progress.pairs["transformer"]
    held = sum(trainer._pairs.is_held_out(f"{s:05d}{n:04d}") for s in range(2) for n in range(70))
    assert 0 <= pairs - 2 * (140 - held) < 8
    assert 2 <= trainer.progress.epochs["transformer"] < 2.2
    rates = [p["rate"] for p in points(tmp_path) if p["phase"] == "transformer"]
    assert rates[-1] < 0.2 * max(rates), "the rate falls with the epochs"


def test_a_trained_folder_is_not_retrained(
    uninterrupted: tuple[Trainer, Path], shards: Path
) -> None:
    before = (uninterrupted[1] / checkpoint.NAME).stat().st_mtime_ns
    trainer, done = train(quick(shards, uninterrupted[1], seed=0, samples=5, temperature=0.5))
    assert done
    assert (uninterrupted[1] / checkpoint.NAME).stat().st_mtime_ns == before
    assert_equal_models(trainer, uninterrupted[0])


def test_another_training_is_rejected(
    uninterrupted: tuple[Trainer, Path], shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"a training with --width 32, not 64: .*overwrite"):
        train(quick(shards, uninterrupted[1], width=64))
    others = write_shapes(tmp_path / "others", 1, 40)
    with pytest.raises(UsageError, match="a training with other shards"):
        train(quick(others, uninterrupted[1]))


def test_a_damaged_checkpoint_is_reported(shards: Path, tmp_path: Path) -> None:
    (tmp_path / checkpoint.NAME).write_bytes(b"PK\3\4 nothing of the kind")
    with pytest.raises(UsageError, match=r"dalle\.pt' cannot be read"):
        train(quick(shards, tmp_path))


def test_seeds_differ(uninterrupted: tuple[Trainer, Path], shards: Path, tmp_path: Path) -> None:
    train(quick(shards, tmp_path, seed=1))
    assert points(tmp_path)[0] != points(uninterrupted[1])[0]


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path, DalleOptions]:
    """A training on so few pairs that it learns them by heart."""
    folder = tmp_path_factory.mktemp("few")
    shards = write_shapes(folder / "shards", 1, 40)
    options = quick(shards, folder / "out", steps=160, width=64, layers=2, rate=5e-3, held_out=0.3)
    trainer, done = train(options)
    assert done
    return trainer, folder / "out", options


def transformer_loss(point: dict[str, Any]) -> float:
    loss: float = TEXT_WEIGHT * point["held_out_text"] + (1 - TEXT_WEIGHT) * point["held_out_image"]
    return loss


def test_the_weights_with_the_lowest_held_out_loss_are_kept(
    overfitted: tuple[Trainer, Path, DalleOptions],
) -> None:
    trainer, output, _ = overfitted
    own = [p for p in points(output) if p["phase"] == "transformer"]
    best = min(own, key=transformer_loss)
    assert 0 < best["step"] < own[-1]["step"] == 160
    assert trainer.progress.kept_steps["transformer"] == best["step"]
    assert trainer.transformer is not None
    assert trainer.vocabulary is not None
    phase = TransformerPhase(
        trainer.coder, trainer.transformer, trainer.vocabulary, trainer._held_out, trainer.half
    )
    assert phase.evaluate()["image"] == pytest.approx(best["held_out_image"], rel=1e-4)
    (line,) = [line for line in training_lines(trainer.progress) if "transformer" in line]
    assert f"lowest after step {best['step']} and rose later" in line


def test_a_resumed_training_keeps_the_same_weights(
    overfitted: tuple[Trainer, Path, DalleOptions], tmp_path: Path
) -> None:
    trainer, _, options = overfitted
    again = replace(options, output_folder=str(tmp_path / "out"))
    kept = trainer.progress.kept_steps["transformer"]
    _, done = train(again, After(12 + kept + 30))
    assert not done
    resumed, done = train(again)
    assert done
    assert_equal_models(trainer, resumed)
    assert resumed.progress.kept_steps == trainer.progress.kept_steps
