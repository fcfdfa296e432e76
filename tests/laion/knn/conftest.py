"""An index that tests only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from laion.knn.searcher import Searcher
from tests.laion.knn.embedding_folders import index, make_embeddings


@pytest.fixture(scope="session")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    """An index of 500 rows in two shards, searched exactly."""
    folder: Path = tmp_path_factory.mktemp("knn")
    source = make_embeddings(folder / "embeddings")
    assert index(source, folder / "index", kind="flat").exit_code == 0
    return Searcher(str(folder / "index"))
