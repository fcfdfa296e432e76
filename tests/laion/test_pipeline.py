"""From made WAT files to a release by the seven commands, and by `laion crawl`, over one small web.

What was planted is found where it has to be found; both ways give the same release.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import img2ds
from img2ds.storage import OutputFolder
from laion import cli
from laion.commands import COMMANDS
from laion.provenance import read_model
from tests.laion.all_stages_folder import Chain
from tests.laion.shape_web import LICENSE, Planted, ShapeWeb, licensed

pytestmark = pytest.mark.slow

#: Share of good pairs that the small model has to let through; it is no oracle.
GOOD_SHARE = 0.9


def pairs(table: pa.Table) -> set[tuple[str, str]]:
    found = list(zip(table["URL"].to_pylist(), table["TEXT"].to_pylist(), strict=True))
    assert len(set(found)) == len(found), "a pair is in a release once"
    return set(found)


def keys(planted: list[Planted]) -> set[tuple[str, str]]:
    return {(pair.url, pair.alt) for pair in planted}


def test_each_planted_pair_is_found_where_it_has_to_be(chain: Chain) -> None:
    world = chain.world
    number = Counter(pair.kind for pair in world.planted)
    extract = chain.counts("candidates")
    assert extract["count"] == len(world.planted)
    assert extract["text_too_short"] == number["short"]
    assert extract["language"] == number["german"]
    left = len(world.planted) - sum(number[k] for k in ("short", "german", "svg", "data_url"))
    assert extract["successes"] == left
    dedup = chain.counts("unique")
    assert (dedup["count"], dedup["duplicate"]) == (left, number["duplicate"])
    left -= number["duplicate"]
    download = chain.counts("shards")
    assert download["count"] == left
    assert download["too_small"] == number["tiny"]
    assert download["unwanted_format"] == number["gif"]
    assert download["http_404"] == number["gone"]
    left -= number["tiny"] + number["gif"] + number["gone"]
    assert download["successes"] == left
    score = chain.counts("scored")
    assert (score["count"], score["successes"]) == (left, left)
    tag = chain.counts("tagged")
    assert tag["count"] == left
    assert tag["illegal_underage"] == number["underage"]
    assert tag["illegal_animal"] == number["animal"]
    assert tag["illegal_caption_words"] == number["caption"]
    left -= number["underage"] + number["animal"] + number["caption"]
    release = chain.counts("release")
    assert release["count"] == left
    assert number["mismatch"] <= release["low_similarity"]
    assert release["count"] - release["successes"] == release["low_similarity"]


def test_the_release_holds_the_good_pairs_and_none_of_the_others(chain: Chain) -> None:
    world = chain.world
    table = chain.release("release")
    found = pairs(table)
    good = keys(world.of("good", "flagged", "retold"))
    assert found <= good
    assert len(found) >= GOOD_SHARE * len(good)
    known = {(pair.url, pair.alt): pair for pair in world.of("good", "flagged", "retold")}
    for row in table.to_pylist():
        pair = known[row["URL"], row["TEXT"]]
        assert (row["WIDTH"], row["HEIGHT"]) == (pair.width, pair.height), "of the original"
        assert row["NSFW"] == ("NSFW" if pair.kind == "flagged" else "UNLIKELY")
        assert row["LICENSE"] == (LICENSE if licensed(pair, world) else "?")
        assert row["similarity"] >= 0.3
    flagged = [row["NSFW"] for row in table.to_pylist()].count("NSFW")
    assert flagged >= GOOD_SHARE * len(world.of("flagged"))


@pytest.mark.parametrize("name", ["crawled", "crawled-again"])
def test_crawling_gives_the_same_release(chain: Chain, name: str) -> None:
    """The same pairs under the same IDs; values within the rounding of other batches."""
    stages = {(r["URL"], r["TEXT"]): r for r in chain.release("release").to_pylist()}
    crawl = {(r["URL"], r["TEXT"]): r for r in chain.release(f"release-{name}").to_pylist()}
    assert crawl.keys() == stages.keys()
    for key, row in stages.items():
        assert crawl[key].pop("similarity") == pytest.approx(row.pop("similarity"), abs=1e-4)
        assert crawl[key] == row
    vectors, others = chain.embeddings("release"), chain.embeddings(f"release-{name}")
    assert vectors.keys() == others.keys() == stages.keys()
    for key, (image, text) in vectors.items():
        np.testing.assert_allclose(image, others[key][0], atol=2e-3)
        np.testing.assert_allclose(text, others[key][1], atol=2e-3)


def test_only_kept_pairs_of_a_crawl_reach_the_disk(chain: Chain) -> None:
    world = chain.world
    kept = {url for url, _ in pairs(chain.release("release-crawled"))}
    lost = world.of("mismatch", "underage", "animal", "caption")
    for folder in ("crawled", "crawled-again"):
        files = [path for path in (chain.folder / folder).rglob("*") if path.is_file()]
        assert files
        for path in files:
            content = path.read_bytes()
            assert not any(pair.url.encode() in content for pair in lost), path
    assert not list((chain.folder / "crawled").glob("*.tar"))
    with tarfile.open(chain.folder / "crawled-again" / "00000.tar") as tar:
        names = tar.getnames()
    table = pq.read_table(chain.folder / "crawled-again/metadata/metadata_00000.parquet")
    assert sorted(n for n in names if n.endswith(".jpg")) == [
        f"{key}.jpg" for key in table["key"].to_pylist()
    ]
    assert set(table["url"].to_pylist()) <= kept


def test_a_crawl_marker_counts_every_image_of_its_wat(chain: Chain) -> None:
    world = chain.world
    number = Counter(pair.kind for pair in world.planted)
    crawl = chain.counts("crawled")
    assert crawl["count"] == len(world.planted)
    # Pairs that two WAT files have are known for repeated when the release is made.
    assert crawl["successes"] == chain.counts("release-crawled")["count"]
    repeated = crawl.get("duplicate", 0) + chain.counts("release-crawled").get("duplicate", 0)
    assert repeated == number["duplicate"]
    for reason, kind in (
        ("text_too_short", "short"), ("language", "german"), ("too_small", "tiny"),
        ("unwanted_format", "gif"), ("http_404", "gone"), ("illegal_underage", "underage"),
    ):  # fmt: skip
        assert crawl[reason] == number[kind], reason
    assert crawl["below_min_similarity"] >= number["mismatch"]


def test_a_crawl_resumes_where_it_stopped(chain: Chain) -> None:
    folder = chain.folder / "crawled"
    table = folder / "metadata" / "metadata_00001.parquet"
    before, kept = pq.read_table(table), (folder / "00000_stats.json").stat().st_mtime_ns
    (folder / "00001_stats.json").unlink()
    with ShapeWeb(chain.world) as address:
        chain.run(
            "crawl", wat=chain.place("wats"), output_folder=str(folder), processes_count=1,
            connect_to=f"::{address}", allow_private_addresses=True, retries=1,
        )  # fmt: skip
    again = pq.read_table(table)
    assert again.drop_columns(["similarity"]).equals(before.drop_columns(["similarity"]))
    assert (folder / "00000_stats.json").stat().st_mtime_ns == kept


def test_the_card_tells_every_stage(chain: Chain) -> None:
    card = (chain.folder / "release" / "README.md").read_text()
    section = card[card.index("## Stages") :]
    lines = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")]
    order = [name for name in lines if name in COMMANDS]
    stages = ["extract", "dedup", "download", "score", "tag", "release"]
    assert [name for n, name in enumerate(order) if name not in order[:n]] == stages
    assert "| download | too_small | 1 |" in card
    table1 = json.loads((chain.folder / "release" / "table1.json").read_text())["table1"]
    assert table1["Number of unique samples"]["here"] == len(chain.release("release"))
    assert table1["Number with height and width >= 256"]["here"] == len(chain.release("release"))


@pytest.mark.parametrize("name", ["release", "release-crawled"])
def test_a_release_is_searched_with_the_model_that_made_it(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, name: str
) -> None:
    """It need not be named again, neither for the index nor for the search, from any folder."""
    pytest.importorskip("faiss")
    monkeypatch.chdir(tmp_path)
    assert cli.run(["index", "--input", chain.place(name), "--output_folder", "index"]) == 0
    capsys.readouterr()
    question = ["search", "--index", "index", "--text", "a red circle", "-k", "3"]
    assert cli.run([*question, "--nosafe", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert len(found) == 3
    assert all("red" in row["text"] or "circle" in row["text"] for row in found)


def test_every_folder_of_embeddings_names_its_model(chain: Chain) -> None:
    """By its absolute path, where it is a file, so that it is found from another folder."""
    for name in ("scored", "tagged", "release", "crawled", "release-crawled"):
        assert list(read_model(OutputFolder.open(chain.place(name)))[:2]) == chain.model[1::2]


def test_img2ds_downloads_the_release_again(chain: Chain, tmp_path: Path) -> None:
    with ShapeWeb(chain.world) as address:
        report = img2ds.download(
            url_list=chain.place("release"), input_format="parquet", url_col="URL",
            caption_col="TEXT", save_additional_columns=["SAMPLE_ID", "NSFW"],
            output_folder=str(tmp_path / "again"), output_format="webdataset", processes_count=1,
            connect_to=f"::{address}", allow_private_addresses=True,
        )  # fmt: skip
    assert report.exit_code == 0
    assert report.tally.successes == report.tally.count == len(chain.release("release"))
    table = pq.read_table(tmp_path / "again" / "00000.parquet")
    released = chain.release("release")
    assert table["original_width"].to_pylist() == released["WIDTH"].to_pylist()
    assert table["original_height"].to_pylist() == released["HEIGHT"].to_pylist()
    assert table["caption"].to_pylist() == released["TEXT"].to_pylist()


def test_purging_takes_dropped_pairs_out_of_shards_and_scores(chain: Chain, tmp_path: Path) -> None:
    """On a copy, whose folders lie elsewhere: all is redone there but extract and dedup."""
    world = chain.world
    dropped = keys(world.of("underage", "animal", "caption"))
    copy = Chain(tmp_path, world, tuple(chain.model[1::2]))  # type: ignore[arg-type]
    shutil.copytree(chain.folder / "shards", tmp_path / "shards")
    shutil.copy(chain.folder / "prompts.json", tmp_path)
    for _ in range(2):  # scored and tagged once more, where nothing is left to do
        copy.run("score", input=copy.place("shards"), output_folder=copy.place("scored"))
        copy.run(
            "tag", input=copy.place("scored"), output_folder=copy.place("tagged"),
            processes_count=1, purge=True,
        )  # fmt: skip
    left = copy.counts("shards")
    assert left["successes"] == chain.counts("shards")["successes"] - len(dropped)
    for folder in ("shards", "scored", "tagged"):
        for path in (tmp_path / folder).rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            assert not any(url.encode() in content for url, _ in dropped), path
    markers = [json.loads(p.read_text()) for p in (tmp_path / "shards").glob("*_stats.json")]
    assert sum(marker.get("purged", 0) for marker in markers) == len(dropped)


def test_rerunning_the_pipeline_changes_nothing(chain: Chain) -> None:
    before = {p: p.read_bytes() for p in (chain.folder / "tagged").rglob("*") if p.is_file()}
    chain.run(
        "tag", input=chain.place("scored"), output_folder=chain.place("tagged"), processes_count=1
    )
    assert before == {
        p: p.read_bytes() for p in (chain.folder / "tagged").rglob("*") if p.is_file()
    }
