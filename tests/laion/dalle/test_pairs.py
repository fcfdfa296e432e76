"""The stream of pairs: each once an epoch, without held-out ones, resumed at any position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from img2ds.core.failure import UsageError
from img2ds.image.encode import make_encoder
from laion.dalle import pairs as module
from laion.dalle.pairs import PairBatch, Pairs, Position
from laion.dalle.prefetch import Prefetcher
from laion.samples.source import find_shards
from tests.laion.clip.shape_shards import Pair, write_shard

EACH = (40, 25, 33)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of plain images whose captions are their keys; every tenth image is damaged."""
    folder = tmp_path_factory.mktemp("shards")
    encode = make_encoder("png", 1)
    for shard, count in enumerate(EACH):
        pairs = []
        for place in range(count):
            body = encode(np.full((20, 30, 3), 5 * place, np.uint8))
            key = f"{shard}-{place:04d}"
            pairs.append(
                Pair(key, body[:60] if place % 10 == 3 else body, None if place == 5 else key)
            )
        write_shard(folder / f"{shard}.tar", pairs)
    return folder


def open_pairs(folder: Path, seed: int = 0) -> Pairs:
    return Pairs(find_shards(str(folder)).shards, 8, 0.2, seed, 2)


def one_epoch(batches: Iterator[PairBatch]) -> Iterator[PairBatch]:
    for batch in batches:
        yield batch
        if batch.position.epoch:
            return


def test_an_epoch_is_every_pair_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHUFFLED", 16)
    pairs = open_pairs(folder)
    good = {
        f"{shard}-{place:04d}"
        for shard, count in enumerate(EACH)
        for place in range(count)
        if place % 10 != 3 and place != 5
    }
    wanted = {key for key in good if not pairs.is_held_out(key)}
    assert 0.6 < len(wanted) / len(good) < 0.95
    batches = list(islice(pairs.batches(7, Position()), 30))
    seen = [caption for batch in batches for caption in batch.captions]
    assert set(seen[: len(wanted)]) == wanted
    assert seen[: len(wanted)] != sorted(seen[: len(wanted)])
    assert seen[len(wanted) : 2 * len(wanted)] != seen[: len(wanted)]
    assert all(batch.images.shape == (7, 3, 8, 8) for batch in batches)
    done = [batch.done for batch in batches]
    assert done == sorted(done)
    first = [b for b in batches if b.position.epoch == 0]
    assert sum((b.dropped for b in first), Counter())["no_caption"] <= 3


def test_images_belong_to_their_captions(folder: Path) -> None:
    for batch in islice(open_pairs(folder).batches(9, Position()), 5):
        for image, caption in zip(batch.images, batch.captions, strict=True):
            assert abs(int(image.mean()) - 5 * int(caption.partition("-")[2])) <= 1


@pytest.mark.parametrize("shuffled", [16, 4096])
def test_resuming_at_any_position_gives_the_same(
    folder: Path, shuffled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHUFFLED", shuffled)
    whole = list(islice(open_pairs(folder).batches(7, Position()), 25))
    for place in range(0, 20, 3):
        again = open_pairs(folder).batches(7, whole[place].position)
        for old, new in zip(whole[place + 1 :], again, strict=False):
            assert new.captions == old.captions
            assert (new.position, new.done) == (old.position, old.done)
            assert (new.images == old.images).all()


def test_another_seed_is_another_order(folder: Path) -> None:
    first, other = (next(open_pairs(folder, seed).batches(20, Position())) for seed in (0, 1))
    assert first.captions != other.captions


def test_held_out_pairs_are_the_first_ones(folder: Path) -> None:
    pairs = open_pairs(folder)
    images, captions = pairs.held_out(10)
    assert images.shape == (len(captions), 3, 8, 8)
    assert len(captions) == 10
    assert captions == sorted(captions)
    assert all(map(pairs.is_held_out, captions))


def test_shards_without_pairs_are_rejected(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [Pair(f"{n}", b"x", None) for n in range(5)])
    with pytest.raises(UsageError, match=r"no pair of image and caption .*5 no_caption"):
        open_pairs(tmp_path).held_out(3)


def test_undecodable_images_do_not_loop_forever(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [Pair(f"{n}", b"x", "words") for n in range(5)])
    with pytest.raises(UsageError, match="no image"):
        next(open_pairs(tmp_path).batches(4, Position()))


def test_a_truncated_shard_gives_the_pairs_it_has(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[: len(whole) // 2])
    batches = list(one_epoch(open_pairs(tmp_path).batches(4, Position())))
    assert len(batches) >= 2
    assert sum((b.dropped for b in batches), Counter())["unreadable_shard"] >= 1


def test_prefetching_ends_with_its_context_and_raises_while_iterating() -> None:
    def count() -> Iterator[int]:
        yield from range(100)
        raise UsageError("no more")

    with Prefetcher(count(), 2) as items:
        assert list(islice(items, 5)) == [0, 1, 2, 3, 4]
    assert not items._thread.is_alive()
    with Prefetcher(count(), 2) as items, pytest.raises(UsageError, match="no more"):
        list(items)
