"""`laion release` over made-up folders: what is in, what is not, and under which names."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from laion import cli
from laion.data.release_schema import RELEASE_SCHEMA
from laion.provenance import StageCounts
from laion.release.contents import Contents
from laion.release.datasheet import datasheet
from laion.release.stage import ReleaseOptions, ReleaseReport, run
from tests.laion.embedding_folders import row, unit_rows, write_tree

GENUINE = Path(__file__).parents[4] / "shared" / "data" / "laion400m-20rows.parquet"

NSFW = pa.field("nsfw", pa.string())


def release(folder: Path, source: Path, **flags: Any) -> ReleaseReport:
    values = {"processes_count": 1, "figures": False, **flags}
    return run(ReleaseOptions(input=str(source), output_folder=str(folder), **values))


def read(folder: Path) -> pa.Table:
    """All parts, in order."""
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("part-*.parquet")))


def planted() -> dict[int, list[dict[str, Any]]]:
    """Three parts: 12 pairs above 0.3, of which two are repeated; one exactly at it."""
    return {
        0: [row(0), row(1, similarity=0.29999), row(2, similarity=0.3), row(3)],
        1: [row(10), row(0, key="000010001"), row(11), row(12, similarity=None)],
        10: [
            row(20), row(21), row(10, key="000100002", license="x"),
            # Another text, or another image, makes another pair.
            row(0, key="000100003", caption="another text"), row(22, caption="image 21"),
            row(23, similarity=-0.1),
        ],
    }  # fmt: skip


@pytest.mark.parametrize("stage", ["tag", None])
def test_each_pair_above_the_threshold_is_in_once(tmp_path: Path, stage: str | None) -> None:
    write_tree(tmp_path / "scored", planted(), stage=stage)
    report = release(tmp_path / "out", tmp_path / "scored")
    assert report.exit_code == 0
    table = read(tmp_path / "out")
    captions = [(url.rpartition("/")[2], text) for url, text in pairs(table)]
    assert captions == [
        ("0.jpg", "image 0"), ("2.jpg", "image 2"), ("3.jpg", "image 3"),
        ("10.jpg", "image 10"), ("11.jpg", "image 11"),
        ("20.jpg", "image 20"), ("21.jpg", "image 21"), ("0.jpg", "another text"),
        ("22.jpg", "image 21"),
    ]  # fmt: skip
    assert table["LICENSE"].to_pylist() == ["?"] * 9, "the first of equal pairs counts"
    marker = json.loads((tmp_path / "out" / "00000_stats.json").read_text())
    assert (marker["count"], marker["successes"]) == (14, 9)
    assert marker["reasons"] == {"low_similarity": 2, "duplicate": 2, "no_similarity": 1}


@pytest.mark.parametrize("stage", ["score", None])
def test_pairs_that_were_never_tagged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str | None
) -> None:
    """It is said on stderr and at the top of the card, and can be refused."""
    write_tree(tmp_path / "scored", planted(), stage=stage)
    with pytest.raises(UsageError, match=r"was never tagged.*run laion tag"):
        release(tmp_path / "out", tmp_path / "scored", require_tags=True)
    assert not (tmp_path / "out").exists()
    assert release(tmp_path / "out", tmp_path / "scored").exit_code == 0
    assert "the filter for illegal content did not run" in capsys.readouterr().err
    top = (tmp_path / "out" / "README.md").read_text().partition("# Image-text pairs")[2]
    assert "was never tagged" in top[:200]


def test_a_tagged_folder_is_released_without_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tree(tmp_path / "tagged", planted(), stage="tag")
    report = release(tmp_path / "out", tmp_path / "tagged", require_tags=True)
    assert report.exit_code == 0
    assert "never tagged" not in capsys.readouterr().err
    assert "never tagged" not in (tmp_path / "out" / "README.md").read_text()


def pairs(table: pa.Table) -> list[tuple[str, str]]:
    return list(zip(table["URL"].to_pylist(), table["TEXT"].to_pylist(), strict=True))


def test_the_schema_is_that_of_laion_400m(tmp_path: Path) -> None:
    write_tree(tmp_path / "scored", planted())
    release(tmp_path / "out", tmp_path / "scored")
    ours = pq.read_schema(tmp_path / "out" / "part-00000-of-00001.parquet")
    assert ours.equals(RELEASE_SCHEMA, check_metadata=True)
    if not GENUINE.exists():
        pytest.skip("shared data is absent: compared with the schema in the code alone")
    genuine = pq.read_schema(GENUINE)
    assert ours.equals(genuine), "names, types, order and nullability"
    physical = pq.ParquetFile(tmp_path / "out" / "part-00000-of-00001.parquet").schema
    for mine, theirs in zip(physical, pq.ParquetFile(GENUINE).schema, strict=True):
        assert (mine.name, mine.physical_type, mine.logical_type.type) == (
            theirs.name, theirs.physical_type, theirs.logical_type.type,
        )  # fmt: skip
        assert mine.max_definition_level == theirs.max_definition_level


def test_sizes_are_the_originals_and_values_are_carried(tmp_path: Path) -> None:
    rows = [
        row(0, license="http://creativecommons.org/licenses/by/4.0/", nsfw="UNSURE"),
        row(1, license=None, original_width=None, original_height=None, nsfw=None, caption=None),
    ]
    write_tree(tmp_path / "scored", {0: rows}, columns=[NSFW])
    release(tmp_path / "out", tmp_path / "scored")
    first, second = read(tmp_path / "out").to_pylist()
    assert (first["WIDTH"], first["HEIGHT"], first["NSFW"]) == (800, 600, "UNSURE")
    assert first["LICENSE"] == "http://creativecommons.org/licenses/by/4.0/"
    assert first["similarity"] == pytest.approx(0.35)
    assert (second["WIDTH"], second["HEIGHT"], second["NSFW"]) == (None, None, "")
    assert (second["LICENSE"], second["TEXT"]) == ("?", "")


def test_untagged_pairs_have_an_empty_tag(tmp_path: Path) -> None:
    write_tree(tmp_path / "scored", {0: [row(0)]})
    release(tmp_path / "out", tmp_path / "scored")
    assert read(tmp_path / "out")["NSFW"].to_pylist() == [""]


def test_embeddings_and_metadata_are_aligned_with_the_parts(tmp_path: Path) -> None:
    parts = planted()
    images = {n: unit_rows(len(rows), 8, n) for n, rows in parts.items()}
    texts = {n: unit_rows(len(rows), 8, n + 50) for n, rows in parts.items()}
    write_tree(tmp_path / "scored", parts, images=images, texts=texts)
    release(tmp_path / "out", tmp_path / "scored", rows_per_part=2)
    vectors = {
        values["key"]: (images[n][i], texts[n][i])
        for n, rows in parts.items()
        for i, values in enumerate(rows)
    }
    names = sorted(path.name for path in (tmp_path / "out").glob("part-*"))
    assert names == [f"part-{n:05d}-of-00003.parquet" for n in range(3)]
    for number, name in enumerate(names):
        table = pq.read_table(tmp_path / "out" / name)
        metadata = pq.read_table(tmp_path / f"out/metadata/metadata_{number:05d}.parquet")
        image = np.load(tmp_path / f"out/img_emb/img_emb_{number:05d}.npy")
        text = np.load(tmp_path / f"out/text_emb/text_emb_{number:05d}.npy")
        assert table["URL"].to_pylist() == metadata["url"].to_pylist()
        assert table["TEXT"].to_pylist() == metadata["caption"].to_pylist()
        assert image.dtype == np.float16
        for key, a, b in zip(metadata["key"].to_pylist(), image, text, strict=True):
            assert (a == vectors[key][0]).all()
            assert (b == vectors[key][1]).all()
    sizes = [pq.read_metadata(tmp_path / "out" / name).num_rows for name in names]
    assert sizes == [3, 2, 4], "whole parts of the input, until there are two rows"


def test_sample_ids_are_the_same_in_every_run(tmp_path: Path) -> None:
    parts = planted()
    write_tree(tmp_path / "a", parts)
    # The same pairs, cut and ordered otherwise, and with others among them.
    rows = [row(99), *(values for part in parts.values() for values in part)][::-1]
    write_tree(tmp_path / "b", {0: rows[:7], 1: rows[7:]})
    ids = []
    for name in ("a", "b"):
        release(tmp_path / f"out-{name}", tmp_path / name)
        table = read(tmp_path / f"out-{name}")
        ids.append(dict(zip(pairs(table), table["SAMPLE_ID"].to_pylist(), strict=True)))
        assert len(set(ids[-1].values())) == len(ids[-1])
        assert min(ids[-1].values()) >= 0
    assert {**ids[1], **ids[0]} == ids[1]
    assert len(ids[1]) == len(ids[0]) + 1


def test_the_card_answers_a_datasheets_questions() -> None:
    contents = Contents()
    contents.add(
        pa.table(
            {
                "HEIGHT": pa.array([300, None, 300, 300], pa.int32()),
                "WIDTH": pa.array([300, 300, 300, 300], pa.int32()),
                "NSFW": ["UNLIKELY", "UNLIKELY", "UNSURE", "NSFW"],
                "LICENSE": ["?", "?", "?", "https://creativecommons.org/licenses/by/4.0/"],
                "similarity": [0.3, 0.4, None, 0.5],
            }
        )
    )
    stages = [
        StageCounts("extract", "e", 7, 100, 50, Counter(text_too_short=50)),
        StageCounts("release", "r", 1, 50, 4, Counter(low_similarity=40, duplicate=6)),
    ]
    text = "\n".join(datasheet(contents, stages, tagged=True))
    assert "an image's URL and a text, 4 of them" in text
    assert "4.0 % of the 100 pairs that `extract` saw" in text
    assert "1 pair (25.0 %) without a size. 1 pair (25.0 %) without a similarity." in text
    assert "75.0 % have no known licence" in text
    assert "`UNSURE` 25.0 %, `NSFW` 25.0 %" in text
    assert "in 7 WAT files" in text
    assert "`release` dropped for low_similarity 80.0 %, duplicate 12.0 %." in text
    assert "25.0 % of the pairs come from pages that link to a Creative Commons licence" in text
    untagged = "\n".join(datasheet(contents, [], tagged=False))
    assert "were never tagged" in untagged
    assert "left no record" in untagged


def test_card_table_and_histogram(tmp_path: Path) -> None:
    write_tree(tmp_path / "scored", planted(), stage="tag")
    report = release(tmp_path / "out", tmp_path / "scored", figures=True)
    table1 = json.loads((tmp_path / "out" / "table1.json").read_text())["table1"]
    assert [next(iter(table1)), table1["Number of unique samples"]["here"]] == [
        "Number of unique samples", 9,
    ]  # fmt: skip
    assert table1["Number with height or width >= 512"] == {"here": 9, "paper": 112_000_000}
    assert table1["Number with height or width >= 1024"]["here"] == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| tag | 3 | 20 | 14 | 6 |" in card, "a stage's counts, from its commit markers"
    assert "| tag | decode_error | 6 |" in card
    assert "| release | 1 | 14 | 9 | 5 |" in card
    assert "| release | low_similarity | 2 |" in card
    assert "Number with height or width >= 512" in report.text
    png = (tmp_path / "out" / "figures" / "similarity.png").read_bytes()
    assert png.startswith(b"\x89PNG")


def test_it_opens_with_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    write_tree(tmp_path / "scored", planted())
    release(tmp_path / "out", tmp_path / "scored", rows_per_part=2)
    loaded = datasets.load_dataset(
        str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.column_names == RELEASE_SCHEMA.names
    assert loaded["SAMPLE_ID"][:] == read(tmp_path / "out")["SAMPLE_ID"].to_pylist()


def test_rerunning_adds_nothing_and_changed_inputs_are_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "scored", planted())
    release(tmp_path / "out", tmp_path / "scored", rows_per_part=2)
    (tmp_path / "out" / "00001_stats.json").unlink()
    again = release(tmp_path / "out", tmp_path / "scored", rows_per_part=2)
    assert (again.stage.shards_committed, again.stage.shards_before) == (1, 2)
    assert read(tmp_path / "out").num_rows == 9
    with pytest.raises(UsageError, match=r"--threshold 0.2, there 0.3"):
        release(tmp_path / "out", tmp_path / "scored", rows_per_part=2, threshold=0.2)
    release(tmp_path / "out", tmp_path / "scored", incremental_mode="overwrite")
    assert [path.name for path in (tmp_path / "out").glob("part-*")] == [
        "part-00000-of-00001.parquet"
    ], "no part of the former release is left"
    assert [path.name for path in (tmp_path / "out" / "img_emb").iterdir()] == ["img_emb_00000.npy"]


def test_parts_whose_columns_differ_are_put_together(tmp_path: Path) -> None:
    write_tree(tmp_path / "scored", {0: [row(0)], 1: [row(1)], 2: []})
    folder = tmp_path / "scored/metadata"
    for number, (kind, value) in enumerate([(pa.int64(), 7), (pa.string(), None)]):
        path = folder / f"metadata_{number:05d}.parquet"
        column = pa.array([value], kind)
        pq.write_table(pq.read_table(path).append_column("extra", column), path)
    assert release(tmp_path / "out", tmp_path / "scored").exit_code == 0
    table = pq.read_table(tmp_path / "out/metadata/metadata_00000.parquet")
    assert table["extra"].to_pylist() == ["7", None]


def test_nothing_above_the_threshold_is_an_empty_release(tmp_path: Path) -> None:
    write_tree(tmp_path / "scored", planted())
    report = release(tmp_path / "out", tmp_path / "scored", threshold=0.9, figures=True)
    assert report.exit_code == 0
    assert read(tmp_path / "out").num_rows == 0
    assert np.load(tmp_path / "out/img_emb/img_emb_00000.npy").shape == (0, 8)


def test_an_unfinished_stage_is_not_released(tmp_path: Path) -> None:
    write_tree(tmp_path / "scored", planted())
    (tmp_path / "scored" / "00001_stats.json").unlink()
    with pytest.raises(UsageError, match="not finished, 1 of its shards"):
        release(tmp_path / "out", tmp_path / "scored")


def test_misaligned_embeddings_stop_the_part(tmp_path: Path) -> None:
    write_tree(tmp_path / "scored", planted())
    np.save(tmp_path / "scored" / "img_emb" / "img_emb_00001.npy", unit_rows(3, 8, 0))
    report = release(tmp_path / "out", tmp_path / "scored", max_shard_retry=0)
    assert report.exit_code == 1
    assert "3 rows" in report.stage.failed[0]
    assert not list((tmp_path / "out").glob("part-*"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--input", "nowhere"], "--input nowhere: there is no such folder"),
        (["--input", "scored", "--threshold", "1.5"], "from -1 to 1"),
        (["--input", "scored", "--incremental_mode", "extend"], "use --incremental_mode overwrite"),
        (["--input", "scored", "--stages", "nowhere"], "no committed shards"),
        (["--input", "scored", "--treshold", "0.3"], "did you mean --threshold?"),
        (["--input", "unscored"], "text_emb_00000.npy is missing: embed images and captions"),
        (["--input", "scored", "--tmp_dir", "/dev/null/x"], "cannot write to /dev/null/x"),
    ],
)
def test_wrong_use_is_one_line(
    flags: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "scored", {0: [row(0)]})
    write_tree(tmp_path / "unscored", {0: [row(0)]})
    path = tmp_path / "unscored/metadata/metadata_00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["similarity"]), path)
    (tmp_path / "unscored/text_emb/text_emb_00000.npy").unlink()
    assert cli.run(["release", *flags, "--output_folder", "out"]) == 2
    output = capsys.readouterr().err
    assert words in output
    assert len(output.splitlines()) == 1
    assert not (tmp_path / "out").exists()
