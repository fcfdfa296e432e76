"""Indices larger than memory: built in segments, merged on disk, searched from the disk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2ds.core.failure import UsageError
from laion.knn import build_memory
from laion.knn.faiss_index import FaissIndex
from laion.knn.filters import Filters
from laion.knn.list_file import StoredLists, empty_size, shape_of_lists
from laion.knn.mapped_file import MappedFile
from laion.knn.options import IndexOptions
from laion.knn.searcher import Searcher, SearchParams
from laion.knn.stage import run
from laion.knn.vectors import VectorFiles
from tests.laion.knn.embedding_folders import index, make_embeddings, vectors

ROOT = Path(__file__).parents[3]
ROWS = (700, 600)


@pytest.mark.parametrize("factory", ["IVF16,RaBitQ", "OPQ4,IVF8_HNSW32,PQ4x4np", "IVF8,PQ8x4fs"])
def test_merging_writes_what_one_process_would(tmp_path: Path, factory: str) -> None:
    rows, _ = vectors(1000, 0)
    trained = FaissIndex.create(factory, rows.shape[1])
    trained.train(rows)
    trained.store(str(tmp_path / "trained"))
    segments = []
    for start, stop in ((0, 400), (400, 403), (403, 1000)):  # the second has few of the lists
        segment = FaissIndex.resume(str(tmp_path / "trained"))
        segment.add(rows[start:stop], np.arange(start, stop))
        segments.append(str(tmp_path / f"{start}"))
        segment.store(segments[-1])
    whole = FaissIndex.resume(str(tmp_path / "trained"))
    whole.add(rows, np.arange(1000))
    whole.store(str(tmp_path / "whole"))
    trained.store_merged(str(tmp_path / "merged"), segments)
    if not factory.endswith("fs"):  # the order in a block is not that of its rows
        assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()
        assert len(trained) == 0
    for on_disk in (False, True):
        if on_disk and factory.endswith("fs"):
            continue
        merged = FaissIndex.load(str(tmp_path / "merged"), on_disk)
        assert len(merged) == 1000
        found, expected = (each.search(rows[:40], 5, 8)[0] for each in (merged, whole))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_damaged_segment_is_rejected(tmp_path: Path) -> None:
    rows, _ = vectors(200, 0)
    made = FaissIndex.create("IVF4,RaBitQ", rows.shape[1])
    made.train(rows)
    made.store(str(tmp_path / "trained"))
    trained = (tmp_path / "trained").read_bytes()
    shape, head = shape_of_lists(trained), len(trained) - empty_size()
    assert shape is not None
    made.add(rows)
    made.store(str(tmp_path / "segment"))
    whole = (tmp_path / "segment").read_bytes()
    for damaged in (whole[:head], whole[: head + 40], whole[:-3000], b"x" * len(whole)):
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(UsageError, match="damaged"):
            StoredLists(str(tmp_path / "damaged"), head, shape)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embeddings(tmp_path_factory.mktemp("disk") / "in", ROWS)


@pytest.fixture(scope="module")
def whole(source: Path) -> Path:
    """The index of `source`, encoded in one piece."""
    folder = source.parent / "whole"
    assert index(source, folder, kind="rabitq").exit_code == 0
    return folder


def same_indices(one: Path, other: Path) -> bool:
    names = ("image.index", "text.index")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_segments_on_any_distributor_make_the_same_index(
    tmp_path: Path, source: Path, whole: Path, distributor_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(build_memory, "_SEGMENT_ROWS", 800)
    monkeypatch.setattr(build_memory, "_MOST_SEGMENTS", 10**6)
    report = run(
        IndexOptions(
            input=str(source), output_folder=str(tmp_path / "out"), kind="rabitq",
            processes_count=2, distributor=distributor_name,
        )
    )  # fmt: skip
    assert report.exit_code == 0
    assert same_indices(tmp_path / "out", whole)
    assert not (tmp_path / "out" / ".img2ds").exists()


def test_an_index_on_disk_is_searched_by_its_vectors(whole: Path) -> None:
    searcher = Searcher(str(whole))
    described = searcher.description.indices["image"]
    assert (described.kind, described.on_disk) == ("rabitq", True)
    assert described.pool >= 64
    assert described.recall >= 0.95
    params = SearchParams(k=3, filters=Filters(safe=False))
    found = [searcher.search(searcher.vector(row), params).results[0] for row in range(0, 1300, 13)]
    right = [best for row, best in zip(range(0, 1300, 13), found, strict=True) if best.id == row]
    assert len(right) >= 90
    assert all(best.similarity == pytest.approx(1, abs=1e-3) for best in right)


def test_versions_without_indices_on_disk_can_read_the_others(
    tmp_path: Path, source: Path, whole: Path
) -> None:
    index(source, tmp_path / "flat", kind="flat")
    flat = json.loads((tmp_path / "flat" / "index.json").read_text())
    assert flat["version"] == 1
    assert set(flat["indices"]["image"]) == {
        "file", "kind", "factory", "effort", "effort_name", "rerank", "recall",
    }  # fmt: skip
    assert json.loads((whole / "index.json").read_text())["version"] == 2


KILLS = """
import os, signal, sys
import img2ds.engine.build
import img2ds.storage.output as output
from img2ds.engine.distributors.contract import Session
from laion import cli
from laion.knn import build_memory

build_memory._SEGMENT_ROWS, build_memory._MOST_SEGMENTS = 300, 10**6
publish = output.OutputFolder.publish
def killed(folder, name):
    if name == "00002.index":
        os.killpg(0, signal.SIGKILL)
    publish(folder, name)
output.OutputFolder.publish = killed

