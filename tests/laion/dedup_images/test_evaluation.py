"""`laion dedup_images --decontaminate`: rows close to evaluation images are dropped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from laion.dedup_images.options import DedupImagesOptions
from laion.dedup_images.stage import run
from laion.samples.source import find_shards
from tests.laion.all_stages_folder import Chain
from tests.laion.dedup_images import planted_folder
from tests.laion.dedup_images.hashed_folder import write_tars
from tests.laion.dedup_images.planted_folder import (
    GROUPS,
    ROWS,
    SHARDS,
    duplicates,
    kept_keys,
    near,
    write_planted,
)
from tests.laion.dedup_images.seeded_images import encoded, next_frame, scene, watermarked
from tests.laion.embedding_folders import row, unit_rows, write_tree

in_process = planted_folder.in_process


def dedup(place: Path, out: Path, *sets: Path, **flags: Any) -> Any:
    options = DedupImagesOptions(
        input=str(place), output_folder=str(out), processes_count=1,
        decontaminate=tuple(map(str, sets)), **flags,
    )  # fmt: skip
    report = run(options)
    assert report.exit_code == 0, report.text
    return report


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("clusters", [1, 30])
def test_embeddings_of_evaluation_images(tmp_path: Path, clusters: int) -> None:
    """A group of three and a single row go; what is near an evaluation image, and no copy, stays.

    Evaluation images that are copies of each other, and of no row, change nothing.
    """
    planted = write_planted(tmp_path / "in")
    random = np.random.default_rng(5)
    single = int(np.flatnonzero(planted.group >= GROUPS)[0])
    grouped = int(np.flatnonzero(planted.group == 7)[0])
    chosen = planted.vectors[[single, grouped]].astype(np.float32)
    chosen /= np.linalg.norm(chosen, axis=1, keepdims=True)
    images = np.concatenate([near(chosen, (0.985, 0.99), random), -chosen, -chosen])
    images16 = {0: images.astype(np.float16)}
    write_tree(tmp_path / "val", {0: [row(n, key=f"val/{n}") for n in range(6)]},
               images=images16, texts=images16, stage=None)  # fmt: skip
    report = dedup(planted.path, tmp_path / "out", tmp_path / "val", clusters=clusters)
    reasons = report.total.reasons
    assert reasons["evaluation_image"] == 4
    assert 2 * GROUPS - 4 <= reasons["near_duplicate"] <= 2 * GROUPS - 2
    kept = kept_keys(tmp_path / "out")
    assert single not in kept
    assert 7 not in planted.group[kept]
    found = [v for v in duplicates(tmp_path / "out") if v["reason"] == "evaluation_image"]
    assert {v["duplicate_of"] for v in found} == {"val/0", "val/1"}
    assert {v["evaluation"] for v in found} == {str(tmp_path / "val")}
    assert {v["duplicate_shard"] for v in found} == {None}
    page = (tmp_path / "out/evaluation.html").read_text()
    assert "4 rows were dropped; the closest 4 are shown" in page
    assert "val/1" in page
    assert len(kept) == SHARDS * ROWS - report.total.reasons.total()
    assert not (tmp_path / "out/.img2ds").exists()


@pytest.mark.usefixtures("in_process")
def test_hashes_of_evaluation_images(tmp_path: Path) -> None:
    """Copies go in small and in large buckets; the page shows both images."""
    write_tars(tmp_path / "shards", {n: encoded(scene(n)) for n in range(12)}, per_tar=12)
    rows = [row(n, url=f"http://h/<{n}>") for n in range(12)]
    write_tree(tmp_path / "scored", {0: rows})
    (tmp_path / "val").mkdir()
    for n in (2, 5):
        (tmp_path / f"val/image{n}.jpg").write_bytes(encoded(watermarked(scene(n))))
    (tmp_path / "val/near.jpg").write_bytes(encoded(next_frame(scene(8), 8)))
    (tmp_path / "val/broken.jpg").write_bytes(b"no image")
    report = dedup(
        tmp_path / "scored", tmp_path / "out", tmp_path / "val", by="hash",
        shards=str(tmp_path / "shards"),
    )  # fmt: skip
    assert report.total.reasons == {"evaluation_image": 2}
    assert kept_keys(tmp_path / "out") == [n for n in range(12) if n not in (2, 5)]
    found = duplicates(tmp_path / "out")
    assert [values["duplicate_of"] for values in found] == ["image2", "image5"]
    page = (tmp_path / "out/evaluation.html").read_text()
    assert len(re.findall(r'<img src="data:image/jpeg;base64,', page)) == 4
    assert "http://h/&lt;2&gt;" in page
    # A finished folder stays; another set is another dataset.
    assert dedup(
        tmp_path / "scored", tmp_path / "out", tmp_path / "val", by="hash",
        shards=str(tmp_path / "shards"),
    ).shards_committed == 0  # fmt: skip
    (tmp_path / "val/near.jpg").unlink()
    with pytest.raises(UsageError, match="another input"):
        dedup(tmp_path / "scored", tmp_path / "out", tmp_path / "val", by="hash",
              shards=str(tmp_path / "shards"))  # fmt: skip


@pytest.mark.usefixtures("in_process")
def test_a_set_without_matches(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {0: [row(n) for n in range(5)]})
    other = {0: unit_rows(1, 8, seed=77)}
    write_tree(tmp_path / "val", {0: [row(9)]}, images=other, texts=other)
    assert not dedup(tmp_path / "in", tmp_path / "out", tmp_path / "val").total.reasons
    assert "0 rows were dropped" in (tmp_path / "out/evaluation.html").read_text()


def test_sets_that_cannot_be_compared(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {0: [row(n) for n in range(5)]}, stage=None)
    write_tree(tmp_path / "val", {0: [row(9)]})
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(encoded(scene(0)))
    write_tars(tmp_path / "shards", {0: encoded(scene(0))}, per_tar=1)

    def refused(words: str, *sets: Path, **flags: Any) -> None:
        with pytest.raises(UsageError, match=words):
            dedup(tmp_path / "in", tmp_path / "out", *sets, **flags)
        assert not (tmp_path / "out").exists()

    refused("hashes are of images", tmp_path / "val", by="hash", shards=str(tmp_path / "shards"))
    refused("does not record the model to embed them with", tmp_path / "images")
    refused("no samples|no such|there is no", tmp_path / "nowhere")


@pytest.mark.slow
def test_images_are_embedded_with_the_model_of_the_input(chain: Chain, tmp_path: Path) -> None:
    """Evaluation images are images of the dataset: their rows go, counted exactly."""
    scored = chain.folder / "scored"
    tables = [pq.read_table(path) for path in sorted((scored / "metadata").glob("*.parquet"))]
    keys = [key for table in tables for key in table["key"].to_pylist()][:2]
    (tmp_path / "val").mkdir()
    for shard in find_shards(str(chain.folder / "shards")).shards:
        for sample in shard.samples():
            if sample.key in keys and sample.body is not None:
                (tmp_path / f"val/{sample.key}.jpg").write_bytes(sample.body)
    report = dedup(scored, tmp_path / "out", tmp_path / "val", threshold=0.99999)
    assert report.total.reasons["evaluation_image"] >= 2
    found = duplicates(tmp_path / "out")
    matched = {v["key"]: v for v in found if v["reason"] == "evaluation_image"}
    assert set(keys) <= set(matched)
    page = (tmp_path / "out/evaluation.html").read_text()
    assert page.count("<img") >= 2 * len(keys)
    assert json.loads((tmp_path / "out/00000_stats.json").read_text())["reasons"]
