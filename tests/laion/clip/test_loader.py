"""The loader: every pair once, in order, over shards' borders, and what becomes of bad shards."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from img2ds.image.encode import make_encoder
from laion.clip.crop import Crop, decode_crop
from laion.clip.decoder import DecoderConfig, Shard
from laion.clip.geometry import PreprocessConfig
from laion.clip.loader import AHEAD, LoadedBatch, Loader, ShardEnd
from laion.samples.source import SampleShard
from tests.laion.clip.shape_shards import Pair, write_shard

CONFIG = DecoderConfig(PreprocessConfig((16, 16), (0.5,) * 3, (0.5,) * 3), None, False)
COUNTS = (5, 130, 1, 0, 70)


def body(number: int) -> bytes:
    """PNGs and JPEGs, every third so tall or wide that it is cropped."""
    rng = np.random.default_rng(number)
    width, height = (int(n) for n in rng.integers(10, 40, 2))
    if number % 3 == 0:
        width, height = (width, 4 * height + 40) if number % 2 else (4 * width + 40, height)
    name, quality = ("png", 1) if number % 4 == 0 else ("jpg", 90)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return make_encoder(name, quality)(pixels)


def key(shard: int, place: int) -> str:
    return f"{shard * 1000 + place:06d}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of several sizes, with one pair that has no image and one without a caption."""
    folder = tmp_path_factory.mktemp("shards")
    for shard, count in enumerate(COUNTS):
        pairs = [
            Pair(key(shard, place), body(shard * 1000 + place), f"caption {place}", {}, "png")
            for place in range(count)
        ]
        if shard == 1:
            pairs[7].body = b"no image"
            pairs[9].caption = None
        write_shard(folder / f"{shard}.tar", pairs)
    return folder


def shards(folder: Path) -> Iterator[Shard]:
    return (shard(n, folder / f"{n}.tar") for n in range(len(COUNTS)))


def shard(number: int, path: Path) -> Shard:
    return Shard(number, SampleShard(str(path), None))


def pixels(loaded: LoadedBatch) -> list[np.ndarray]:
    found = []
    assert loaded.images is not None
    for offset, (rows, columns) in zip(loaded.images.offsets, loaded.images.axes, strict=True):
        shape = (int(rows[4]), int(columns[4]), 3)
        found.append(loaded.images.pixels[offset : offset + np.prod(shape)].reshape(shape))
    return found


@pytest.mark.parametrize("own_processes", [False, True], ids=["thread", "process"])
@pytest.mark.parametrize("count", [1, 3])
def test_every_pair_comes_once_with_its_pixels(
    folder: Path, own_processes: bool, count: int
) -> None:
    seen: dict[int, list[str]] = {}
    ended: dict[int, ShardEnd] = {}
    sizes = []
    with Loader(CONFIG, 32, count, own_processes) as loader:
        for item in loader.run(shards(folder)):
            if isinstance(item, ShardEnd):
                ended[item.number] = item
                continue
            sizes.append(len(item.rows))
            for row, shard, found in zip(item.rows, item.shards, pixels(item), strict=True):
                assert shard not in ended
                seen.setdefault(shard, []).append(row.key)
                crop = decode_crop(body(int(row.key)), CONFIG.preprocess)
                assert isinstance(crop, Crop)
                assert np.array_equal(found, crop.pixels)
                assert row.size == crop.size
                assert row.caption == f"caption {int(row.key) % 1000}"
    assert sizes == [32] * 6 + [sum(COUNTS) - 2 - 6 * 32]
    expected = {n: [key(n, place) for place in range(count)] for n, count in enumerate(COUNTS)}
    expected[1] = [k for k in expected[1] if k not in (key(1, 7), key(1, 9))]
    del expected[3]  # has no pairs
    assert seen == expected
    assert set(ended) == set(range(len(COUNTS)))
    assert ended[1].dropped == {"not_an_image": 1, "no_caption": 1}
    assert not any(end.error for end in ended.values())