class Here(Session):  # so that what is killed is what publishes
    spans_machines = False
    def stream(self, worker, tasks, stopping):
        emitted = []
        worker(tasks, emitted.append)
        yield from emitted
img2ds.engine.build.open_distributor = lambda *_, **__: Here()
sys.exit(cli.run(sys.argv[1:]))
"""


def test_a_killed_build_encodes_only_the_segments_that_are_missing(
    tmp_path: Path, source: Path, whole: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    command = [
        sys.executable, "-c", KILLS, "index", "--input", str(source), "--output_folder", str(out),
        "--kind", "rabitq", "--processes_count", "1",
    ]  # fmt: skip
    killed = subprocess.run(command, cwd=ROOT, start_new_session=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    made = list((out / ".img2ds/build/image/segments-300").glob("*_stats.json"))
    assert [path.name for path in sorted(made)] == ["00000_stats.json", "00001_stats.json"]
    with pytest.raises(UsageError, match="has no finished index"):
        Searcher(str(out))
    monkeypatch.setattr(build_memory, "_SEGMENT_ROWS", 300)
    monkeypatch.setattr(build_memory, "_MOST_SEGMENTS", 10**6)
    assert index(source, out, kind="rabitq").exit_code == 0
    assert "5 segments, 2 of them committed" in capsys.readouterr().err
    assert same_indices(out, whole)


def limited(script: str, *given: str, **environment: str) -> None:
    """Run a script in a process of its own, which may limit itself."""
    import os

    done = subprocess.run(
        [sys.executable, "-c", script, *given], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


FEW_DESCRIPTORS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from laion import cli
source, out = sys.argv[1:]
assert cli.run(["index", "--input", source, "--output_folder", out, "--kind", "rabitq",
                "--processes_count", "1"]) == 0
assert cli.run(["search", "--index", out, "--id", "1079", "--nosafe", "-k", "5"]) == 0
"""


def test_hundreds_of_parts_take_few_descriptors(tmp_path: Path) -> None:
    source = make_embeddings(tmp_path / "in", (4,) * 270)
    limited(FEW_DESCRIPTORS, str(source), str(tmp_path / "out"))


LITTLE_MEMORY = """
import resource, sys
import faiss
import numpy as np
from laion.knn.options import IndexOptions
from laion.knn.stage import run

def build(source, folder, memory):
    assert run(IndexOptions(input=source, output_folder=folder, kind=sys.argv[4],
                            max_memory=memory, recall=0.01, processes_count=1)).exit_code == 0

source, small, out, _, mapped, memory = sys.argv[1:]
# What an idle process takes: libraries, and the buffers of their matrix products.
build(small, out + "-small", 10**9)
square = np.ones((5000, 256), np.float32)
faiss.knn(square, square, 5)
square[:1000] @ square[:1000].T
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(mapped) + int(memory)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
build(source, out, int(memory))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["rabitq", "ivfpq"])
def test_a_build_takes_the_memory_it_is_given(tmp_path: Path, kind: str) -> None:
    """Above what an idle process takes, and what it maps: the vectors, segments and the index."""
    rng, parts = np.random.default_rng(0), 3
    source = make_embeddings(tmp_path / "in", (1,) * parts, kinds=("img_emb",))
    small = make_embeddings(tmp_path / "small", (1100,), kinds=("img_emb",))
    wide, memory, rows = 512, 48_000_000, 10_000
    for part in range(parts):
        block = rng.standard_normal((rows, wide)).astype(np.float16)
        np.save(source / f"img_emb/img_emb_{part}.npy", block)
        repeat_metadata(source / f"metadata/metadata_{part}.parquet", rows)
    # Vectors, metadata, and what is mapped of the index twice: to merge it, and to measure it.
    mapped = parts * rows * (2 * wide + 300 + 2 * (wide // 4 + 16))
    limited(
        LITTLE_MEMORY, str(source), str(small), str(tmp_path / "out"), kind, str(mapped),
        str(memory), OMP_NUM_THREADS="1", MALLOC_ARENA_MAX="1",
    )  # fmt: skip
    assert len(Searcher(str(tmp_path / "out"))) == parts * rows


def repeat_metadata(path: Path, rows: int) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    pq.write_table(table.take([0] * rows), path)


def test_mapped_files_take_no_descriptor_and_are_read_at_once(tmp_path: Path) -> None:
    array = np.arange(6000, dtype=np.float16).reshape(1500, 4)
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", np.zeros((0, 4), np.float16))
    (tmp_path / "empty").write_bytes(b"")
    assert MappedFile(str(tmp_path / "empty")).bytes().size == 0
    with pytest.raises(FileNotFoundError):
        MappedFile(str(tmp_path / "missing"))
    paths = [str(tmp_path / name) for name in ("a.npy", "b.npy", "a.npy")]
    wanted = np.array([2999, 0, 1500, 7, 7])
    for cold in (False, True):
        files = VectorFiles(paths, cold=cold)
        np.testing.assert_array_equal(files.rows(wanted), array[wanted % 1500])
        assert files.rows(wanted[:0]).shape == (0, 4)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(ValueError, match="ends too early"):
        VectorFiles([str(tmp_path / "cut.npy")])


def test_memory_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    memory: Any = build_memory.BuildMemory(10**9, 512)
    assert 4 * 512 * memory.sample_rows <= 10**9 / 3
    assert 2 * 72 * memory.segment_rows(72, 10**9) <= 10**9 / 3
    assert memory.segment_rows(72, 10**6) == 500_000
    assert build_memory.BuildMemory(64 * 10**9, 512).segment_rows(80, 5_850_000_000) > 60_000_000
