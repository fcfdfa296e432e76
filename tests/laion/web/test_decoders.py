"""Images of clients: decoded apart, in bounded time and memory, by processes that may die."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from img2ds.image.encode import make_encoder
from laion.clip.crop import Crop, decode_crop
from laion.clip.geometry import PreprocessConfig
from laion.knn.query_image import QueryImageError
from laion.web.batch_queue import Overloaded
from laion.web.decoder_pool import DecoderPool
from laion.web.decoder_process import DecodeLimits, DecoderProcess
from tests.conftest import worker_path
from tests.server.fatal_decoder.images import fatal
from tests.server.good_image import good_image

PREPROCESS = PreprocessConfig((64, 64), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
#: Never reached by images that can be decoded.
MANY_SECONDS = 600.0


@pytest.fixture(autouse=True)
def _fatal_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", worker_path())


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    """One decoder that has all the time it wants."""
    pool = DecoderPool(PREPROCESS, DecodeLimits(1_000_000, MANY_SECONDS), processes=1)
    yield pool
    pool.close()


def decode(pool: DecoderPool, body: bytes) -> Crop:
    return asyncio.run(pool.decode(body, "client"))


def blank(width: int, height: int) -> bytes:
    return bytes(make_encoder("png", 9)(np.zeros((height, width, 3), np.uint8)))


def test_a_crop_is_the_one_of_a_score(pool: DecoderPool) -> None:
    for body in (good_image(), blank(1000, 30), blank(30, 1000)):
        crop, wanted = decode(pool, body), decode_crop(body, PREPROCESS)
        assert isinstance(wanted, Crop)
        assert np.array_equal(crop.pixels, wanted.pixels)
        assert (crop.rows, crop.columns, crop.size) == (wanted.rows, wanted.columns, wanted.size)
    assert len(pool.pids) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"hello", "not an image"),
        (b"", "not an image"),
        (good_image()[:900], "cut short"),
        (blank(1001, 1000), "1001 x 1000 pixels, above the limit of 1000000"),
    ],
)
def test_what_is_no_image_costs_no_process(pool: DecoderPool, body: bytes, words: str) -> None:
    decode(pool, good_image())
    pids = pool.pids
    with pytest.raises(QueryImageError, match=words):
        decode(pool, body)
    assert pool.pids == pids


@pytest.mark.parametrize(
    ("how", "words"),
    [(b"abort", "crashes its decoder"), (b"exhaust", "crashes its decoder")],
)
def test_an_image_that_ends_its_decoder_fails_alone(
    pool: DecoderPool, how: bytes, words: str
) -> None:
    with pytest.raises(QueryImageError, match=words):
        decode(pool, fatal(how))
    assert pool.pids == []
    assert decode(pool, good_image()).size


def test_an_image_may_take_so_much_cpu() -> None:
    pool = DecoderPool(PREPROCESS, DecodeLimits(1_000_000, 0.2), processes=1)
    with pytest.raises(QueryImageError, match=r"decoding takes more than 0\.2 s of CPU"):
        decode(pool, fatal(b"spin"))
    pool.close()


def test_an_image_may_take_so_much_memory() -> None:
    """Its pixels take 48 MB."""
    body = blank(4000, 4000)
    for memory in (16 << 20, 1 << 30):
        limits = DecodeLimits(50_000_000, MANY_SECONDS, memory)
        pool = DecoderPool(PREPROCESS, limits, processes=1)
        if memory < 48_000_000:
            with pytest.raises(QueryImageError, match=r"memory|crashes"):
                decode(pool, body)
        else:
            assert decode(pool, body).size == (4000, 4000)
        pool.close()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a decoder has begun with an image."""
    begun, decode = threading.Event(), DecoderProcess.decode

    def decode_and_tell(self: DecoderProcess, body: bytes) -> Any:
        begun.set()
        return decode(self, body)

    monkeypatch.setattr(DecoderProcess, "decode", decode_and_tell)
    return begun


async def begin(pool: DecoderPool, body: bytes, begun: threading.Event) -> asyncio.Task[Crop]:
    """Start to decode; return when the decoder has begun."""
    task = asyncio.ensure_future(pool.decode(body, "a"))
    await asyncio.get_running_loop().run_in_executor(None, begun.wait)
    return task


def test_while_one_image_spins_others_wait_and_too_many_are_refused(
    pool: DecoderPool, begun: threading.Event
) -> None:
    async def main() -> None:
        spins = await begin(pool, fatal(b"spin"), begun)
        waits = [asyncio.ensure_future(pool.decode(good_image(), "b")) for _ in range(32)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="too many"):
            await pool.decode(good_image(), "c")
        for process in pool._busy:
            process.kill()
        with pytest.raises(QueryImageError, match="crashes its decoder"):
            await spins
        crops = await asyncio.gather(*waits)
        assert {crop.size for crop in crops} == {crops[0].size}

    asyncio.run(main())


def test_closing_ends_what_spins(pool: DecoderPool, begun: threading.Event) -> None:
    async def main() -> list[int]:
        spins = await begin(pool, fatal(b"spin"), begun)
        pids = pool.pids
        pool.close()
        with pytest.raises(QueryImageError):
            await spins
        return pids

    for pid in asyncio.run(main()):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
