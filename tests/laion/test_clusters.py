"""The stages with a model on Ray and Spark: what they write is what processes here write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.laion.all_stages_folder import Chain
from tests.laion.annotate.head_files import write_head
from tests.laion.shape_web import ShapeWeb

pytestmark = pytest.mark.slow


@pytest.fixture(params=["ray", "pyspark"])
def cluster(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    request.getfixturevalue("ray_address" if name == "ray" else "spark_master")
    return name


def check_same(one: Path, other: Path) -> None:
    """The same shards, rows and counts; numbers within the rounding of other batches."""
    names = sorted(str(p.relative_to(one)) for p in one.rglob("*.parquet"))
    assert names == sorted(str(p.relative_to(other)) for p in other.rglob("*.parquet"))
    rows = 0
    for name in names:
        here, there = pq.read_table(one / name), pq.read_table(other / name)
        rows += here.num_rows
        similar, close = here["similarity"].to_numpy(), there["similarity"].to_numpy()
        np.testing.assert_allclose(similar, close, atol=1e-6)
        assert here.drop_columns(["similarity"]).equals(there.drop_columns(["similarity"]))
    assert rows
    for path in one.rglob("*.npy"):
        np.testing.assert_allclose(np.load(path), np.load(other / path.relative_to(one)), atol=1e-3)
    for path in one.glob("*_stats.json"):
        markers = [json.loads((folder / path.name).read_text()) for folder in (one, other)]
        for name in ("count", "successes", "reasons"):
            assert markers[0][name] == markers[1][name]


def test_scores_are_the_same(chain: Chain, cluster: str, tmp_path: Path) -> None:
    chain.run(
        "score", input=chain.place("shards"), output_folder=str(tmp_path / "scored"),
        distributor=cluster, processes_count=1,
    )  # fmt: skip
    check_same(chain.folder / "scored", tmp_path / "scored")


def test_a_crawl_is_the_same(chain: Chain, cluster: str, tmp_path: Path) -> None:
    with ShapeWeb(chain.world) as address:
        chain.run(
            "crawl", wat=chain.place("wats"), output_folder=str(tmp_path / "crawled"),
            distributor=cluster, processes_count=1, connect_to=f"::{address}",
            allow_private_addresses=True, timeout=60,
        )  # fmt: skip
    check_same(chain.folder / "crawled", tmp_path / "crawled")


def test_annotated_and_filtered_pairs_are_the_same(
    chain: Chain, cluster: str, tmp_path: Path
) -> None:
    write_head(tmp_path / "head.pth", "linear", dim=64)
    (tmp_path / "concepts.txt").write_text("red\nblue\ncircle\n")
    stages: list[tuple[str, dict[str, Any]]] = [
        ("annotate", {"heads": f"aesthetic={tmp_path}/head.pth", "token_counts": True}),
        ("filter", {
            "recipe": "metaclip", "concepts": f"{tmp_path}/concepts.txt", "concept_limit": 3,
        }),
    ]  # fmt: skip
    for name, distributor in (("here", "multiprocessing"), ("there", cluster)):
        source = chain.place("tagged")
        for stage, flags in stages:
            output = str(tmp_path / name / stage)
            chain.run(
                stage, input=source, output_folder=output, distributor=distributor,
                processes_count=1, **flags,
            )  # fmt: skip
            source = output
    for stage, _ in stages:
        check_same(tmp_path / "here" / stage, tmp_path / "there" / stage)
