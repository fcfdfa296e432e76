"""Every command on folders of img2dataset and clip-retrieval: it works, or says what is missing.

The folders are made by code, as those programs lay them out; `tests/readers` compares them with
the programs' own.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from img2ds import cli as img2ds_cli
from laion import cli
from laion.provenance import read_stage
from tests.laion.clip.shape_shards import shape_pairs
from tests.laion.clip_retrieval_folder import write_embeddings, write_index
from tests.manage.img2dataset_folder import write_shard

pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two webdataset shards of shapes as img2dataset leaves them, with NaN and failed rows."""
    folder = tmp_path_factory.mktemp("img2dataset")
    for number in (0, 1):
        pairs = shape_pairs(number, 10)
        bodies = [pair.body or b"" for pair in pairs]
        columns = [{"score": float("nan"), "caption": pair.caption} for pair in pairs]
        write_shard(folder, number, image=bodies.__getitem__, columns=columns.__getitem__)
    return folder


def laion(*words: object) -> int:
    return cli.run([str(word) for word in words])


def flags(model: tuple[str, str]) -> list[str]:
    return ["--model", model[0], "--pretrained", model[1]]


@pytest.fixture(scope="module")
def scored(
    downloaded: Path, tiny_model: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("scored") / "out"
    words = ["score", "--input", downloaded, "--output_folder", out, "--devices", "cpu"]
    assert laion(*words, *flags(tiny_model)) == 0
    return out


def test_a_folder_of_img2dataset_is_released(
    downloaded: Path, scored: Path, tmp_path: Path
) -> None:
    """Its markers have messages in place of reasons: the card counts those."""
    stage = read_stage(str(downloaded))
    assert stage is not None
    assert (stage.stage, stage.count, stage.kept) == ("download", 20, 10)
    out = tmp_path / "release"
    assert laion("release", "--input", scored, "--output_folder", out, "--threshold", -1) == 0
    assert "| download | http_404 | 4 |" in (out / "README.md").read_text()
    (part,) = out.glob("part-*.parquet")
    assert pq.read_metadata(part).num_rows == 10
    assert laion("stats", "--input", out) == 0


def test_dropped_pairs_of_img2dataset_are_purged(
    downloaded: Path, scored: Path, tmp_path: Path, tiny_model: tuple[str, str]
) -> None:
    for source, name in ((downloaded, "shards"), (scored, "scored")):
        for path in source.rglob("*"):
            target = tmp_path / name / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                target.write_bytes(path.read_bytes())
    table = pq.read_table(tmp_path / "scored/metadata/metadata_00000.parquet")
    captions = ["a nude kid", *table["caption"].to_pylist()[1:]]
    place = table.schema.names.index("caption")
    pq.write_table(
        table.set_column(place, "caption", [captions]),
        tmp_path / "scored/metadata/metadata_00000.parquet",
    )
    words = ["tag", "--input", tmp_path / "scored", "--output_folder", tmp_path / "tagged"]
    purge = ["--purge", "--shards", tmp_path / "shards", *flags(tiny_model)]
    document = {
        "nsfw": {"safe": ["a circle", "a star"], "unsafe": ["x", "y"]},
        "underage": {"flagged": ["x"], "other": ["a circle", "a star", "a square"]},
        "animals": {"flagged": ["x"], "other": ["a circle", "a star"]},
        "captions": {"underage": ["kid"], "unsafe": ["nude"]},
    }
    (tmp_path / "prompts.json").write_text(json.dumps(document))
    assert laion(*words, *purge, "--prompts", tmp_path / "prompts.json") == 0
    kept: list[str] = []
    for number in (0, 1):
        left = pq.read_table(tmp_path / f"tagged/metadata/metadata_{number:05d}.parquet")
        kept += left["key"].to_pylist()
        with tarfile.open(tmp_path / f"shards/{number:05d}.tar") as tar:
            names = [name.partition(".")[0] for name in tar.getnames()]
        assert sorted(set(names)) == left["key"].to_pylist()
        assert len(names) == 3 * left.num_rows
        rows = pq.read_table(tmp_path / f"shards/{number:05d}.parquet").to_pylist()
        assert sorted(r["key"] for r in rows if r["status"] == "success") == sorted(set(names))
        marker = json.loads((tmp_path / f"shards/{number:05d}_stats.json").read_text())
        assert (marker["count"], marker["successes"]) == (left.num_rows + 5, left.num_rows)
    assert table["key"][0].as_py() not in kept
    assert 0 < len(kept) < 10
    stage = read_stage(str(tmp_path / "shards"))
    assert stage is not None
    assert stage.kept == len(kept)


def test_img2datasets_tables_need_the_releases_columns(
    downloaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert laion("stats", "--input", downloaded) == 2
    assert "has no column URL; it has: score, caption, url" in one_line(capsys)


def refused(words: list[object], folder: Path, out: Path, model: tuple[str, str]) -> bool:
    """Whether the command refuses the folder and writes nothing."""
    more: list[object] = []
    if words[0] not in ("search", "serve", "stats"):
        more += ["--output_folder", out]
    if words[0] in ("tag", "index", "crawl"):
        more += flags(model)
    return laion(*words, folder, *more) == 2 and not out.exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["extract", "--wat"], "has no file that ends in .wat, .wat.gz"),
        (["tag", "--input"], "has no metadata/metadata_N.parquet"),
        (["release", "--input"], "has no metadata/metadata_N.parquet"),
        (["index", "--input"], "is not an embedding folder"),
        (["search", "--id", 1, "--index"], "has no finished index"),
        (["serve", "--index"], "has no finished index"),
    ],
)
def test_what_reads_no_folder_of_img2dataset_says_so(
    downloaded: Path, tmp_path: Path, words: list[object], error: str,
    tiny_model: tuple[str, str], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert refused(words, downloaded, tmp_path / "out", tiny_model)
    assert error in one_line(capsys)


def test_images_of_img2dataset_are_served(
    downloaded: Path, scored: Path, tmp_path: Path, tiny_model: tuple[str, str]
) -> None:
    """By their keys, out of its tars."""
    pytest.importorskip("faiss")
    from laion.knn.searcher import Searcher
    from laion.web.service import open_shard_images

    out = tmp_path / "index"
    assert laion("index", "--input", scored, "--output_folder", out, *flags(tiny_model)) == 0
    searcher = Searcher(str(out))
    images = open_shard_images(str(downloaded), searcher, lambda *_: None)
    row = searcher.metadata.row(3)
    name = images.name(row)
    assert name is not None
    assert name == row["key"]
    with tarfile.open(downloaded / f"{name[:5]}.tar") as tar:
        member = tar.extractfile(f"{name}.jpg")
        assert member is not None
        assert images.read(name) == member.read()


@pytest.mark.parametrize("command", ["dedup", "download", "crawl"])
def test_what_reads_candidates_says_so(
    downloaded: Path, tmp_path: Path, command: str, tiny_model: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = [command, "--input", downloaded, "--output_folder", tmp_path / "out"]
    if command == "crawl":
        words += flags(tiny_model)
    assert laion(*words) == 2
    error = one_line(capsys)
    assert "is not a candidate file" in error or "text" in error


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("laion: error: "), error
    assert error.count("\n") == 1
    return error


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    """What `clip-retrieval inference --enable_metadata` makes of a folder of img2dataset."""
    return write_embeddings(tmp_path / "embeddings", (7, 5), metadata=True)


def test_embeddings_of_clip_retrieval_are_released(embeddings: Path, tmp_path: Path) -> None:
    """The similarity, which they lack, is computed; so is a SAMPLE_ID."""
    out = tmp_path / "release"
    assert laion("release", "--input", embeddings, "--output_folder", out, "--threshold", -1) == 0
    (part,) = out.glob("part-*.parquet")
    rows = pq.read_table(part).to_pylist()
    images, texts = (
        np.concatenate([np.load(path) for path in sorted((embeddings / kind).glob("*.npy"))])
        for kind in ("img_emb", "text_emb")
    )
    cosines = (images.astype(np.float32) * texts.astype(np.float32)).sum(axis=1)
    assert np.allclose([row["similarity"] for row in rows], cosines, atol=2e-3)
    assert [row["URL"] for row in rows] == [f"http://h.example/{n}.jpg" for n in range(12)]
    assert [row["WIDTH"] for row in rows] == [None, *[640] * 11], "pandas' NaN is null"
    table = pq.read_table(out / "metadata/metadata_00000.parquet")
    assert np.allclose(table["similarity"], cosines, atol=2e-3)
    kept = tmp_path / "kept"
    assert laion("release", "--input", embeddings, "--output_folder", kept, "--threshold", 0.2) == 0
    (part,) = kept.glob("part-*.parquet")
    assert pq.read_metadata(part).num_rows == (cosines >= 0.2).sum()


def test_embeddings_of_clip_retrieval_are_tagged(
    tmp_path: Path, tiny_model: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those of files, which have paths and no URLs."""
    source = write_embeddings(tmp_path / "in", (4,), dimension=64, name="images")
    words = ["tag", "--input", source, "--output_folder", tmp_path / "out"]
    assert laion(*words) == 2
    assert "does not record the model that scored it" in one_line(capsys)
    dimension = json.loads(Path(tiny_model[0]).read_text())["embed_dim"]
    source = write_embeddings(tmp_path / "more", (4,), dimension=dimension, name="images")
    words = ["tag", "--input", source, "--output_folder", tmp_path / "out", *flags(tiny_model)]
    assert laion(*words, "--purge") == 2
    assert "has no column key" in one_line(capsys)
    assert laion(*words) == 0
    table = pq.read_table(tmp_path / "out/metadata/metadata_00000.parquet")
    assert {"image_path", "caption", "nsfw"} <= set(table.schema.names)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"name": "images"}, "has no column url; it has: image_path, caption; pairs without a URL"),
        ({"kinds": ("img_emb",), "metadata": True}, "_height; embed images and captions"),
        ({"kinds": ("img_emb",)}, "has no column url"),
    ],
)
def test_what_cannot_be_released_says_why(
    tmp_path: Path, made: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_embeddings(tmp_path / "in", (4,), **made)
    assert laion("release", "--input", source, "--output_folder", tmp_path / "out") == 2
    assert words in one_line(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["extract", "--wat"], "has no file that ends in .wat, .wat.gz"),
        (["dedup", "--input"], "has no file that ends in .parquet"),
        (["download", "--input"], "has no file that ends in .parquet"),
        (["crawl", "--input"], "has no file that ends in .parquet"),
        (["stats", "--input"], "has no file that ends in .parquet"),
        (["search", "--id", 1, "--index"], "has no finished index"),
        (["serve", "--index"], "has no finished index"),
    ],
)
def test_what_reads_no_embeddings_of_clip_retrieval_says_so(
    embeddings: Path, tmp_path: Path, words: list[object], error: str,
    tiny_model: tuple[str, str], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert refused(words, embeddings, tmp_path / "out", tiny_model)
    assert error in one_line(capsys)


def test_embeddings_are_not_samples(embeddings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = embeddings.parent / "out"
    for command in ("score", "dalle"):
        assert laion(command, "--input", embeddings, "--output_folder", out) == 2
        assert "has no samples" in one_line(capsys)


@pytest.mark.parametrize("metadata", [True, False], ids=["with URLs", "of files"])
def test_embeddings_of_clip_retrieval_are_indexed_and_searched(
    tmp_path: Path, metadata: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss")
    source = write_embeddings(tmp_path / "in", (7, 5), metadata=metadata, name="images")
    assert laion("index", "--input", source, "--output_folder", tmp_path / "index") == 0
    capsys.readouterr()
    assert laion("search", "--index", tmp_path / "index", "--id", 3, "-k", 1, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    row = found["id"]
    assert row != 3  # a row is no result of a search for what is like it
    assert found["text"] == f"caption {row}"
    assert found["url"] == (f"http://h.example/{row}.jpg" if metadata else None)
    assert found.get("image_path") == (None if metadata else f"images/{row}.jpg")
    assert laion("search", "--index", tmp_path / "index", "--id", 3, "-k", 1) == 0
    place = f"http://h.example/{row}.jpg" if metadata else f"images/{row}.jpg"
    assert place in capsys.readouterr().out


def test_pairs_without_a_url_are_counted(embeddings: Path, tmp_path: Path) -> None:
    path = embeddings / "metadata/metadata_1.parquet"
    table = pq.read_table(path)
    place = table.schema.names.index("url")
    urls = [None, "", *table["url"].to_pylist()[2:]]
    pq.write_table(table.set_column(place, "url", [urls]), path)
    out = tmp_path / "release"
    assert laion("release", "--input", embeddings, "--output_folder", out, "--threshold", -1) == 0
    marker = json.loads((out / "00000_stats.json").read_text())
    assert (marker["successes"], marker["reasons"]) == (10, {"no_url": 2})


@pytest.mark.parametrize("shape", [(0,), (0, 0), (0, 8)])
@pytest.mark.parametrize("empty", [0, 1])
def test_empty_arrays_are_read(tmp_path: Path, shape: tuple[int, ...], empty: int) -> None:
    """Whatever their width: numpy writes (0,) for an empty list."""
    pytest.importorskip("faiss")
    rows = (0, 5) if empty == 0 else (5, 0)
    source = write_embeddings(tmp_path / "in", rows, metadata=True)
    for kind in ("img_emb", "text_emb"):
        np.save(source / kind / f"{kind}_{empty}.npy", np.zeros(shape, np.float16))
    out = tmp_path / "release"
    assert laion("release", "--input", source, "--output_folder", out, "--threshold", -1) == 0
    assert np.load(out / "img_emb/img_emb_00000.npy").shape == (5, 8)
    assert laion("index", "--input", source, "--output_folder", tmp_path / "index") == 0
    assert laion("search", "--index", tmp_path / "index", "--id", 3) == 0


def test_texts_alone_are_indexed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    source = write_embeddings(tmp_path / "in", (7,), kinds=("text_emb",))
    assert laion("index", "--input", source, "--output_folder", tmp_path / "index") == 0
    words = ["search", "--index", tmp_path / "index", "--id", 3, "-k", 1, "--by", "text", "--json"]
    capsys.readouterr()
    assert laion(*words) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    assert (found["text"], found["url"]) == (f"caption {found['id']}", None)


def test_an_index_of_clip_retrieval_has_to_be_built_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss")
    folder = write_index(tmp_path / "index", write_embeddings(tmp_path / "in", (7,), metadata=True))
    for words in (["search", "--id", 1], ["serve"]):
        assert laion(words[0], "--index", folder, *words[1:]) == 2
        assert "has no index.json: laion did not make it" in one_line(capsys)
    out = ["--output_folder", tmp_path / "out"]
    for command in ("index", "release"):
        assert laion(command, "--input", folder, *out) == 2
        assert "img_emb/img_emb_0.npy" in one_line(capsys), command


@pytest.mark.parametrize("command", ["status", "verify", "retry", "reshard"])
def test_img2ds_manages_no_embeddings(
    embeddings: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "--output_folder", str(embeddings)]
    if command == "reshard":
        words += ["--to", str(embeddings.parent / "packed")]
    assert img2ds_cli.run(words) == 2
    error = capsys.readouterr().err
    assert "holds no dataset" in error
    assert error.count("\n") == 1
