"""Trees and houses, drawn into a float RGB image of (height, width, 3), nearer ones larger."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Sub-pixel positions of OpenCV's drawing calls: 4 bits, sixteenths of a pixel.
_SHIFT = 4
_WALLS = ((196, 176, 148), (222, 216, 204), (168, 92, 70), (150, 120, 96), (206, 190, 120))
_ROOFS = ((120, 52, 38), (84, 74, 72), (140, 70, 44), (60, 58, 66))


def _polygon(image: Floats, points: NDArray[np.float64], colour: Floats) -> None:
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(image, [fixed], [float(c) for c in colour], cv2.LINE_AA, _SHIFT)


def _shadow(image: Floats, x: float, y: float, reach: float) -> None:
    """A soft dark patch on the ground at the foot of something."""
    height, width = image.shape[:2]
    left, right = max(0, int(x - reach)), min(width, int(x + reach * 1.8))
    top, bottom = max(0, int(y - reach * 0.2)), min(height, int(y + reach * 0.3))
    if right <= left or bottom <= top:
        return
    dx = (np.arange(left, right, dtype=np.float32) - x - reach * 0.4) / (reach * 1.1)
    dy = (np.arange(top, bottom, dtype=np.float32) - y) / (reach * 0.22)
    dark = np.clip(1 - np.hypot(dx[None, :], dy[:, None]), 0, 1)
    image[top:bottom, left:right] *= (1 - 0.5 * dark)[..., None]


def draw_houses(
    image: Floats, rng: np.random.Generator, count: int, shore: float, light: Floats
) -> None:
    """`count` houses with their feet below row `shore`, lit by `light` (RGB factors)."""
    height, width = image.shape[:2]
    for x in sorted(rng.uniform(0.1, 0.75, size=count)):
        near = float(rng.uniform(0.05, 0.35))
        y = shore + (height - shore) * near
        w = width * (0.1 + 0.16 * near) * float(rng.uniform(0.85, 1.2))
        h = w * float(rng.uniform(0.45, 0.65))
        _house(image, rng, x * width, y, w, h, light)


def _house(
    image: Floats, rng: np.random.Generator, x: float, y: float, w: float, h: float, light: Floats
) -> None:
    wall = np.array(_WALLS[rng.integers(len(_WALLS))], dtype=np.float32) * light
    roof = np.array(_ROOFS[rng.integers(len(_ROOFS))], dtype=np.float32) * light
    glass = np.array((62, 74, 92), dtype=np.float32) * light
    if float(light.mean()) < 0.6:
        glass = np.array((250, 205, 120), dtype=np.float32)  # lamps are lit in the evening
    box = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)

    def rectangle(left: float, top: float, wide: float, high: float, colour: Floats) -> None:
        _polygon(image, box * (wide, high) + (left, top), colour)

    _shadow(image, x + w / 2, y, w * 0.7)
    rectangle(x, y - h, w, h, wall)
    rectangle(x + 0.72 * w, y - h, 0.28 * w, h, wall * 0.78)
    for part in (0.12, 0.5):
        rectangle(x + part * w - 0.01 * w, y - 0.77 * h, 0.15 * w, 0.34 * h, wall * 1.15)
        rectangle(x + part * w, y - 0.74 * h, 0.13 * w, 0.28 * h, glass)
    rectangle(x + 0.32 * w, y - 0.5 * h, 0.12 * w, 0.5 * h, roof * 0.6)
    rectangle(x + 0.74 * w, y - 1.75 * h, 0.08 * w, 0.6 * h, wall * 0.62)
    eaves = np.array([[-0.06, -1], [1.06, -1], [0.9, -1.6], [0.1, -1.6]]) * (w, h) + (x, y)
    _polygon(image, eaves, roof)
    for line in np.linspace(-1.08, -1.52, 6):
        inset = (-line - 1) / 0.6 * 0.16
        tiles = [[-0.06 + inset, line], [1.06 - inset, line], [1.06 - inset, line + 0.03],
                 [-0.06 + inset, line + 0.03]]  # fmt: skip
        _polygon(image, np.array(tiles) * (w, h) + (x, y), roof * 0.84)


def draw_trees(
    image: Floats,
    rng: np.random.Generator,
    count: int,
    shore: float,
    leaves: Floats,
    conifers: bool,
) -> None:
    """`count` trees with their feet below row `shore`, far ones first."""
    height, width = image.shape[:2]
    for near in sorted(rng.uniform(0, 1, size=count) ** 1.6):
        x = float(rng.uniform(0.0, 1.0)) * width
        y = shore + (height - shore) * 0.75 * float(near)
        size = height * (0.09 + 0.3 * float(near)) * float(rng.uniform(0.8, 1.2))
        colour = leaves * np.float32(rng.uniform(0.75, 1.15))
        _shadow(image, x, y, size * 0.35)
        (_conifer if conifers else _broadleaf)(image, rng, x, y, size, colour)


def _trunk(image: Floats, x: float, y: float, width: float, high: float, colour: Floats) -> None:
    points = [[x - width, y], [x + width, y], [x + width * 0.5, y - high],
              [x - width * 0.5, y - high]]  # fmt: skip
    bark = np.array((78, 60, 44), dtype=np.float32) * float(colour.mean() / 90 + 0.25)
    _polygon(image, np.array(points), bark)


def _conifer(
    image: Floats, rng: np.random.Generator, x: float, y: float, size: float, colour: Floats
) -> None:
    """Tiers of drooping boughs, lit on the left."""
    _trunk(image, x, y, size * 0.02, size * 0.2, colour)
    tiers = 9
    for tier in range(tiers):
        low = y - size * (0.08 + 0.88 * tier / tiers)
        half = size * 0.23 * (1 - tier / tiers) ** 0.9 + size * 0.01
        teeth = max(5, int(half / 2.5))
        across = np.linspace(-half, half, 2 * teeth + 1)
        droop = np.abs(across) * 0.28 + rng.uniform(0, size * 0.03, size=across.size)
        edge = np.stack([x + across, low + droop], axis=1)
        tip = np.array([[x, low - size * 0.2]])
        _polygon(image, np.concatenate([edge, tip]), colour * (0.55 + 0.3 * tier / tiers))
        lit = edge[: teeth + 1]
        inner = np.array([[x - half * 0.15, low - size * 0.02], [x, low - size * 0.18]])
        _polygon(image, np.concatenate([lit, inner]), colour * (0.85 + 0.4 * tier / tiers))


def _broadleaf(
    image: Floats, rng: np.random.Generator, x: float, y: float, size: float, colour: Floats
) -> None:
    """A trunk under a round crown of many tufts, lit from the upper left."""
    _trunk(image, x, y, size * 0.03, size * 0.5, colour)
    tufts = int(np.clip(size * 2.2, 60, 420))
    angle = rng.uniform(0, 2 * np.pi, size=tufts)
    far = np.sqrt(rng.uniform(0, 1, size=tufts))
    across = far * np.cos(angle)
    up = far * np.sin(angle)
    for index in np.argsort(up * 0.4 + across * -0.1 + rng.uniform(-0.4, 0.4, size=tufts)):
        lit = 0.62 + 0.32 * up[index] - 0.14 * across[index] + rng.uniform(-0.12, 0.22)
        centre = (
            round((x + across[index] * size * 0.3) * 16),
            round((y - size * 0.66 - up[index] * size * 0.32) * 16),
        )
        radius = round(size * float(rng.uniform(0.02, 0.06)) * 16)
        shade = [float(c) for c in colour * lit]
        cv2.circle(image, centre, radius, shade, -1, cv2.LINE_AA, _SHIFT)
