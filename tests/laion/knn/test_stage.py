"""`laion index`: the index folder, rejected input, and resuming after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from laion import cli
from laion.knn import index_builder
from laion.knn.faiss_index import FaissIndex
from laion.knn.recall import held_out_rows
from laion.knn.searcher import Searcher, SearchParams
from tests.laion.knn.embedding_folders import (
    columns,
    index,
    make_embeddings,
    release_columns,
    vectors,
)


def images(*rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.concatenate([vectors(count, part)[0] for part, count in enumerate(rows)])


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("flat", 1.0),
        ("hnsw", 0.95),
        ("ivfpq", 0.9),
        ("rabitq", 0.9),
        ("IVF16,SQ8", 0.9),
        ("OPQ8,IVF16,PQ8x4np", 0.5),
    ],
)
def test_every_kind_finds_a_row_by_its_own_vector(tmp_path: Path, kind: str, least: float) -> None:
    source = make_embeddings(tmp_path / "in", (900, 1100), digits=4)
    report = index(source, tmp_path / "out", kind=kind)
    assert report.exit_code == 0
    searcher = Searcher(str(tmp_path / "out"))
    assert len(searcher) == 2000
    rows = range(0, 2000, 97)
    found = [searcher.search(searcher.vector(row), SearchParams(k=1)).results[0] for row in rows]
    # Safe mode hides some rows; the others are found first by their own vector.
    own = [f.id == row for f, row in zip(found, rows, strict=True) if row % 900 % 5 < 2]
    assert sum(own) >= 0.9 * len(own)
    measured = json.loads((tmp_path / "out" / "recall.json").read_text())
    for name in ("image", "text"):
        assert measured[name]["rows"] == 2000
        assert measured[name]["measured"][-1]["recall"] >= least
        assert measured[name]["measured"][-1]["cross_recall"] is not None
    assert searcher.description.indices["image"].kind == (kind if "," not in kind else "custom")


def test_recall_equals_a_manual_count(tmp_path: Path) -> None:
    """A graph that is searched with little effort misses some rows."""
    source = make_embeddings(tmp_path / "in", (1500,), dtype=np.float32)
    index(source, tmp_path / "out", kind="HNSW4,Flat", recall=0.01)
    measured = json.loads((tmp_path / "out" / "recall.json").read_text())["image"]["measured"]
    assert len(measured) == 1, "the first effort reaches a target that low"
    graph = FaissIndex.load(str(tmp_path / "out" / "image.index"))
    all_rows = images(1500)
    queries = held_out_rows(1500)
    hits = 0
    for query in queries:
        order = [row for row in np.argsort(-(all_rows @ all_rows[query])) if row != query][:10]
        _, found = graph.search(all_rows[query][np.newaxis], 11, measured[0]["effort"])
        hits += len(set(order) & ({int(row) for row in found[0]} - {int(query)}))
    assert measured[0]["recall"] == pytest.approx(hits / (10 * len(queries)), abs=0.002)
    assert measured[0]["recall"] < 1


def test_equal_captions_do_not_count_as_missed(tmp_path: Path) -> None:
    source = make_embeddings(tmp_path / "in", (400,))
    few = np.repeat(vectors(8, 5)[1], 50, axis=0)
    np.save(source / "text_emb" / "text_emb_0.npy", few.astype(np.float16))
    index(source, tmp_path / "out", kind="flat")
    measured = json.loads((tmp_path / "out" / "recall.json").read_text())
    assert measured["text"]["measured"][-1]["recall"] == 1


def test_a_release_with_one_kind_of_embeddings_works(tmp_path: Path) -> None:
    source = make_embeddings(
        tmp_path / "in", (50,), make_columns=release_columns, kinds=("img_emb",)
    )
    index(source, tmp_path / "out")
    searcher = Searcher(str(tmp_path / "out"))
    assert searcher.kinds == ("image",)
    row = searcher.metadata.row(7)
    assert (row["url"], row["width"]) == ("http://pictures.example/0/7.jpg", 359)
    assert row["sample_id"] == 10**12 + 7
    with pytest.raises(UsageError, match="no text index"):
        searcher.search(searcher.vector(1), SearchParams(index="text"))


def test_rows_without_a_vector_are_dropped_and_counted(tmp_path: Path) -> None:
    source = make_embeddings(tmp_path / "in", (40, 3))
    array = np.load(source / "img_emb" / "img_emb_0.npy")
    array[3] = np.nan
    array[7] = 0
    np.save(source / "img_emb" / "img_emb_0.npy", array)
    for kind in ("img_emb", "text_emb"):
        np.save(source / kind / f"{kind}_1.npy", np.full((3, 16), np.inf, np.float16))
    report = index(source, tmp_path / "out")
    assert (report.stage.total.successes, dict(report.stage.total.reasons)) == (
        38,
        {"no_vector": 5},
    )
    searcher = Searcher(str(tmp_path / "out"))
    assert [searcher.metadata.row(row)["key"][-2:] for row in (2, 3, 6)] == ["02", "04", "08"]
    assert np.isfinite(searcher.vector(3)).all()


def test_vectors_are_normalized_and_unchanged_files_are_linked(tmp_path: Path) -> None:
    source = make_embeddings(tmp_path / "in", (30, 30), dtype=np.float32)
    long = 3 * np.load(source / "img_emb" / "img_emb_1.npy")
    np.save(source / "img_emb" / "img_emb_1.npy", long.astype(np.float64))
    index(source, tmp_path / "out")
    linked, made = (tmp_path / "out" / "img_emb" / f"img_emb_0000{n}.npy" for n in (0, 1))
    assert os.path.samefile(linked, source / "img_emb" / "img_emb_0.npy")
    assert made.stat().st_nlink == 1
    array = np.load(made)
    assert array.dtype == np.float16
    assert np.allclose(np.linalg.norm(array.astype(np.float32), axis=1), 1, atol=2e-3)


def replace_array(folder: Path, name: str, array: object) -> object:
    np.save(folder / name, np.asarray(array))
    return array


def remove(folder: Path, *names: str) -> object:
    for name in names:
        shutil.rmtree(folder / name)
    return names


def unlink(path: Path) -> object:
    path.unlink()
    return path


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "fewer vectors": (
        lambda f: replace_array(f, "img_emb/img_emb_1.npy", np.ones((19, 16), np.float16)),
        "img_emb_1.npy has 19 rows and .*metadata_1.parquet has 20",
    ),
    "fewer rows": (
        lambda f: pq.write_table(pa.table(columns(0, 29)), f / "metadata/metadata_0.parquet"),
        "img_emb_0.npy has 30 rows and .*metadata_0.parquet has 29",
    ),
    "a part without metadata": (
        lambda f: unlink(f / "metadata/metadata_1.parquet"),
        "img_emb_1.npy has no counterpart: metadata_1.parquet is missing",
    ),
    "a part without texts": (
        lambda f: unlink(f / "text_emb/text_emb_0.npy"),
        "metadata_0.parquet has no counterpart: text_emb_0.npy is missing",
    ),
    "two models": (
        lambda f: replace_array(f, "img_emb/img_emb_1.npy", np.ones((20, 8), np.float16)),
        "have 8 and 16 dimensions",
    ),
    "no matrix": (
        lambda f: replace_array(f, "img_emb/img_emb_1.npy", np.ones(20, np.float16)),
        "expected floats",
    ),
    "no metadata": (lambda f: remove(f, "metadata"), "is not an embedding folder"),
    "no embeddings": (
        lambda f: remove(f, "img_emb", "text_emb"),
        "holds no embeddings",
    ),
    "damaged metadata": (
        lambda f: (f / "metadata/metadata_0.parquet").write_bytes(b"PAR1 and no more"),
        "cannot be read as parquet",
    ),
    "damaged vectors": (
        lambda f: (f / "img_emb/img_emb_0.npy").write_bytes(b"\x93NUMPY"),
        "cannot be read as .npy",
    ),
    "one number twice": (
        lambda f: shutil.copy(f / "img_emb/img_emb_1.npy", f / "img_emb/img_emb_01.npy"),
        "have the same number",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_inconsistent_folder_is_rejected(tmp_path: Path, what: str) -> None:
    source = make_embeddings(tmp_path / "in", (30, 20))
    break_it, words = WRONG[what]
    break_it(source)
    with pytest.raises(UsageError, match=words):
        index(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"kind": "Foo7"}, "neither flat, hnsw, ivfpq, rabitq nor a faiss factory string"),
        ({"kind": "hnsw", "max_memory": 1000}, "above --max_memory 0 MB"),
        ({"kind": "ivfpq"}, "use --kind flat"),
        ({"recall": 1.5}, "--recall must be at most 1, got 1.5"),
        ({"pretrained": "openai"}, "give both"),
    ],
)
def test_wrong_flags_are_rejected(tmp_path: Path, flags: dict[str, object], words: str) -> None:
    source = make_embeddings(tmp_path / "in", (30,))
    with pytest.raises(UsageError, match=words):
        index(source, tmp_path / "out", **flags)
    assert not (tmp_path / "out").exists()


def test_a_second_run_builds_only_what_is_missing(tmp_path: Path) -> None:
    source, out = make_embeddings(tmp_path / "in"), tmp_path / "out"
    index(source, out, kind="hnsw")

    def times() -> dict[Path, int]:
        state = (".img2ds-manifest", ".img2ds-lock", ".img2ds-laion", "index.json")
        files = [p for p in out.rglob("*.*") if p.name not in state]
        return {path: path.stat().st_mtime_ns for path in files}

    before = times()
    again = index(source, out, kind="hnsw")
    assert again.stage.shards_before == 2
    assert times() == before
    index(source, out, kind="flat")
    after = times()
    assert Searcher(str(out)).description.indices["image"].kind == "flat"
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed == {"image.index", "text.index", "recall.json"}
    index(source, out, kind="flat", model="ViT-B-32", pretrained="openai")
    assert Searcher(str(out)).description.model == "ViT-B-32"
    assert times() == after, "naming the model rebuilds no index"


def test_the_model_is_the_recorded_one(tmp_path: Path) -> None:
    source = make_embeddings(tmp_path / "in", (30,))
    segment = {
        "fingerprint": {"format": "shards", "max_rows": None, "files": []},
        "options": {"stage": "score", "model": "ViT-B-16", "pretrained": "openai"},
        "first_shard": 0,
        "shard_count": 1,
    }
    manifest = {"version": 1, "segments": [segment]}
    (source / ".img2ds-manifest").write_text(json.dumps(manifest))
    report = index(source, tmp_path / "out")
    described = Searcher(str(tmp_path / "out")).description
    assert (described.model, described.pretrained) == ("ViT-B-16", "openai")
    assert "queries are embedded with ViT-B-16 openai" in report.text


def test_an_interrupted_build_resumes_from_its_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "hnsw"  # lists are filled in segments, see test_disk_index.py
    monkeypatch.setattr(index_builder, "ADD_ROWS", 100)
    monkeypatch.setattr(index_builder, "CHECKPOINT_ROWS", 300)
    monkeypatch.setattr(index_builder, "CHECKPOINT_SHARE", 0.1)
    source, out = make_embeddings(tmp_path / "in", (500, 500)), tmp_path / "o"

    class Killed(BaseException):
        pass

    added: list[int] = []
    add = FaissIndex.add

    def dying_add(self: FaissIndex, rows: np.ndarray[tuple[int, int], np.dtype[np.float32]],
                  ids: object = None) -> None:  # fmt: skip
        added.append(len(rows))
        if sum(added) > 650:
            raise Killed
        add(self, rows, ids)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(FaissIndex, "add", dying_add)
        with pytest.raises(Killed):
            index(source, out, kind=kind)
    assert not (out / "index.json").exists()
    with pytest.raises(UsageError, match="has no finished index"):
        Searcher(str(out))
    again: list[int] = []

    def counting_add(self: FaissIndex, rows: np.ndarray[tuple[int, int], np.dtype[np.float32]],
                     ids: object = None) -> None:  # fmt: skip
        again.append(len(rows))
        add(self, rows, ids)  # type: ignore[arg-type]

    monkeypatch.setattr(FaissIndex, "add", counting_add)
    assert index(source, out, kind=kind).exit_code == 0
    assert sum(again) < 2 * 1000 - 250, "the rows of the steps kept are not added again"
    assert len(Searcher(str(out))) == 1000
    measured = json.loads((out / "recall.json").read_text())
    assert measured["image"]["measured"][-1]["recall"] > 0.8
    assert not (out / ".img2ds").exists()


def test_the_next_run_completes_the_folder_of_a_killed_one(tmp_path: Path) -> None:
    source, out = make_embeddings(tmp_path / "in", (3000, 3000)), tmp_path / "out"
    script = (
        "import os, signal\n"
        "from laion import cli\n"
        "from laion.knn import index_builder\n"
        "from laion.knn.faiss_index import FaissIndex\n"
        "index_builder.ADD_ROWS = 500\n"
        "add = FaissIndex.add\n"
        "def last(self, rows, ids=None):\n"
        "    add(self, rows, ids)\n"
        "    if len(self) > 4000: os.kill(os.getpid(), signal.SIGKILL)\n"
        "FaissIndex.add = last\n"
        f"cli.run(['index', '--input', {str(source)!r}, '--output_folder', {str(out)!r},\n"
        "         '--kind', 'hnsw', '--processes_count', '1'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert index(source, out, kind="hnsw").exit_code == 0
    assert len(Searcher(str(out))) == 6000
    assert not (out / ".img2ds").exists()


def test_ctrl_c_stops_between_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_builder, "ADD_ROWS", 50)
    source, out = make_embeddings(tmp_path / "in"), tmp_path / "out"
    add = FaissIndex.add

    def interrupting_add(self: FaissIndex, rows: np.ndarray[tuple[int, int],
                         np.dtype[np.float32]], ids: object = None) -> None:  # fmt: skip
        add(self, rows, ids)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(FaissIndex, "add", interrupting_add)
        report = index(source, out, kind="flat")
    assert report.exit_code == 130
    assert "rerun the same command to resume" in report.text
    assert index(source, out, kind="flat").exit_code == 0


def test_extending_numbers_the_new_rows_after_the_old_ones(tmp_path: Path) -> None:
    first, second = make_embeddings(tmp_path / "a", (40,)), make_embeddings(tmp_path / "b", (30,))
    out = tmp_path / "out"
    index(first, out)
    with pytest.raises(UsageError, match="another input"):
        index(second, out)
    index(second, out, incremental_mode="extend")
    searcher = Searcher(str(out))
    assert len(searcher) == 70
    assert searcher.metadata.row(40)["key"] == "000000000"


def test_the_command_prints_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_embeddings(tmp_path / "in", (30,))
    arguments = ["index", "--input", str(source), "--output_folder", str(tmp_path / "out")]
    assert cli.run(arguments) == 0
    stdout = capsys.readouterr().out
    assert "image index: flat (Flat), 30 rows, recall@10 1.000" in stdout
    assert "give --model" in stdout
    assert cli.run([*arguments[:2], str(tmp_path / "nowhere"), *arguments[3:]]) == 2
    assert "is not an embedding folder" in capsys.readouterr().err


def test_a_full_disk_is_reported_and_finished_steps_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = make_embeddings(tmp_path / "in", (40,)), tmp_path / "out"
    store = FaissIndex.store
    with monkeypatch.context() as patch:
        patch.setattr(FaissIndex, "store", lambda self, path: store(self, "/dev/full"))
        report = index(source, out, kind="flat")
    assert report.exit_code == 1
    assert "no space left on device: completed shards are kept" in report.text
    assert not (out / "index.json").exists()
    assert index(source, out, kind="flat").exit_code == 0
