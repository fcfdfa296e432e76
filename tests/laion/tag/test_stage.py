"""`laion tag` over made-up folders: what it writes, and what --purge leaves of its input."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import Failure, UsageError
from img2ds.core.naming import sample_key, shard_name
from img2ds.core.sample import FileRecord, Sample
from img2ds.engine.marker import marker_json
from img2ds.formats.webdataset import TarWriter
from img2ds.image.pdq import pdq_hash
from img2ds.report.tally import Tally
from img2ds.storage import OutputFolder, file_record
from laion import cli
from laion.data.embedding_folder import open_embedding_folder
from laion.tag.illegal import CAPTION_WORDS, UNDERAGE
from laion.tag.options import TagOptions
from laion.tag.stage import TagReport, run
from tests.laion.embedding_folders import row, write_tree
from tests.laion.inline_distributor import Inline, Killed
from tests.laion.tag.test_tagging import DOCUMENT, NEUTRAL, SAFE, UNSAFE, embed, vector
from tests.server.encodings import jpeg
from tests.server.photos import photo

#: Rows of a shard; sample 3 of each failed to download.
ROWS = 6
FAILED = 3
SHARDS = 3

GOOD = vector(*SAFE, "old a", "old b")
TAGGED = vector(*UNSAFE, "old a", "old b", "thing a")
BAD = vector(*UNSAFE, "young", "thing a")

#: Kinds of the five samples of each shard: keeps its tag, is dropped by embedding or caption.
KINDS = {0: "good", 1: "tagged", 2: "bad", 4: "caption", 5: "good"}
#: Shard 1 has nothing to drop.
CLEAN = 1


def kind(number: int, index: int) -> str:
    return "good" if number == CLEAN else KINDS[index]


def caption(number: int, index: int) -> str:
    return "a nude kid" if kind(number, index) == "caption" else f"words {number} {index}"


def write_shards(folder: Path) -> None:
    """Webdataset shards as img2ds leaves them."""
    folder.mkdir()
    for number in range(SHARDS):
        name = shard_name(number, 5)
        writer = TarWriter(f"{name}.tar", "jpg", lambda n: str(folder / n))
        rows = []
        for index in range(ROWS):
            key = sample_key(number, index, ROWS, 5)
            failed = index == FAILED
            values = {
                "caption": "lost" if failed else caption(number, index),
                "url": f"http://h/{key}",
                "key": key,
                "status": "failed_to_download" if failed else "success",
            }
            rows.append(values)
            if not failed:
                text = values["caption"]
                writer.add(Sample(index, key, b"image " + key.encode(), text, values))
        table = pa.Table.from_pylist(rows)
        records: list[FileRecord] = writer.finish(table)
        pq.write_table(table, folder / f"{name}.parquet")
        records.append(file_record(f"{name}.parquet", str(folder / f"{name}.parquet")))
        tally = Tally(successes=ROWS - 1)
        tally.add_failure(Failure("http_404", "HTTP 404"))
        (folder / f"{name}_stats.json").write_bytes(marker_json(tally, 0, 1, records))
    segment = {
        "fingerprint": {"format": "parquet", "max_rows": None, "files": []},
        "options": {"output_format": "webdataset", "number_sample_per_shard": ROWS,
                    "oom_shard_count": 5},
        "first_shard": 0,
        "shard_count": SHARDS,
    }  # fmt: skip
    document = {"version": 1, "segments": [segment]}
    (folder / ".img2ds-manifest").write_text(json.dumps(document))


def write_scored(folder: Path, shards: Path) -> None:
    """The scores of these shards."""
    parts, images = {}, {}
    vectors = {"good": GOOD, "tagged": TAGGED, "bad": BAD, "caption": GOOD}
    for number in range(SHARDS):
        indices = [index for index in range(ROWS) if index != FAILED]
        parts[number] = [
            row(n, key=sample_key(number, n, ROWS, 5), caption=caption(number, n)) for n in indices
        ]
        images[number] = np.stack([vectors[kind(number, index)] for index in indices])
    texts = {number: np.stack([NEUTRAL] * (ROWS - 1)) for number in range(SHARDS)}
    write_tree(folder, parts, images=images, texts=texts)
    path = folder / ".img2ds-manifest"
    document = json.loads(path.read_text())
    document["segments"][0]["fingerprint"]["files"] = [
        {"name": str(tar), "size": tar.stat().st_size, "rows": None, "schema": None, "digest": None}
        for tar in sorted(shards.glob("*.tar"))
    ]
    path.write_text(json.dumps(document))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with `shards`, `scored` and `prompts.json`."""
    write_shards(tmp_path / "shards")
    write_scored(tmp_path / "scored", tmp_path / "shards")
    (tmp_path / "prompts.json").write_text(json.dumps(DOCUMENT))
    return tmp_path


