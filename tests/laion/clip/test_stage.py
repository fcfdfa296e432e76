"""`laion score` from shards to files: aligned, counted, resumable, clear about what is wrong."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.storage import OutputFolder
from laion import cli
from laion.clip.metadata_table import COLUMNS, PairRow, metadata_table
from laion.provenance import read_model
from tests.laion.clip.shape_shards import Pair, shape_pairs, write_shard
from tests.manage.img2dataset_folder import write_shard as write_img2dataset_shard

pytest.importorskip("open_clip")

#: Pairs of the shards: the middle one ends within a batch.
COUNTS = (24, 9, 24)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards, JPEG, PNG and WebP, with one pair each of what cannot be scored."""
    folder = tmp_path_factory.mktemp("shards")
    for number, (count, name) in enumerate(zip(COUNTS, ("jpg", "png", "webp"), strict=True)):
        pairs = shape_pairs(number, count, name)
        if number == 0:
            pairs.append(Pair("000000100", b"<html>", "a red star"))
            pairs.append(Pair("000000101", pairs[0].body, None))
            pairs.append(Pair("000000102", pairs[0].body, " "))
            pairs.append(Pair("000000103", None, "a red star"))
            pairs.reverse()
        write_shard(folder / f"{number:05d}.tar", pairs)
    write_shard(folder / "00003.tar", [])
    return folder


def score(model: tuple[str, str], shards: Path, output: Path, *more: str) -> int:
    return cli.run(
        ["score", "--input", str(shards), "--output_folder", str(output), "--model", model[0],
         "--pretrained", model[1], "--devices", "cpu", *more]
    )  # fmt: skip


