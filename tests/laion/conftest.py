"""What tests of several stages share."""

from __future__ import annotations

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
    folder: Path = tmp_path_factory.mktemp("tiny")
    return train_tiny(folder)


@pytest.fixture(scope="session")
def chain(tiny_model: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """All stages, run once."""
    with whole_chain(tmp_path_factory.mktemp("chain"), tiny_model) as chain:
        yield chain
