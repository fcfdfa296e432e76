"""`laion dedup_images` over planted folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from laion import cli
from laion.dedup_images import compare as compare_pass
from laion.dedup_images import finder, scattered
from laion.dedup_images.options import DedupImagesOptions
from laion.dedup_images.stage import run
from tests.laion.dedup_images import planted_folder
from tests.laion.dedup_images.planted_folder import (
    GROUPS,
    ROWS,
    SHARDS,
    Planted,
    content,
    duplicates,
    kept_keys,
    write_planted,
)
from tests.laion.embedding_folders import row, write_tree

in_process = planted_folder.in_process


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return write_planted(tmp_path_factory.mktemp("planted") / "in")


def dedup(place: Path, out: Path, **flags: Any) -> Any:
    report = run(
        DedupImagesOptions(input=str(place), output_folder=str(out), processes_count=1, **flags)
    )
    assert report.exit_code == 0, report.text
    return report


@pytest.mark.usefixtures("in_process")
def test_one_of_each_group_is_kept_with_its_embeddings(planted: Planted, tmp_path: Path) -> None:
    """Near but different rows stay; in one cluster, every near-duplicate is found."""
    report = dedup(planted.path, tmp_path / "out", clusters=1)
    kept = kept_keys(tmp_path / "out")
    assert report.total.reasons == {"near_duplicate": 2 * GROUPS}
    assert len(kept) == SHARDS * ROWS - 2 * GROUPS == report.total.successes
    assert len(set(planted.group[kept])) == len(kept)
    embeddings = np.concatenate([
        np.load(path) for path in sorted((tmp_path / "out/img_emb").glob("*.npy"))
    ])  # fmt: skip
    assert (embeddings == planted.vectors[kept]).all()
    # Of each group the row of the highest similarity, which each of the others names.
    found = duplicates(tmp_path / "out")
    assert len(found) == 2 * GROUPS
    for values in found:
        key, kept_key = int(values["key"]), int(values["duplicate_of"])
        assert planted.group[key] == planted.group[kept_key]
        assert planted.similarity[kept_key] > planted.similarity[key]
        assert kept_key in kept
        assert values["duplicate_shard"] * ROWS + values["duplicate_row"] == kept_key
        assert values["row"] == key % ROWS
        exact = planted.vectors[[key, kept_key]].astype(np.float32)
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
        assert values["similarity"] == pytest.approx(exact[0] @ exact[1], abs=1e-4)
    assert not (tmp_path / "out/.img2ds").exists()


def check_clustered(planted: Planted, out: Path, report: Any) -> None:
    """All rows that are dropped are duplicates, and of these hardly one is missed."""
    found = duplicates(out)
    assert report.total.reasons == {"near_duplicate": len(found)}
    for values in found:
        assert planted.group[int(values["key"])] == planted.group[int(values["duplicate_of"])]
    assert 2 * GROUPS - 2 <= len(found) <= 2 * GROUPS
    assert len(kept_keys(out)) == SHARDS * ROWS - len(found)


@pytest.mark.usefixtures("in_process")
def test_clusters_find_nearly_all(planted: Planted, tmp_path: Path) -> None:
    report = dedup(planted.path, tmp_path / "out", clusters=300)
    check_clustered(planted, tmp_path / "out", report)
    one = dedup(planted.path, tmp_path / "fewer", clusters=300, probes=1)
    assert one.total.reasons["near_duplicate"] < 2 * GROUPS - 2


@pytest.mark.usefixtures("in_process")
def test_the_largest_image_is_kept(planted: Planted, tmp_path: Path) -> None:
    dedup(planted.path, tmp_path / "out", keep="largest", clusters=1)
    for values in duplicates(tmp_path / "out"):
        assert planted.pixels[int(values["duplicate_of"])] > planted.pixels[int(values["key"])]
    assert len(kept_keys(tmp_path / "out")) == SHARDS * ROWS - 2 * GROUPS


@pytest.mark.usefixtures("in_process")
def test_the_threshold_decides(planted: Planted, tmp_path: Path) -> None:
    dedup(planted.path, tmp_path / "loose", threshold=0.83, clusters=1)
    assert len(kept_keys(tmp_path / "loose")) == SHARDS * ROWS - 3 * GROUPS
    report = dedup(planted.path, tmp_path / "tight", threshold=0.9999)
    assert report.total.reasons == {}
    assert not duplicates(tmp_path / "tight")


@pytest.mark.usefixtures("in_process")
def test_pieces_and_blocks_do_not_change_the_result(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small runs, blocks, batches and tasks, as a large input has many of."""
    dedup(planted.path, tmp_path / "one", clusters=8)
    monkeypatch.setattr(scattered, "RUN_BYTES", 25_000)
    monkeypatch.setattr(compare_pass, "BLOCK_BYTES", 7_000)
    monkeypatch.setattr(finder, "TASK_BYTES", 40_000)
    monkeypatch.setattr(finder, "BATCHES", 2)
    dedup(planted.path, tmp_path / "many", clusters=8)
    assert content(tmp_path / "many") == content(tmp_path / "one")


