"""What tests of several stages share."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.laion.all_stages_folder import Chain, whole_chain
from tests.laion.clip.trained_model import train_tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The files of a small CLIP model of shapes and colours, trained once: for `--model` and
    `--pretrained`.
    """
    pytest.importorskip("open_clip")
    folder: Path = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the processes of one run share the model
        folder = folder.parent
    folder /= "tiny"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        trained = folder / "trained.json"
        if not trained.exists():
            trained.write_text(json.dumps(train_tiny(folder)))
        model, weights = json.loads(trained.read_text())
    return model, weights


@pytest.fixture(scope="session")
def chain(tiny_model: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """All stages, run once."""
    with whole_chain(tmp_path_factory.mktemp("chain"), tiny_model) as chain:
        yield chain
