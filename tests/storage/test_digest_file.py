"""Sets of digests in files: every one is found, no other one, and equal highs do not matter."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from img2ds.storage.digest_file import DigestFile, as_words, write_digests


def digests(count: int, seed: int) -> list[bytes]:
    generator = random.Random(seed)
    return [generator.randbytes(16) for _ in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 20_000])
def test_finds_what_is_there_and_nothing_else(tmp_path: Path, count: int) -> None:
    known, other = digests(count, 1), digests(6000, 2)
    batches = [b"".join(known[start::3]) for start in range(3)]
    assert write_digests(tmp_path / "set", batches)[0] == count
    found = DigestFile(tmp_path / "set")
    assert len(found) == count
    assert all(digest in found for digest in known[:100])
    assert not any(digest in found for digest in other[:100])
    mixed = [*known, *other]
    random.Random(3).shuffle(mixed)
    hits = found.contains(*as_words(b"".join(mixed)))
    assert hits.tolist() == [digest in set(known) for digest in mixed]


def test_digests_that_begin_alike(tmp_path: Path) -> None:
    known = [b"\xff" * 8 + n.to_bytes(8, "big") for n in range(0, 100, 2)]
    write_digests(tmp_path / "set", [b"".join(known)])
    found = DigestFile(tmp_path / "set")
    asked = [b"\xff" * 8 + n.to_bytes(8, "big") for n in range(100)] + [bytes(16), b"\xff" * 16]
    expected = [digest in set(known) for digest in asked]
    assert found.contains(*as_words(b"".join(asked))).tolist() == expected
    assert [digest in found for digest in asked] == expected


def test_the_file_depends_on_the_set_alone(tmp_path: Path) -> None:
    known = digests(1000, 4)
    one = write_digests(tmp_path / "one", [b"".join(known)])
    other = write_digests(tmp_path / "other", [b"".join(reversed(known)), known[7], b""])
    assert one == other
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_the_file_is_mapped(tmp_path: Path) -> None:
    write_digests(tmp_path / "set", [b"".join(digests(10, 5))])
    base = DigestFile(tmp_path / "set")._high.base
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_another_file(tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(b"short")
    with pytest.raises(OSError, match="not a file of digests"):
        DigestFile(tmp_path / "set")