@pytest.mark.usefixtures("in_process")
def test_chains_over_several_clusters_lead_to_a_kept_row(planted: Planted, tmp_path: Path) -> None:
    """Rows in three of thirty clusters have links to rows that are dropped elsewhere."""
    dedup(planted.path, tmp_path / "out", clusters=30, probes=3, threshold=0.8)
    kept = set(kept_keys(tmp_path / "out"))
    found = duplicates(tmp_path / "out")
    assert len(kept) + len(found) == SHARDS * ROWS
    assert {int(values["duplicate_of"]) for values in found} <= kept


@pytest.mark.usefixtures("in_process")
def test_rows_without_an_embedding_are_kept(tmp_path: Path) -> None:
    images = np.zeros((4, 8), np.float16)
    images[1, 0] = np.nan
    images[2:] = 1
    rows = [row(0), row(1), row(2, similarity=None), row(3, similarity=None)]
    write_tree(tmp_path / "in", {0: rows, 1: []}, images={0: images, 1: images[:0]},
               texts={0: images, 1: images[:0]})  # fmt: skip
    dedup(tmp_path / "in", tmp_path / "out")
    assert kept_keys(tmp_path / "out") == [0, 1, 2]


@pytest.mark.usefixtures("in_process")
def test_its_input_may_be_clip_retrievals(tmp_path: Path) -> None:
    """Without commit markers, keys of one length or a similarity."""
    images = np.repeat(np.eye(2, 8, dtype=np.float16), 2, axis=0)
    write_tree(tmp_path / "in", {0: [row(n) for n in range(4)]}, images={0: images},
               texts={0: images[::-1]}, stage=None)  # fmt: skip
    path = tmp_path / "in/metadata/metadata_0.parquet"
    table = pq.read_table(path).drop_columns(["similarity"])
    pq.write_table(table.set_column(0, "key", [["a", "longer" * 20, "bb", "c"]]), path)
    dedup(tmp_path / "in", tmp_path / "out")
    found = duplicates(tmp_path / "out")
    assert [values["duplicate_of"] for values in found] == ["a", "bb"]


@pytest.mark.usefixtures("in_process")
def test_what_is_complete_stays_and_a_lost_shard_is_rebuilt(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    dedup(planted.path, out)
    before = content(out)
    capsys.readouterr()
    assert dedup(planted.path, out).shards_before == SHARDS
    assert "learning" not in capsys.readouterr().err
    (out / "00001_stats.json").unlink()
    assert dedup(planted.path, out).shards_committed == 1
    assert content(out) == before
    with pytest.raises(UsageError, match=r"--threshold 0.9, there 0.95"):
        dedup(planted.path, out, threshold=0.9)
    dedup(planted.path, out, threshold=0.9999, incremental_mode="overwrite")
    assert not duplicates(out)
    assert not (out / ".img2ds").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"threshold": 1.5}, "--threshold is a cosine"),
        ({"clusters": 0}, "--clusters must be at least 1"),
        ({"probes": 0}, "--probes must be at least 1"),
        ({"keep": "best"}, "similarity"),
        ({"incremental_mode": "extend"}, "cannot be extended"),
    ],
)
def test_what_cannot_work_is_refused(
    planted: Planted, tmp_path: Path, flags: dict[str, Any], words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words_given = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    out = tmp_path / "out"
    command = ["dedup_images", "--input", str(planted.path), "--output_folder", str(out)]
    assert cli.run([*command, *words_given]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


def test_inputs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    def refused(words: str, **flags: Any) -> None:
        with pytest.raises(UsageError, match=words):
            dedup(tmp_path / "in", tmp_path / "out", **flags)
        assert not (tmp_path / "out").exists()

    refused("no such folder")
    write_tree(tmp_path / "in", {0: [row(n) for n in range(4)]})
    path = tmp_path / "in/metadata/metadata_00000.parquet"
    table = pq.read_table(path)
    names = ["original_width", "original_height", "width", "height"]
    pq.write_table(table.drop_columns(names), path)
    refused("needs the sizes of images", keep="largest")
    (tmp_path / "in/img_emb/img_emb_00000.npy").unlink()
    refused("img_emb_00000.npy is missing")


@pytest.mark.usefixtures("in_process")
def test_a_shard_that_does_not_fit_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write_planted(tmp_path / "in").path
    np.save(place / "img_emb/img_emb_00002.npy", np.zeros((ROWS, 3), np.float16))
    flags = ["--input", str(place), "--output_folder", str(tmp_path / "out")]
    assert cli.run(["dedup_images", *flags]) == 1
    words = "img_emb_00002.npy has embeddings of 3 numbers, other shards of 64"
    assert f"the pass scatter-embedding failed: {place}/img_emb/{words}" in capsys.readouterr().out
