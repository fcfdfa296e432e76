"""Sets of PDQ hashes: every hash within 31 bits is found, and no other one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from img2ds.blocklist import near_hashes
from img2ds.blocklist.near_hashes import NearHashes, near_hashes_bytes, write_near_hashes

COUNT = 400


def flipped(hashes: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Hashes with the bits of each row flipped."""
    masks = np.zeros((len(hashes), 256), np.uint8)
    np.put_along_axis(masks, bits, 1, axis=1)
    found: np.ndarray = hashes ^ np.packbits(masks, axis=1)
    return found


def worst(bits: int, flips: list[int]) -> np.ndarray:
    """31 bits for each row: those of `flips` in each word, but one less in one of them."""
    rows = []
    for row in range(COUNT):
        own = [count - (word == row % len(flips)) for word, count in enumerate(flips)]
        rows.append([word * bits + n for word, count in enumerate(own) for n in range(count)])
    return np.array(rows)


@pytest.mark.parametrize(
    ("few", "bits", "flips"),
    [(1 << 20, 16, [2] * 16), (0, 21, [3] * 8 + [2] * 4)],
    ids=["words of 16 bits", "words of 21 bits"],
)
def test_all_within_31_bits_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int, bits: int, flips: list[int]
) -> None:
    """Also where only one word is near enough to be looked up."""
    monkeypatch.setattr(near_hashes, "_FEW", few)
    monkeypatch.setattr(near_hashes, "_BLOCK", 37)
    random = np.random.default_rng(0)
    hashes = random.integers(0, 256, (COUNT, 32), np.uint8)
    hashes[:100, :2] = 7  # many of one value
    path = tmp_path / "hashes"
    data = hashes.tobytes()
    count, digest = write_near_hashes(path, [data[: 32 * 150], b"", data[32 * 100 :]])
    assert count == COUNT
    assert path.stat().st_size == near_hashes_bytes(COUNT)
    found = NearHashes(path, count)
    scattered = np.argsort(random.random((COUNT, 256)), axis=1)
    for places in (scattered[:, :31], worst(bits, flips)):
        assert found.contains(flipped(hashes, places)).all()
    assert not found.contains(flipped(hashes, scattered[:, :32])).any()
    assert not found.contains(random.integers(0, 256, (COUNT, 32), np.uint8)).any()
    assert write_near_hashes(path, [data[::-1][::-1]]) == (count, digest), "the set alone counts"


def test_an_empty_set(tmp_path: Path) -> None:
    count, _ = write_near_hashes(tmp_path / "hashes", [b""])
    found = NearHashes(tmp_path / "hashes", count)
    assert not found.contains(np.zeros((1, 32), np.uint8)).any()
