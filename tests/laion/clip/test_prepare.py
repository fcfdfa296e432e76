"""Preparation in batches gives what open_clip's own transform gives, picture by picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from img2ds.image.encode import make_encoder
from laion.clip import prepare
from laion.clip.model import exact_cutter
from laion.clip.picture import cut_picture
from laion.clip.prepare import Batch, Cut, Preparer, Settings, stack

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


def wanted(resize: str, interpolation: str = "bicubic", fill: int = 7) -> Settings:
    return Settings((224, 224), MEAN, STD, interpolation, resize, fill)


def reference(body: bytes, settings: Settings) -> Tensor:
    """What open_clip's transform makes of it, float32 [3, height, width]."""
    transform = transforms.image_transform(
        settings.size,
        is_train=False,
        mean=settings.mean,
        std=settings.std,
        resize_mode=settings.resize,
        interpolation=settings.interpolation,
        fill_color=settings.fill,
    )
    found: Tensor = transform(Image.open(io.BytesIO(body)))
    return found


def levels_apart(one: Tensor, other: Tensor) -> Tensor:
    """Differences in levels of 0 to 255."""
    apart: Tensor = ((one - other) * torch.tensor(STD).view(3, 1, 1) * 255).abs()
    return apart


def cut(body: bytes, settings: Settings) -> Cut:
    found = cut_picture(body, settings)
    assert isinstance(found, Cut)
    return found


def by_products(batch: Batch, settings: Settings) -> Tensor:
    """The way pictures are resized on CUDA, on this machine's CPU."""
    preparer = Preparer(settings, "cpu")
    canvas = prepare._canvas(torch.as_tensor(batch.pixels), batch, list(range(len(batch.axes))))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return preparer.resample(canvas, batch.axes).div_(255).sub_(mean).div_(std)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pictures_of_any_size_are_prepared_as_open_clip_does(
    resize: str, interpolation: str
) -> None:
    settings = wanted(resize, interpolation)
    bodies = [make_encoder("jpg", 95)(photo(*size)) for size in SIZES]
    batch = stack([cut(body, settings) for body in bodies])
    fast = Preparer(settings, "cpu").batch(batch)
    products = by_products(batch, settings)
    for place, body in enumerate(bodies):
        expected = reference(body, settings)
        for found in (fast[place], products[place]):
            apart = levels_apart(found, expected)
            assert apart.max() <= 2.1, SIZES[place]
            assert apart.mean() < 0.3, SIZES[place]


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("name", ["jpg", "png"])
def test_large_pictures_are_close_to_it(resize: str, name: str) -> None:
    """They are decoded at a fraction of their size, or averaged down, first."""
    settings = wanted(resize)
    body = make_encoder(name, 95 if name == "jpg" else 1)(photo(1500, 1100))
    found = cut(body, settings)
    assert max(found.pixels.shape[:2]) < 800
    apart = levels_apart(Preparer(settings, "cpu").cuts([found])[0], reference(body, settings))
    assert apart.mean() < 0.8
    assert apart.max() < 8


@pytest.mark.parametrize("resize", RESIZES)
def test_the_exact_way_is_exact(resize: str) -> None:
    settings = wanted(resize)
    exact = exact_cutter(settings)
    for size in SIZES:
        body = make_encoder("jpg", 95)(photo(*size))
        found = exact(body)
        assert isinstance(found, Cut)
        assert found.size == size
        assert torch.equal(Preparer(settings, "cpu").cuts([found])[0], reference(body, settings))


def test_the_exact_way_has_reasons_too() -> None:
    exact = exact_cutter(wanted("shortest"))
    whole = make_encoder("jpg", 95)(photo(100, 100))
    line = make_encoder("png", 1)(photo(60_000, 2))
    bodies = {b"no": "not_an_image", whole[:-300]: "truncated_image", line: "image_bomb"}
    for body, reason in bodies.items():
        assert getattr(exact(body), "reason", None) == reason


def test_a_batch_is_what_its_pictures_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the batch is cut up, on whichever kind of device."""
    settings = wanted("shortest")
    encode = make_encoder("jpg", 95)
    cuts = [cut(encode(photo(*size)), settings) for size in [*SIZES, (300, 200), (256, 256)]]
    preparer = Preparer(settings, "cpu")
    alone = torch.cat([preparer.cuts([one]) for one in cuts])
    assert torch.equal(preparer.cuts(cuts), alone)
    few = [*cuts[1:4], *cuts[1:3]]
    ragged = by_products(stack(few), settings)
    single = torch.cat([by_products(stack([one]), settings) for one in few])
    assert float(levels_apart(ragged, single).max()) <= 1.1
    preparer.device = torch.device("meta")  # any that is no CPU: pictures are grouped by size
    for size in (64 << 20, 1_000_000, 1):
        monkeypatch.setattr(prepare, "CANVAS_BYTES", size)
        groups = list(preparer._groups(stack(cuts)))
        assert sorted(place for group in groups for place in group) == list(range(len(cuts)))
        assert len(groups) == {64 << 20: 1, 1: len(cuts)}.get(size, len(groups))
        for group in groups:
            axes = stack([cuts[place] for place in group]).axes
            canvas = len(group) * int(axes[:, 0, 4].max()) * int(axes[:, 1, 4].max()) * 3
            assert canvas <= size or len(group) == 1


def test_pictures_may_lie_anywhere_in_their_memory() -> None:
    """In any order, with gaps: as decoders leave them. On a device they lie side by side."""
    settings = wanted("shortest")
    encode = make_encoder("jpg", 95)
    sizes = [(256, 256), (256, 256), (300, 200), (256, 256)]
    whole = stack([cut(encode(photo(*size)), settings) for size in sizes])
    memory = np.full(2 * len(whole.pixels), 99, np.uint8)
    offsets = np.zeros(len(sizes), np.int64)
    at = 11
    for place in (2, 0, 1, 3):  # 0 and 1 follow each other
        start, length = int(whole.offsets[place]), int(whole.lengths[place])
        memory[at : at + length] = whole.pixels[start : start + length]
        offsets[place] = at
        at += length + (0 if place == 0 else 1000)
    scattered = Batch(memory, whole.axes, offsets)
    preparer = Preparer(settings, "cpu")
    assert torch.equal(preparer.batch(scattered), preparer.batch(whole))
    packed = scattered.to("cpu")
    assert np.array_equal(packed.pixels.numpy(), whole.pixels)
    assert packed.offsets.tolist() == whole.offsets.tolist()
