"""Near-duplicates by perceptual hash: on seeded images, their copies, and images that are near."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2ds.core.failure import Failure, UsageError
from img2ds.core.pdq import DUPLICATE
from laion import cli
from laion.dedup_images import finder
from laion.dedup_images.hash_comparison import HashComparison
from laion.dedup_images.hash_files import HashFiles
from laion.dedup_images.image_hash import image_hash, trim
from laion.dedup_images.options import DedupImagesOptions
from laion.dedup_images.stage import run
from tests.laion.dedup_images import planted_folder
from tests.laion.dedup_images.hashed_folder import write_hashed
from tests.laion.dedup_images.planted_folder import duplicates, kept_keys
from tests.laion.dedup_images.seeded_images import (
    COPIES,
    cropped,
    encoded,
    mirrored,
    next_frame,
    scene,
)
from tests.laion.embedding_folders import row, write_tree

in_process = planted_folder.in_process
SCENES = 40


def bits(body: bytes) -> int:
    found = image_hash(body)
    assert not isinstance(found, Failure)
    return int.from_bytes(found.bytes, "big")


def distance(one: bytes, other: bytes) -> int:
    return (bits(one) ^ bits(other)).bit_count()


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found(name: str) -> None:
    copy, share = COPIES[name]
    found = [distance(encoded(scene(n)), copy(scene(n))) <= DUPLICATE for n in range(SCENES)]
    assert np.mean(found) >= share


def test_different_images_are_apart() -> None:
    """Precision 1: others, those with another half, mirrored ones, and crops of a tenth."""
    scenes = [encoded(scene(n)) for n in range(SCENES)]
    hashes = [bits(body) for body in scenes]
    apart = [(one ^ other).bit_count() for n, one in enumerate(hashes) for other in hashes[:n]]
    assert min(apart) > 2 * DUPLICATE
    for n, body in enumerate(scenes):
        assert distance(body, encoded(next_frame(scene(n), n))) > DUPLICATE
        assert distance(body, encoded(mirrored(scene(n)))) > DUPLICATE
        assert distance(body, encoded(cropped(0.1)(scene(n)))) > DUPLICATE


def test_borders_are_cut_off_but_not_images() -> None:
    grey = np.asarray(scene(3).convert("L"), np.float32)
    framed = np.pad(grey, ((40, 10), (0, 55)), constant_values=250)
    assert trim(framed).shape == grey.shape
    assert (trim(framed) == grey).all()
    plain = np.full((50, 50), 30, np.float32)
    assert trim(plain).shape == (50, 50)


def test_images_that_cannot_be_hashed() -> None:
    body = encoded(scene(0))
    for broken in (b"", b"no image", body[: len(body) // 2], body[:30]):
        assert isinstance(image_hash(broken), Failure)
    tiny = image_hash(encoded(scene(0).resize((3, 3)), "PNG"))
    assert isinstance(tiny, Failure)
    assert tiny.reason == "image_too_small"


def hashes_of(distances: list[int], seed: int) -> Any:
    """A random hash, and hashes that differ from it in so many bits."""
    random = np.random.default_rng(seed)
    first = random.integers(0, 2, 256).astype(np.uint8)
    rows = [first]
    for count in distances:
        rows.append(first.copy())
        rows[-1][random.choice(256, count, replace=False)] ^= 1
    return np.packbits(np.array(rows), axis=1)


def compare(hashes: Any) -> set[int]:
    """The rows that some bucket drops."""
    comparison = HashComparison(HashFiles("", ""), DUPLICATE)
    rows, buckets = comparison.place(hashes)
    order = np.lexsort((rows, buckets))
    found = comparison.small_buckets(hashes[rows[order]], buckets[order])
    return set(rows[order][found.leader >= 0].tolist())


def test_words_find_what_differs_in_few_bits() -> None:
    """Up to 15 bits for certain, 31 random ones in nine cases of ten; nothing beyond."""
    found = dict.fromkeys((0, 15, 24, 31, 32), 0)
    for seed in range(100):
        for count in found:
            found[count] += compare(hashes_of([count], seed)) == {1}
    assert found[0] == found[15] == 100
    assert found[24] >= 97
    assert found[31] >= 85
    assert found[32] == 0
    assert compare(np.zeros((3, 32), np.uint8)) == set()  # images without a hash


def test_large_buckets_give_what_small_ones_give() -> None:
    comparison = HashComparison(HashFiles("", ""), DUPLICATE)
    hashes = np.concatenate([hashes_of([3, 40, 20, 31, 33], seed) for seed in range(8)])
    large = comparison.leaders().add(hashes)
    expected = [[-1, n, -1, n, n, -1] for n in range(0, 48, 6)]
    assert large.leader.reshape(-1, 6).tolist() == expected
    assert large.closeness[[1, 3, 4]].tolist() == [-3, -20, -31]
    small = comparison.small_buckets(hashes, np.zeros(48, np.intp))
    assert ((small.leader >= 0) == (large.leader >= 0)).all()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hashes")
    write_hashed(place)
    return place


def dedup(shards: Path, out: Path, **flags: Any) -> Any:
    options = DedupImagesOptions(
        input=str(shards / "scored"), output_folder=str(out), shards=str(shards / "shards"),
        processes_count=1, **flags,
    )  # fmt: skip
    report = run(options)
    assert report.exit_code == 0, report.text
    return report


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("small", [64, 0])
def test_the_stage_finds_copies(
    shards: Path, tmp_path: Path, small: int, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(finder, "HashComparison", partial(HashComparison, small=small))
    report = dedup(shards, tmp_path / "out", by="hash")
    # The last copy has the highest similarity.
    copies = {31 + 2 * n for n in range(10)}
    assert set(kept_keys(tmp_path / "out")) == {*range(10, 30), *copies, 50, 51, 52, 53}
    assert report.total.reasons == {"near_duplicate_hash": 20}
    found = duplicates(tmp_path / "out")
    assert {int(values["duplicate_of"]) for values in found} == copies
    for values in found:
        key = int(values["key"])
        assert int(values["duplicate_of"]) == 31 + 2 * (key if key < 30 else (key - 30) // 2)
        assert 0 <= values["distance"] <= DUPLICATE
        assert values["similarity"] is None
        assert values["reason"] == "near_duplicate_hash"
    assert "4 images of 54 without a usable hash" in capsys.readouterr().err


@pytest.mark.usefixtures("in_process")
def test_both_comparisons_in_one_run(shards: Path, tmp_path: Path) -> None:
    scored = tmp_path / "scored"
    images = {
        n: np.load(shards / f"scored/img_emb/img_emb_{n:05d}.npy") for n in range(2)
    }  # fmt: skip
    images[0][12] = images[0][20]  # different images, equal embeddings
    images[0][5] = images[0][21]  # whose copies are near 5
    rows = [row(n, similarity=0.3 + n / 1000) for n in range(54)]
    write_tree(scored, {0: rows[:25], 1: rows[25:]}, images=images, texts=images)
    (tmp_path / "shards").symlink_to(shards / "shards")
    report = dedup(tmp_path, tmp_path / "out", by="both", clusters=1)
    assert report.total.reasons == {"near_duplicate_hash": 20, "near_duplicate": 1}
    found = {int(values["key"]): values for values in duplicates(tmp_path / "out")}
    assert found[12]["duplicate_of"] == "000000020"
    assert found[12]["distance"] is None
    assert found[12]["similarity"] > 0.99
    # By both: the hash is the more certain one.
    assert found[5]["reason"] == "near_duplicate_hash"
    kept = set(kept_keys(tmp_path / "out"))
    assert {int(values["duplicate_of"]) for values in found.values()} <= kept


def test_wrong_use_is_refused(shards: Path, tmp_path: Path) -> None:
    def refused(words: str, **flags: Any) -> None:
        given = {"input": str(shards / "scored"), "output_folder": str(tmp_path / "out"), **flags}
        with pytest.raises(UsageError, match=words):
            run(DedupImagesOptions(**given))
        assert not (tmp_path / "out").exists()

    refused("--shards is required with --by hash", by="hash")
    refused("has no samples|no such|there is no", by="both", shards=str(tmp_path / "nowhere"))
    refused("--max_distance must be from 0 to 90", by="hash", max_distance=91)
    refused("--shards goes with --by hash", shards=str(shards / "shards"))
    assert cli.run(["dedup_images", "--by", "sound", "--input", "x", "--output_folder", "y"]) == 2