@pytest.fixture(scope="module")
def scored(
    tiny_model: tuple[str, str], shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("scored") / "out"
    assert score(tiny_model, shards, output) == 0
    return output


def read(output: Path, number: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    name = f"{number:05d}"
    return (
        pq.read_table(output / f"metadata/metadata_{name}.parquet"),
        np.load(output / f"img_emb/img_emb_{name}.npy"),
        np.load(output / f"text_emb/text_emb_{name}.npy"),
    )


def marker(output: Path, number: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((output / f"{number:05d}_stats.json").read_text())
    return document


def test_the_three_files_are_aligned(scored: Path) -> None:
    for number, count in enumerate(COUNTS):
        table, image, text = read(scored, number)
        assert table.num_rows == len(image) == len(text) == count
        assert image.dtype == text.dtype == np.float16
        for rows in (image, text):
            assert np.allclose(np.linalg.norm(rows.astype(np.float32), axis=1), 1, atol=2e-3)
        cosines = (image.astype(np.float32) * text.astype(np.float32)).sum(axis=1)
        assert np.allclose(cosines, table["similarity"].to_numpy(), atol=2e-3)
        keys = table["key"].to_pylist()
        assert keys == sorted(keys)


def test_the_metadata_are_the_shards(scored: Path) -> None:
    table, _, _ = read(scored, 0)
    assert table.schema.names == [*COLUMNS.names, "sha256", "mismatched"]
    assert table.schema.field("similarity").type == pa.float64()
    pairs = shape_pairs(0, COUNTS[0])
    for pair, row in zip(pairs, table.to_pylist(), strict=True):
        expected = {k: v for k, v in pair.fields.items() if k not in ("status", "error_message")}
        expected |= {"caption": pair.caption, "similarity": row["similarity"]}
        assert row == expected


def test_similarity_means_something(scored: Path) -> None:
    table = pa.concat_tables([read(scored, number)[0] for number in range(3)])
    similarity = table["similarity"].to_numpy()
    mismatched = table["mismatched"].to_numpy(zero_copy_only=False)
    assert (similarity[~mismatched] >= 0.3).mean() >= 0.9
    assert (similarity[mismatched] < 0.3).all()


def test_what_cannot_be_scored_is_counted(scored: Path) -> None:
    first = marker(scored, 0)
    assert first["reasons"] == {"no_caption": 2, "not_an_image": 1, "no_image": 1}
    assert first["count"] == first["successes"] + 4 == 28
    assert marker(scored, 1)["reasons"] == {}


def test_only_what_passes_is_kept(
    tiny_model: tuple[str, str], shards: Path, scored: Path, tmp_path: Path
) -> None:
    assert score(tiny_model, shards, tmp_path / "out", "--min_similarity", "0.3") == 0
    for number in range(3):
        every, image, _ = read(scored, number)
        passing = every["similarity"].to_numpy() >= 0.3
        table, kept, text = read(tmp_path / "out", number)
        assert table["key"].to_pylist() == every["key"].filter(pa.array(passing)).to_pylist()
        assert len(text) == len(kept)
        assert np.allclose(kept.astype(np.float32), image[passing].astype(np.float32), atol=2e-3)
        dropped = marker(tmp_path / "out", number)["reasons"].get("below_min_similarity", 0)
        assert dropped == (~passing).sum() > 0


@pytest.mark.parametrize(
    "flags",
    [
        ("--batch_size", "5", "--decoders", "2", "--processes_count", "2"),
        ("--preprocess", "open_clip"),
    ],
)
def test_run_options_do_not_change_the_scores(
    tiny_model: tuple[str, str], shards: Path, scored: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """open_clip's own transform decodes in full: close, and the same rows."""
    assert score(tiny_model, shards, tmp_path / "out", *flags) == 0
    for number in range(3):
        expected, images, _ = read(scored, number)
        table, found, _ = read(tmp_path / "out", number)
        assert table.drop(["similarity"]).equals(expected.drop(["similarity"]))
        close = 0.08 if "open_clip" in flags else 2e-3
        assert np.allclose(table["similarity"], expected["similarity"], atol=close)
        agreement = (found.astype(np.float32) * images.astype(np.float32)).sum(axis=1)
        assert agreement.min() > (0.97 if "open_clip" in flags else 0.998)


def test_a_run_resumes_with_missing_shards(
    tiny_model: tuple[str, str],
    shards: Path,
    scored: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    shutil.copytree(scored, output)
    names = [output / f"img_emb/img_emb_{number:05d}.npy" for number in range(3)]
    before = [name.stat().st_mtime_ns for name in names]
    rows = names[1].read_bytes()
    (output / "00001_stats.json").unlink()
    # Flags of speed alone may differ.
    assert score(tiny_model, shards, output, "--batch_size", "7") == 0
    assert "1 shard written (4 in total) in" in capfd.readouterr().out
    after = [name.stat().st_mtime_ns for name in names]
    assert before[0] == after[0]
    assert before[2] == after[2]
    assert len(names[1].read_bytes()) == len(rows)
    assert score(tiny_model, shards, output, "--min_similarity", "0.2") == 2
    assert "min_similarity" in capfd.readouterr().err


def test_files_of_a_model_are_found_from_any_folder(
    tiny_model: tuple[str, str], shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same files by another path are the same model, too."""
    folder = Path(tiny_model[0]).parent
    monkeypatch.chdir(folder)
    assert score(("tiny.json", "tiny.pt"), shards, tmp_path / "out") == 0
    monkeypatch.chdir(tmp_path)
    assert list(read_model(OutputFolder.open("out"))[:2]) == list(tiny_model)
    made = marker(tmp_path / "out", 0)
    assert score(tiny_model, shards, tmp_path / "out") == 0
    assert marker(tmp_path / "out", 0) == made


def test_other_weights_of_the_same_name_are_refused(
    tiny_model: tuple[str, str],
    shards: Path,
    scored: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    weights = Path(tiny_model[1])
    content = weights.read_bytes()
    try:
        weights.write_bytes(content + b"another training")
        assert score(tiny_model, shards, scored) == 2
    finally:
        weights.write_bytes(content)
    assert "weights" in capfd.readouterr().err


def test_a_broken_shard_costs_itself_alone(
    tiny_model: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    write_shard(folder / "00000.tar", shape_pairs(0, 6))
    write_shard(folder / "00001.tar", shape_pairs(1, 6))
    whole = (folder / "00001.tar").read_bytes()
    (folder / "00001.tar").write_bytes(whole[: len(whole) // 2])
    assert score(tiny_model, folder, tmp_path / "out") == 1
    printed = capfd.readouterr()
    assert "truncated after" in printed.out + printed.err
    assert (tmp_path / "out/00000_stats.json").exists()
    assert not (tmp_path / "out/00001_stats.json").exists()


def test_a_shard_with_no_pairs_has_a_commit_marker_alone(scored: Path) -> None:
    """As clip-retrieval: embedding-reader would align what comes after an empty array wrongly."""
    assert marker(scored, 3)["count"] == 0
    assert not list(scored.glob("*/*_00003.*"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--input", "nowhere"), "there is no file or folder"),
        (("--model", "ViT-B-31"), "did you mean ViT-B-32"),
        (("--pretrained", "nowhere.pt"), "is not a file"),
        (("--pretrained", __file__), "the file holds no weights"),
        (("--devices", "gpu"), "name cpu, cuda"),
        (("--min_similarity", "30"), "must be a cosine from -1 to 1"),
        (("--precision", "fp8"), "one of auto, fp32, bf16, fp16"),
        (("--preprocess", "openclip"), "did you mean open_clip"),
        (("--batchsize", "3"), "batch_size"),
        (("--enable_image", "maybe"), "--enable_image takes True or False"),
    ],
)
def test_wrong_use_is_one_line(
    tiny_model: tuple[str, str],
    shards: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    more: tuple[str, str],
    words: str,
) -> None:
    flags = {
        "--input": str(shards),
        "--model": tiny_model[0],
        "--pretrained": tiny_model[1],
        "--devices": "cpu",
        "--output_folder": str(tmp_path / "out"),
        more[0]: more[1],
    }
    assert cli.run(["score", *(word for pair in flags.items() for word in pair)]) == 2
    error = capfd.readouterr().err.strip()
    assert words in error
    assert error.count("\n") == 0
    assert not (tmp_path / "out").exists()


def pairs_without(image: bool = True, text: bool = True) -> list[Pair]:
    pairs = shape_pairs(0, 6)
    for pair in pairs:
        if not image:
            pair.body = None
        if not text:
            pair.caption = None
            del pair.fields["caption"]
    return pairs


def test_images_without_captions_are_embedded(
    tiny_model: tuple[str, str], scored: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tar, out = tmp_path / "00000.tar", tmp_path / "out"
    write_shard(tar, [*pairs_without(text=False), Pair("000000009", None, None)])
    assert score(tiny_model, tar, out) == 0
    assert "has images alone: there is no similarity" in capfd.readouterr().err
    table = pq.read_table(out / "metadata/metadata_00000.parquet")
    assert "similarity" not in table.schema.names
    assert table["caption"].null_count == table.num_rows == 6
    expected = read(scored, 0)[1][:6].astype(np.float32)
    found = np.load(out / "img_emb/img_emb_00000.npy").astype(np.float32)
    assert np.allclose(found, expected, atol=2e-3)
    assert not (out / "text_emb").exists()
    assert marker(out, 0)["reasons"] == {"no_image": 1}
    assert score(tiny_model, tar, out) == 0, "it is resumed"
    assert score(tiny_model, tar, tmp_path / "more", "--enable_text", "true") == 2
    assert "has no captions" in capfd.readouterr().err


def test_captions_without_images_are_embedded(
    tiny_model: tuple[str, str], scored: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tar, out = tmp_path / "00000.tar", tmp_path / "out"
    write_shard(tar, pairs_without(image=False))
    assert score(tiny_model, tar, out) == 0
    assert "has captions alone" in capfd.readouterr().err
    found = np.load(out / "text_emb/text_emb_00000.npy").astype(np.float32)
    assert np.allclose(found, read(scored, 0)[2][:6].astype(np.float32), atol=2e-3)
    assert not (out / "img_emb").exists()
    table = pq.read_table(out / "metadata/metadata_00000.parquet")
    assert table["caption"].to_pylist() == [pair.caption for pair in shape_pairs(0, 6)]
    assert score(tiny_model, tar, tmp_path / "more", "--enable_image", "true") == 2
    assert "has no images" in capfd.readouterr().err
    write_shard(tar, pairs_without(image=False, text=False))
    assert score(tiny_model, tar, tmp_path / "more") == 2
    assert "has neither images nor captions" in capfd.readouterr().err


def test_pairs_can_be_embedded_by_halves(
    tiny_model: tuple[str, str], shards: Path, scored: Path, tmp_path: Path
) -> None:
    """What a row lacks and nobody wants costs it nothing."""
    image, text = tmp_path / "image", tmp_path / "text"
    assert score(tiny_model, shards, image, "--enable_text", "False") == 0
    assert score(tiny_model, shards, text, "--enable_image=false") == 0
    assert marker(image, 0)["reasons"] == {"not_an_image": 1, "no_image": 1}
    assert marker(text, 0)["reasons"] == {"no_caption": 2}
    _, images, texts = read(scored, 1)
    found = np.load(image / "img_emb/img_emb_00001.npy")
    assert np.allclose(found.astype(np.float32), images.astype(np.float32), atol=2e-3)
    found = np.load(text / "text_emb/text_emb_00001.npy")
    assert np.allclose(found.astype(np.float32), texts.astype(np.float32), atol=2e-3)


@pytest.mark.parametrize("kind", ["files", "parquet", "webdataset"])
def test_folders_of_img2dataset(
    tiny_model: tuple[str, str], scored: Path, tmp_path: Path, kind: str
) -> None:
    """With the NaN that it writes for missing numbers; `files` keep the paths of the images."""
    pairs = shape_pairs(0, 10)
    bodies = [pair.body or b"" for pair in pairs]
    captions = [pair.caption for pair in pairs]
    write_img2dataset_shard(
        tmp_path / "in", 0, kind=kind, image=bodies.__getitem__,
        columns=lambda n: {"score": math.nan if n else 0.5, "caption": captions[n]},
    )  # fmt: skip
    assert score(tiny_model, tmp_path / "in", tmp_path / "out") == 0
    table, images, texts = read(tmp_path / "out", 0)
    kept = [0, 2, 4, 7, 9]
    assert table["key"].to_pylist() == [f"{n:06d}" for n in kept]
    assert table["score"].to_pylist() == [0.5, *[None] * 4]
    paths = [str(tmp_path / f"in/00000/{n:06d}.jpg") for n in kept]
    assert table.to_pydict().get("image_path") == (paths if kind == "files" else None)
    _, all_images, all_texts = read(scored, 0)
    for found, expected in ((images, all_images), (texts, all_texts)):
        expected = expected[kept].astype(np.float32)
        assert np.allclose(found.astype(np.float32), expected, atol=2e-3)


def test_a_folder_of_images(tiny_model: tuple[str, str], scored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for pair in shape_pairs(0, 4):
        (folder / pair.key[-1]).mkdir(parents=True)
        (folder / pair.key[-1] / "it.jpg").write_bytes(pair.body or b"")
    (folder / "0" / "bad.jpg").write_bytes(b"<html>")
    assert score(tiny_model, folder, tmp_path / "out") == 0
    table = pq.read_table(tmp_path / "out/metadata/metadata_00000.parquet")
    assert table["key"].to_pylist() == [f"{n}/it" for n in range(4)]
    assert table["image_path"].to_pylist() == [str(folder / f"{n}/it.jpg") for n in range(4)]
    assert table["width"].to_pylist() == [256] * 4
    assert marker(tmp_path / "out", 0)["reasons"] == {"not_an_image": 1}
    found = np.load(tmp_path / "out/img_emb/img_emb_00000.npy").astype(np.float32)
    assert np.allclose(found, read(scored, 0)[1][:4].astype(np.float32), atol=2e-3)


def test_equal_keys_cost_their_rows(tiny_model: tuple[str, str], tmp_path: Path) -> None:
    first, second, third = shape_pairs(0, 3)
    second.key = first.key
    write_shard(tmp_path / "00000.tar", [first, second, third])
    assert score(tiny_model, tmp_path / "00000.tar", tmp_path / "out") == 0
    assert marker(tmp_path / "out", 0)["reasons"] == {"duplicate_key": 2}
    assert read(tmp_path / "out", 0)[0]["key"].to_pylist() == [third.key]


def test_metadata_of_other_makers() -> None:
    """A released LAION list's spellings; sizes from the image; odd values as JSON; nulls."""
    rows = [
        PairRow(
            "a", "x", {"URL": "u", "LICENSE": "?", "similarity": 0.4, "n": 1, "o": [1]}, (30, 20)
        ),
        PairRow("b", "y", {"original_width": 90, "width": 45, "n": 2.5, "o": "text"}, (30, 20)),
        PairRow("c", "z", {"original_width": "wide", "big": {"a": 2}}, (30, 20)),
    ]
    table = metadata_table(rows, np.array([0.25, 0.5, 0.75], np.float32))
    first, second, third = table.to_pylist()
    assert (first["url"], first["license"], first["language"]) == ("u", "?", None)
    assert (first["width"], first["height"], first["original_width"]) == (30, 20, 30)
    assert (second["width"], second["height"], second["original_width"]) == (45, 20, 90)
    assert third["original_width"] == 30
    assert [first["similarity"], first["input_similarity"]] == [0.25, 0.4]
    assert [row["n"] for row in (first, second, third)] == [1.0, 2.5, None]
    assert [row["o"] for row in (first, second, third)] == ["[1]", "text", None]
    assert third["big"] == '{"a":2}'
    assert "URL" not in table.schema.names
