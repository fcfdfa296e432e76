"""`laion annotate`, and the same columns of `laion score`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from laion import cli
from laion.annotate.tokens import count_tokens, lengths_of, padding_of
from tests.laion.annotate.head_files import scores, write_head
from tests.laion.clip.shape_shards import shape_pairs, write_shard
from tests.laion.embedding_folders import row, write_tree

CAPTIONS = ["a photo of a red house", "Das Haus steht am See", None, "12 34"]


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Two shards of four pairs; the second one's languages are known."""
    shards = {
        number: [
            row(4 * number + n, caption=caption, language="fr" if number else None)
            for n, caption in enumerate(CAPTIONS)
        ]
        for number in range(2)
    }
    write_tree(tmp_path / "scored", shards)
    return tmp_path / "scored"


def annotate(source: Path, output: Path, *more: str) -> int:
    return cli.run(
        ["annotate", "--input", str(source), "--output_folder", str(output),
         "--processes_count", "1", *more]
    )  # fmt: skip


def rows_of(folder: Path) -> list[dict[str, Any]]:
    paths = sorted((folder / "metadata").glob("*.parquet"))
    return [values for path in paths for values in pq.read_table(path).to_pylist()]


def test_heads_become_columns_and_all_else_stays(scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    aesthetic = write_head(tmp_path / "a.pth", "aesthetic", seed=1)
    nsfw = write_head(tmp_path / "n.safetensors", "h14", seed=2)
    heads = f"aesthetic={tmp_path}/a.pth,nsfw={tmp_path}/n.safetensors"
    assert annotate(scored, out, "--heads", heads) == 0
    for number in range(2):
        before = pq.read_table(scored / f"metadata/metadata_0000{number}.parquet")
        after = pq.read_table(out / f"metadata/metadata_0000{number}.parquet")
        assert after.select(before.column_names).equals(before)
        assert after.column_names == [*before.column_names, "aesthetic", "punsafe"]
        images = np.load(scored / f"img_emb/img_emb_0000{number}.npy")
        for column, made in (("aesthetic", aesthetic), ("punsafe", nsfw)):
            assert after[column].type == "float"
            np.testing.assert_allclose(after[column].to_numpy(), scores(made, images), atol=1e-5)
        for kind in ("img_emb", "text_emb"):
            name = f"{kind}/{kind}_0000{number}.npy"
            assert (scored / name).read_bytes() == (out / name).read_bytes()
        marker = json.loads((out / f"0000{number}_stats.json").read_text())
        assert (marker["count"], marker["successes"]) == (4, 4)


def test_languages_are_detected_where_there_are_none(scored: Path, tmp_path: Path) -> None:
    assert annotate(scored, tmp_path / "out", "--language_rule", "captions") == 0
    languages = [values["language"] for values in rows_of(tmp_path / "out")]
    assert languages == ["en", "de", None, "un", "fr", "fr", "fr", "fr"]


def test_the_output_can_be_filtered_by_the_new_columns(scored: Path, tmp_path: Path) -> None:
    write_head(tmp_path / "a.pth", "linear")
    out = tmp_path / "out"
    assert annotate(scored, out, "--heads", f"aesthetic={tmp_path}/a.pth") == 0
    found = sorted(values["aesthetic"] for values in rows_of(out))
    command = ["filter", "--input", str(out), "--output_folder", str(tmp_path / "kept")]
    assert cli.run([*command, "--where", f"aesthetic >= {found[5]:.9g}"]) == 0
    assert len(rows_of(tmp_path / "kept")) == 3


def test_images_alone_have_scores_too(scored: Path, tmp_path: Path) -> None:
    shutil.rmtree(scored / "text_emb")
    write_head(tmp_path / "a.pth", "linear")
    assert annotate(scored, tmp_path / "out", "--heads", f"aesthetic={tmp_path}/a.pth") == 0
    assert {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()} == {"img_emb", "metadata"}


def test_it_resumes_with_the_same_head_only(scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = tmp_path / "a.pth"
    write_head(path, "linear")
    assert annotate(scored, out, "--heads", f"aesthetic={path}") == 0
    before = {file: file.read_bytes() for file in out.rglob("*.parquet")}
    (out / "00001_stats.json").unlink()
    moved = path.rename(tmp_path / "moved.pth")
    assert annotate(scored, out, "--heads", f"aesthetic={moved}") == 0
    assert {file: file.read_bytes() for file in out.rglob("*.parquet")} == before
    write_head(path, "linear", seed=9)
    assert annotate(scored, out, "--heads", f"aesthetic={path}") == 2


def test_a_head_for_another_model_is_refused_before_work(
    scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_head(tmp_path / "a.pth", "linear", dim=12)
    assert annotate(scored, tmp_path / "out", "--heads", f"aesthetic={tmp_path}/a.pth") == 2
    error = capsys.readouterr().err.strip()
    assert "takes embeddings of 12 numbers" in error
    assert "has 8: use a head that was trained for this model" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "there is nothing to add"),
        (["--heads", "aesthetic=missing.pth"], "missing.pth cannot be read: no such file"),
        (["--heads", "similarity=a.pth"], "that of a new column"),
        (["--language_rule", "english"], "captions, cld2"),
        (["--token_counts"], "--model is required with --token_counts"),
        (["--language_rule", "cld2", "--model", "ViT-B-32"], "go with --token_counts"),
    ],
)
def test_wrong_use_is_one_line(
    flags: list[str], words: str, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert annotate(scored, tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


class Tokens:
    """Stands for a tokenizer: one token a word, a start and an end, filled up with 7."""

    def __call__(self, texts: list[str]) -> Any:
        torch = pytest.importorskip("torch")
        rows = [[1, *range(10, 10 + len(text.split())), 2][:6] for text in texts]
        return torch.tensor([[*found, *[7] * (6 - len(found))] for found in rows])


def test_tokens_are_counted_without_padding() -> None:
    tokenize = Tokens()
    assert padding_of(tokenize) == 7
    texts = ["", "a", "a b", None, "a b c d e f g"]
    assert count_tokens(tokenize, texts, 7).tolist() == [2, 3, 4, 2, 6]
    assert lengths_of(np.full((1, 6), 7), 7).tolist() == [0]


def test_scores_have_the_same_columns_as_annotated_ones(
    tiny_model: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path / "shards/00000.tar", shape_pairs(0, 40))
    write_head(tmp_path / "a.pth", "linear", dim=64)
    flags = [
        "--heads", f"aesthetic={tmp_path}/a.pth", "--language_rule", "captions", "--token_counts",
    ]  # fmt: skip
    score = [
        "score", "--input", str(tmp_path / "shards"), "--model", tiny_model[0],
        "--pretrained", tiny_model[1], "--devices", "cpu",
    ]  # fmt: skip
    assert cli.run([*score, "--output_folder", str(tmp_path / "plain")]) == 0
    assert cli.run([*score, "--output_folder", str(tmp_path / "scored"), *flags]) == 0
    assert annotate(tmp_path / "plain", tmp_path / "annotated", *flags) == 0
    scored, annotated = rows_of(tmp_path / "scored"), rows_of(tmp_path / "annotated")
    assert [values.pop("aesthetic") for values in scored] == pytest.approx(
        [values.pop("aesthetic") for values in annotated], abs=1e-4
    )
    assert [list(values) for values in scored] == [list(values) for values in annotated]
    assert scored == annotated
    first = scored[0]
    assert first["text_tokens"] == len(first["caption"].split()) + 2  # start and end
    assert first["image_tokens"] == 4  # 64 pixels in a ResNet of 32-fold reduction
    assert first["language"] is not None
    write_head(tmp_path / "wrong.pth", "linear", dim=63)
    wrong = ["--heads", f"aesthetic={tmp_path}/wrong.pth"]
    assert cli.run([*score, "--output_folder", str(tmp_path / "scored"), *wrong]) == 2
    assert cli.run([*score, "--output_folder", str(tmp_path / "scored")]) == 2  # other columns
