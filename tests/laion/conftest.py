"""Fixtures that tests of several stages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.laion.all_stages_folder import Chain, whole_chain
from tests.laion.clip.trained_model import trained_once


@pytest.fixture(scope="session")
def tiny_model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """The files of a small CLIP model of shapes and colours: for `--model` and `--pretrained`.

    It is trained once, and kept in pytest's cache for later sessions.
    """
    pytest.importorskip("open_clip")
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    return trained_once(tmp_path_factory.mktemp("tiny"), cache and cache.mkdir("tiny_clip"))


@pytest.fixture(scope="session")
def chain(tiny_model: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """All stages, run once."""
    with whole_chain(tmp_path_factory.mktemp("chain"), tiny_model) as chain:
        yield chain
