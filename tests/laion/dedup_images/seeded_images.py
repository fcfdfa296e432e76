"""Seeded images, and what becomes of them on the web."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 320, 240


def scene(seed: int) -> Image.Image:
    """Blurred shapes on a gradient, with some texture: as much detail as a photo made small."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(0, 256, (3, 4, 3)).astype(np.uint8))
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = random.integers(-20, WIDTH), random.integers(-20, HEIGHT)
        box = (int(x), int(y), int(x + random.integers(15, 130)), int(y + random.integers(15, 110)))
        color = tuple(map(int, random.integers(0, 256, 3)))
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape(box, fill=color)
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1.5)), np.int16)
    noise = random.integers(-6, 7, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def next_frame(image: Image.Image, seed: int) -> Image.Image:
    """A near but different image: of the same scene, with another thing in half of it."""
    other = scene(seed + 10_000).resize((WIDTH // 2, HEIGHT))
    changed = image.copy()
    changed.paste(other, (WIDTH // 2, 0))
    return changed


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def bordered(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (WIDTH + 60, HEIGHT + 140), (255, 255, 255))
    canvas.paste(image, (30, 70))
    return canvas


def watermarked(image: Image.Image) -> Image.Image:
    marked = image.copy()
    draw = ImageDraw.Draw(marked, "RGBA")
    draw.text((90, 108), "(c) photos.example", fill=(255, 255, 255, 150), font_size=18)
    return marked


def cropped(share: float) -> Callable[[Image.Image], Image.Image]:
    """Cut a share of each side off, in all."""

    def crop(image: Image.Image) -> Image.Image:
        x, y = WIDTH * share / 2, HEIGHT * share / 2
        return image.crop((round(x), round(y), round(WIDTH - x), round(HEIGHT - y)))

    return crop


def encoded(image: Image.Image, kind: str = "JPEG", quality: int = 95) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    return buffer.getvalue()


#: How an image is changed, and the share of copies that a hash has to find.
COPIES: dict[str, tuple[Callable[[Image.Image], bytes], float]] = {
    "JPEG at quality 40": (lambda image: encoded(image, quality=40), 1.0),
    "WebP at quality 50": (lambda image: encoded(image, "WEBP", 50), 1.0),
    "half the size": (lambda image: encoded(image.resize((WIDTH // 2, HEIGHT // 2))), 1.0),
    "three times the size": (lambda image: encoded(image.resize((3 * WIDTH, 3 * HEIGHT))), 1.0),
    "another aspect": (lambda image: encoded(image.resize((WIDTH, WIDTH))), 1.0),
    "white borders": (lambda image: encoded(bordered(image)), 0.95),
    "a watermark": (lambda image: encoded(watermarked(image)), 0.95),
    "cropped by 2 %": (lambda image: encoded(cropped(0.02)(image)), 0.9),
}