def tag(source: Path, **flags: Any) -> TagReport:
    values = {
        "input": str(source / "scored"), "output_folder": str(source / "tagged"),
        "model": "made up", "prompts": str(source / "prompts.json"), "processes_count": 1, **flags,
    }  # fmt: skip
    report = run(TagOptions(**values), embed)
    assert isinstance(report, TagReport)
    return report


def keys(folder: Path) -> list[str]:
    """The keys of a scored tree, whose files must all be aligned."""
    found: list[str] = []
    for number in range(SHARDS):
        table = pq.read_table(folder / f"metadata/metadata_{number:05d}.parquet")
        for name in ("img_emb", "text_emb"):
            assert len(np.load(folder / f"{name}/{name}_{number:05d}.npy")) == table.num_rows
        found += table["key"].to_pylist()
    return found


KEPT = [
    sample_key(number, index, ROWS, 5)
    for number in range(SHARDS)
    for index in range(ROWS)
    if index != FAILED and kind(number, index) in ("good", "tagged")
]
GONE = [
    sample_key(number, index, ROWS, 5)
    for number in range(SHARDS)
    for index in range(ROWS)
    if index != FAILED and kind(number, index) in ("bad", "caption")
]


def test_rows_are_tagged_and_dropped_rows_are_gone_from_every_file(source: Path) -> None:
    before = tree(source / "scored")
    report = tag(source)
    assert report.exit_code == 0
    assert keys(source / "tagged") == KEPT
    table = pq.read_table(source / "tagged/metadata/metadata_00000.parquet")
    assert table["nsfw"].to_pylist() == ["UNLIKELY", "NSFW", "UNLIKELY"]
    images = np.load(source / "tagged/img_emb/img_emb_00000.npy")
    assert images.dtype == np.float16
    assert (images == np.stack([GOOD, TAGGED, GOOD])).all()
    marker = json.loads((source / "tagged/00000_stats.json").read_text())
    assert (marker["count"], marker["successes"]) == (5, 3)
    assert marker["reasons"] == {UNDERAGE: 1, CAPTION_WORDS: 1}
    assert (marker["nsfw_unlikely"], marker["nsfw_nsfw"]) == (2, 1)
    assert tree(source / "scored") == before, "without --purge the input stays"
    words = b"nude kid"
    assert not any(words in path.read_bytes() for path in files(source / "tagged"))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in files(folder)}


def check_purged(source: Path) -> None:
    """Nothing of the dropped pairs is left, everything else is, and commit markers vouch for it."""
    assert keys(source / "scored") == keys(source / "tagged") == KEPT
    for folder in ("scored", "tagged", "shards"):
        for path in files(source / folder):
            content = path.read_bytes()
            # The digits of a time or of a hash may be those of a key.
            numbers = rb"\d+\.\d+|[0-9a-f]{16,}" if path.suffix == ".json" else rb"$^"
            words = re.sub(numbers, b"", content)
            assert not any(key.encode() in words for key in GONE), path
            assert b"a nude kid" not in content
    for number in range(SHARDS):
        name = source / "shards" / shard_name(number, 5)
        with tarfile.open(f"{name}.tar") as tar:
            members = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
        own = [key for key in KEPT if key.startswith(f"{number:05d}")]
        assert list(members) == [f"{key}.{end}" for key in own for end in ("jpg", "txt", "json")]
        assert all(members[f"{key}.jpg"] == b"image " + key.encode() for key in own)
        marker = json.loads(Path(f"{name}_stats.json").read_text())
        lost = 0 if number == CLEAN else 2
        assert (marker["count"], marker["successes"]) == (ROWS - lost, ROWS - 1 - lost)
        assert marker["count"] == marker["successes"] + marker["failed_to_download"]
        assert marker["status_dict"]["success"] == marker["successes"]
        assert marker.get("purged", 0) == lost
        vouched(source / "shards", marker)
        marker = json.loads((source / "scored" / f"{number:05d}_stats.json").read_text())
        assert marker["successes"] == 5 - lost
        assert marker["count"] == marker["successes"] + sum(marker["reasons"].values())
        assert marker["reasons"].get("purged", 0) == lost
        if lost:
            vouched(source / "scored", marker)
    document = json.loads((source / "scored/.img2ds-manifest").read_text())
    for file in document["segments"][0]["fingerprint"]["files"]:
        assert file["size"] == Path(file["name"]).stat().st_size, "scoring can be resumed"


