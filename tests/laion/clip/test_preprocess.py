"""Preparation in batches gives what open_clip's own transform gives, image by image."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from img2ds.image.encode import make_encoder
from laion.clip import batch as batch_module
from laion.clip.batch import ImageBatch, stack
from laion.clip.crop import Crop, decode_crop
from laion.clip.geometry import PreprocessConfig
from laion.clip.open_clip_transform import open_clip_decoder
from laion.clip.preprocess import Preprocessor

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch")
transforms = pytest.importorskip("open_clip.transform")

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
SIZES = [(256, 256), (300, 200), (200, 300), (224, 224), (100, 150), (400, 300), (400, 120)]
RESIZES = ("shortest", "longest", "squash")


def photo(width: int, height: int) -> np.ndarray:
    """Something smooth with a little grain, as photographs are."""
    rng = np.random.default_rng(width * 1000 + height)
    coarse = rng.integers(0, 256, (max(2, height // 24), max(2, width // 24), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    grain = rng.normal(0, 8, smooth.shape)
    return np.ascontiguousarray((smooth + grain).clip(0, 255).astype(np.uint8))


def wanted(resize: str, interpolation: str = "bicubic", fill: int = 7) -> PreprocessConfig:
    return PreprocessConfig((224, 224), MEAN, STD, interpolation, resize, fill)


def reference(body: bytes, config: PreprocessConfig) -> Tensor:
    """The result of open_clip's transform, float32 [3, height, width]."""
    transform = transforms.image_transform(
        config.size,
        is_train=False,
        mean=config.mean,
        std=config.std,
        resize_mode=config.resize,
        interpolation=config.interpolation,
        fill_color=config.fill,
    )
    found: Tensor = transform(Image.open(io.BytesIO(body)))
    return found


def levels_apart(one: Tensor, other: Tensor) -> Tensor:
    """Differences in levels of 0 to 255."""
    apart: Tensor = ((one - other) * torch.tensor(STD).view(3, 1, 1) * 255).abs()
    return apart


def decoded(body: bytes, config: PreprocessConfig) -> Crop:
    found = decode_crop(body, config)
    assert isinstance(found, Crop)
    return found


def by_products(batch: ImageBatch, config: PreprocessConfig) -> Tensor:
    """The way images are resized on CUDA, on this machine's CPU."""
    preprocessor = Preprocessor(config, "cpu")
    canvas = batch.canvas(torch.as_tensor(batch.pixels), list(range(len(batch.axes))))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return preprocessor.resample(canvas, batch.axes).div_(255).sub_(mean).div_(std)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_images_of_any_size_are_prepared_as_open_clip_does(resize: str, interpolation: str) -> None:
    config = wanted(resize, interpolation)
    bodies = [make_encoder("jpg", 95)(photo(*size)) for size in SIZES]
    batch = stack([decoded(body, config) for body in bodies])
    fast = Preprocessor(config, "cpu").batch(batch)
    products = by_products(batch, config)
    for place, body in enumerate(bodies):
        expected = reference(body, config)
        for found in (fast[place], products[place]):
            apart = levels_apart(found, expected)
            assert apart.max() <= 2.1, SIZES[place]
            assert apart.mean() < 0.3, SIZES[place]


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("name", ["jpg", "png"])
def test_large_images_are_close_to_it(resize: str, name: str) -> None:
    """They are decoded at a fraction of their size, or averaged down, first."""
    config = wanted(resize)
    body = make_encoder(name, 95 if name == "jpg" else 1)(photo(1500, 1100))
    found = decoded(body, config)
    assert max(found.pixels.shape[:2]) < 800
    apart = levels_apart(Preprocessor(config, "cpu").crops([found])[0], reference(body, config))
    assert apart.mean() < 0.8
    assert apart.max() < 8


@pytest.mark.parametrize("resize", RESIZES)
def test_exact_resizing_is_exact(resize: str) -> None:
    config = wanted(resize)
    exact = open_clip_decoder(config)
    for size in SIZES:
        body = make_encoder("jpg", 95)(photo(*size))
        found = exact(body)
        assert isinstance(found, Crop)
        assert found.size == size
        assert torch.equal(Preprocessor(config, "cpu").crops([found])[0], reference(body, config))


def test_exact_resizing_reports_reasons_too() -> None:
    exact = open_clip_decoder(wanted("shortest"))
    whole = make_encoder("jpg", 95)(photo(100, 100))
    line = make_encoder("png", 1)(photo(60_000, 2))
    bodies = {b"no": "not_an_image", whole[:-300]: "truncated_image", line: "image_bomb"}
    for body, reason in bodies.items():
        assert getattr(exact(body), "reason", None) == reason


def test_a_batch_is_what_its_images_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the batch is cut up, on whichever kind of device."""
    config = wanted("shortest")
    encode = make_encoder("jpg", 95)
    crops = [decoded(encode(photo(*size)), config) for size in [*SIZES, (300, 200), (256, 256)]]
    preprocessor = Preprocessor(config, "cpu")
    alone = torch.cat([preprocessor.crops([one]) for one in crops])
    assert torch.equal(preprocessor.crops(crops), alone)
    few = [*crops[1:4], *crops[1:3]]
    ragged = by_products(stack(few), config)
    single = torch.cat([by_products(stack([one]), config) for one in few])
    assert float(levels_apart(ragged, single).max()) <= 1.1
    preprocessor.device = torch.device("meta")  # any that is no CPU: images are grouped by size
    for size in (64 << 20, 1_000_000, 1):
        monkeypatch.setattr(batch_module, "CANVAS_BYTES", size)
        groups = list(stack(crops).groups(on_cpu=False))
        assert sorted(place for group in groups for place in group) == list(range(len(crops)))
        assert len(groups) == {64 << 20: 1, 1: len(crops)}.get(size, len(groups))
        for group in groups:
            axes = stack([crops[place] for place in group]).axes
            canvas = len(group) * int(axes[:, 0, 4].max()) * int(axes[:, 1, 4].max()) * 3
            assert canvas <= size or len(group) == 1


def test_images_may_lie_anywhere_in_their_memory() -> None:
    """In any order, with gaps: as decoders leave them. On a device they lie side by side."""
    config = wanted("shortest")
    encode = make_encoder("jpg", 95)
    sizes = [(256, 256), (256, 256), (300, 200), (256, 256)]
    whole = stack([decoded(encode(photo(*size)), config) for size in sizes])
    memory = np.full(2 * len(whole.pixels), 99, np.uint8)
    offsets = np.zeros(len(sizes), np.int64)
    at = 11
    for place in (2, 0, 1, 3):  # 0 and 1 follow each other
        start, length = int(whole.offsets[place]), int(whole.lengths[place])
        memory[at : at + length] = whole.pixels[start : start + length]
        offsets[place] = at
        at += length + (0 if place == 0 else 1000)
    scattered = ImageBatch(memory, whole.axes, offsets)
    preprocessor = Preprocessor(config, "cpu")
    assert torch.equal(preprocessor.batch(scattered), preprocessor.batch(whole))
    packed = scattered.to("cpu")
    assert np.array_equal(packed.pixels.numpy(), whole.pixels)
    assert packed.offsets.tolist() == whole.offsets.tolist()