@pytest.mark.parametrize("own_processes", [False, True], ids=["thread", "process"])
@pytest.mark.parametrize("size", [3, 64])
def test_images_that_fill_their_slots_alone(folder: Path, own_processes: bool, size: int) -> None:
    """Slots take two or three images: batches end where the memory does, and none is lost."""
    config = DecoderConfig(CONFIG.preprocess, None, False, slot_bytes=1)
    slot = config.slot_bytes
    assert slot < 23_000
    seen = []
    with Loader(config, size, 2, own_processes) as loader:
        memory = loader.batch_slots + 2 * AHEAD
        assert len(loader.pixels) == memory * slot
        for item in loader.run(shards(folder)):
            if isinstance(item, ShardEnd):
                continue
            assert len(item.rows) <= size
            for row, found in zip(item.rows, pixels(item), strict=True):
                seen.append(row.key)
                crop = decode_crop(body(int(row.key)), config.preprocess)
                assert isinstance(crop, Crop)
                assert np.array_equal(found, crop.pixels)
        assert len(loader._slots) + sum(len(h.slots) for h in loader._handles) == memory
    assert len(seen) == len(set(seen)) == sum(COUNTS) - 2


@pytest.mark.parametrize("own_processes", [False, True], ids=["thread", "process"])
def test_texts_alone_need_no_images(folder: Path, own_processes: bool) -> None:
    """Neither is the image decoded nor is a sample without one dropped."""
    config = DecoderConfig(CONFIG.preprocess, None, False, images=False)
    ends, seen = [], 0
    with Loader(config, 32, 2, own_processes) as loader:
        for item in loader.run(shards(folder)):
            if isinstance(item, ShardEnd):
                ends.append(item)
                continue
            assert item.images is None
            assert all(row.size is None for row in item.rows)
            seen += len(item.rows)
    assert seen == sum(COUNTS) - 1
    assert [end.dropped for end in ends if end.dropped] == [{"no_caption": 1}]


@pytest.mark.parametrize("own_processes", [False, True], ids=["thread", "process"])
def test_a_shard_that_cannot_be_read_costs_itself_alone(
    folder: Path, tmp_path: Path, own_processes: bool
) -> None:
    whole = (folder / "1.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "not.tar").write_bytes(b"<html>" * 500)
    paths = [tmp_path / "cut.tar", tmp_path / "gone.tar", tmp_path / "not.tar", folder / "0.tar"]
    with Loader(CONFIG, 8, 2, own_processes) as loader:
        items = list(loader.run(map(shard, range(len(paths)), paths)))
    ends = {item.number: item.error for item in items if isinstance(item, ShardEnd)}
    assert "truncated after" in (ends[0] or "")
    assert "does not exist" in (ends[1] or "")
    assert "not a tar" in (ends[2] or "")
    assert ends[3] is None
    loaded = [item for item in items if isinstance(item, LoadedBatch)]
    assert sum(item.shards.count(3) for item in loaded) == COUNTS[0]


def test_a_decoder_that_dies_costs_its_shard_alone(folder: Path) -> None:
    with Loader(CONFIG, 16, 1, True) as loader:
        ends = []
        killed = False
        for item in loader.run(shards(folder)):
            if isinstance(item, ShardEnd):
                ends.append(item)
            if not killed and isinstance(item, ShardEnd) and item.number == 0:
                process = loader._handles[0].process
                assert process is not None
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                killed = True
    lost = [end.number for end in ends if end.error]
    assert len(lost) == 1
    assert "died" in str(next(end.error for end in ends if end.error))
    assert sorted(end.number for end in ends) == list(range(len(COUNTS)))


def test_leaving_early_ends_the_decoders(folder: Path) -> None:
    with Loader(CONFIG, 16, 2, True) as loader:
        next(iter(loader.run(shards(folder))))
        processes = [handle.process for handle in loader._handles]
    assert all(process is not None and process.returncode is not None for process in processes)