def vouched(folder: Path, marker: dict[str, Any]) -> None:
    assert marker["files"]
    for record in marker["files"]:
        content = (folder / record["name"]).read_bytes()
        assert record["size"] == len(content)
        assert record["sha256"] == hashlib.sha256(content).hexdigest()


def test_blocked_pairs_are_dropped_and_counted(source: Path) -> None:
    (source / "urls.txt").write_text("photos.example/0.jpg\nphotos.example/2.jpg\n")
    (source / "hosts.txt").write_text("photos.example\n")
    report = tag(source, block_urls=(str(source / "urls.txt"),))
    assert report.exit_code == 0
    marker = json.loads((source / "tagged/00000_stats.json").read_text())
    # Pair 2 would be dropped for its embedding, too: each is counted once.
    assert marker["reasons"] == {"blocklisted_url": 2, CAPTION_WORDS: 1}
    assert (marker["count"], marker["successes"], marker["nsfw_unlikely"]) == (5, 2, 1)
    with pytest.raises(UsageError, match="block_urls"):
        tag(source)
    with pytest.raises(UsageError, match="block_hosts"):
        tag(
            source, block_urls=(str(source / "urls.txt"),),
            block_hosts=(str(source / "hosts.txt"),),
        )  # fmt: skip
    (source / "moved.txt").write_text(
        "# the same\nhttp://photos.example/2.jpg\nphotos.example/0.jpg"
    )
    assert tag(source, block_urls=(str(source / "moved.txt"),)).exit_code == 0


def test_blocked_pairs_are_purged_like_others(source: Path) -> None:
    (source / "hosts.txt").write_text("example\n")
    report = tag(source, block_hosts=(str(source / "hosts.txt"),), purge=True)
    assert report.purged is not None
    assert report.purged.pairs == SHARDS * (ROWS - 1)
    with tarfile.open(source / "shards/00000.tar") as tar:
        assert not tar.getnames()


def test_hashes_need_a_column(source: Path) -> None:
    (source / "hashes.txt").write_text("0" * 64)
    with pytest.raises(UsageError, match=r"has sha256 hashes, and .*scored has no column sha256"):
        tag(source, block_hashes=(str(source / "hashes.txt"),))


def test_perceptual_hashes_are_made_of_the_images_at_hand(source: Path) -> None:
    pixels = photo(5, 804, 600)
    small = cv2.resize(pixels, (343, 256), interpolation=cv2.INTER_AREA)
    key = sample_key(CLEAN, 4, ROWS, 5)
    writer = TarWriter("00001.tar", "jpg", lambda name: str(source / "shards" / name))
    writer.add(Sample(4, key, jpeg(np.asarray(small, np.uint8)), "", {}))
    writer.finish(pa.table({}))
    known = pdq_hash(pixels)
    assert known is not None
    (source / "hashes.txt").write_text(f"pdq:{known.bytes.hex()}\n")
    report = tag(source, block_hashes=(str(source / "hashes.txt"),))
    assert report.exit_code == 0
    marker = json.loads((source / "tagged/00001_stats.json").read_text())
    assert marker["reasons"] == {"blocklisted_hash": 1}
    assert marker["without_pdq"] == 4
    table = pq.read_table(source / "tagged/metadata/metadata_00001.parquet")
    assert table["pdq"].null_count == table.num_rows == 4
    assert key not in table["key"].to_pylist()


def test_purging_removes_them_from_shards_and_scores(source: Path) -> None:
    clean = (source / "shards" / "00001.tar").stat().st_mtime_ns
    report = tag(source, purge=True)
    assert report.exit_code == 0
    assert report.purged is not None
    assert (report.purged.pairs, report.purged.shards) == (4, 2)
    check_purged(source)
    assert (source / "shards" / "00001.tar").stat().st_mtime_ns == clean, "nothing to remove"
    before = {name: tree(source / name) for name in ("scored", "shards", "tagged")}
    again = tag(source, purge=True)
    assert again.purged is not None
    assert again.purged.pairs == 0
    assert before == {name: tree(source / name) for name in ("scored", "shards", "tagged")}


def test_it_can_be_purged_later(source: Path) -> None:
    tag(source)
    tag(source, purge=True)
    check_purged(source)


def test_a_shard_of_which_nothing_is_left_has_no_files(source: Path) -> None:
    array = source / "scored/img_emb/img_emb_00000.npy"
    np.save(array, np.stack([BAD] * (ROWS - 1)))
    report = tag(source, purge=True)
    assert report.exit_code == 0
    assert report.purged is not None
    assert not list((source / "tagged").glob("*/*_00000.*"))
    assert json.loads((source / "tagged/00000_stats.json").read_text())["successes"] == 0
    assert len(np.load(array)) == 0
    with tarfile.open(source / "shards/00000.tar") as tar:
        assert not tar.getnames()
    again = tag(source, purge=True)
    assert again.purged is not None
    assert again.purged.pairs == 0
    assert len(open_embedding_folder(str(source / "tagged")).shards) == SHARDS - 1
    for number in range(1, SHARDS):
        for path in (source / "tagged").glob(f"*/*_{number:05d}.*"):
            path.unlink()
    with pytest.raises(UsageError, match=r"tagged has no pairs: its NNNNN_stats\.json count why"):
        open_embedding_folder(str(source / "tagged"))


#: Published files: tar, table, marker; two arrays, table, marker: for each of two shards.
STEPS = 2 * (3 + 4)


@pytest.mark.parametrize("step", range(STEPS))
def test_a_killed_and_resumed_purge_ends_clean(
    source: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies before its n-th publication, for every n."""
    monkeypatch.setattr("img2ds.engine.build.open_distributor", lambda *_, gpus: Inline())
    tag(source)
    left = [step]
    publish = OutputFolder.publish

    def dying(self: OutputFolder, name: str) -> None:
        if not self.path.endswith("tagged"):
            if not left[0]:
                raise Killed
            left[0] -= 1
        publish(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "publish", dying)
        with pytest.raises(Killed):
            tag(source, purge=True)
    assert left == [0]
    assert tag(source, purge=True).exit_code == 0
    check_purged(source)


def test_a_shard_that_cannot_be_purged_is_reported_and_its_scores_stay(source: Path) -> None:
    tar = source / "shards" / "00000.tar"
    content = tar.read_bytes()
    tar.write_bytes(b"damaged " * 2000)
    report = tag(source, purge=True)
    assert report.exit_code == 1
    assert "shard 0 is not purged" in report.text
    assert len(np.load(source / "scored/img_emb/img_emb_00000.npy")) == 5
    tar.write_bytes(content)
    assert tag(source, purge=True).exit_code == 0
    check_purged(source)


def test_other_prompts_do_not_mix(source: Path) -> None:
    tag(source)
    (source / "prompts.json").write_text(
        json.dumps({**DOCUMENT, "captions": {"underage": [], "unsafe": []}})
    )
    with pytest.raises(UsageError, match="--prompts"):
        tag(source)
    tag(source, incremental_mode="overwrite")
    marker = json.loads((source / "tagged/00000_stats.json").read_text())
    assert marker["reasons"] == {UNDERAGE: 1}


def test_foreign_folders_without_marks_and_with_gaps_are_taken(tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text(json.dumps(DOCUMENT))
    images: dict[int, npt.NDArray[Any]] = {n: np.stack([GOOD, BAD]) for n in (3, 20)}
    texts = {n: np.stack([NEUTRAL, NEUTRAL]) for n in (3, 20)}
    rows = {n: [row(2 * n), row(2 * n + 1)] for n in (3, 20)}
    write_tree(tmp_path / "scored", rows, images=images, texts=texts, stage=None)
    assert tag(tmp_path).exit_code == 0
    found = [
        pq.read_table(tmp_path / f"tagged/metadata/metadata_{n:05d}.parquet")["key"].to_pylist()
        for n in (0, 1)
    ]
    assert found == [["000000006"], ["000000040"]]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"model": None}, "--model and --pretrained are required"),
        ({"input": "nowhere"}, "--input nowhere: there is no such folder"),
        ({"prompts": "nowhere.json"}, "cannot be read: no such file"),
        ({"purge": True, "shards": "tagged"}, "not a folder of webdataset shards"),
        ({"incremental_mode": "extend"}, "use --incremental_mode overwrite"),
    ],
)
def test_wrong_use_is_refused(source: Path, flags: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tag(source, **flags)
    assert not (source / "tagged").exists()


def test_embeddings_of_another_model_are_refused(source: Path) -> None:
    path = source / "scored/.img2ds-manifest"
    document = json.loads(path.read_text())
    document["segments"][0]["options"] |= {"model": "ViT-B-32", "pretrained": "openai"}
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="--model made up is not what"):
        tag(source)
    np.save(source / "scored/img_emb/img_emb_00000.npy", np.ones((5, 12), np.float16))
    with pytest.raises(UsageError, match="embeddings of 12 numbers, the model's have 10"):
        tag(source, model="ViT-B-32")


def test_help_names_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["tag", "--help"]) == 0
    page = capsys.readouterr().out
    for name in ("--prompts", "--classifier", "--purge", "--shards"):
        assert name in page
