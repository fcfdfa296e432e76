"""Photo-like landscapes from a seed: sky above, ground below, so that "up" is plain to see.

The same seed and size give the same pixels on one machine and set of library versions.
Images are (height, width, 3) uint8 RGB; about 20 ms for one of 600 x 400.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.server.scenery import draw_houses, draw_trees

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

#: Side of the cached noise fields in pixels; images take windows of them.
_FIELD = 1024
#: Noise fields a process makes, at 60 ms each.
_FIELDS = 4


@dataclass(frozen=True, slots=True)
class Light:
    """Colours of a time of day, RGB 0-255: sky from top to horizon, haze, light on the ground."""

    words: str
    top: tuple[int, int, int]
    horizon: tuple[int, int, int]
    ground: tuple[float, float, float]
    clouds: tuple[int, int, int]
    sun: float  # height of the sun over the horizon as a share of the sky; negative for none


LIGHTS = (
    Light("on a clear day", (52, 110, 190), (190, 215, 235), (1.0, 1.0, 0.96), (252, 252, 255), -1),
    Light("at noon", (40, 95, 175), (170, 205, 235), (1.08, 1.05, 0.98), (255, 255, 255), 0.75),
    Light("at sunset", (60, 70, 130), (250, 165, 90), (0.85, 0.62, 0.5), (255, 175, 130), 0.16),
    Light("at dawn", (110, 125, 175), (250, 205, 190), (0.8, 0.72, 0.74), (255, 215, 205), 0.25),
    Light("under clouds", (135, 145, 158), (205, 208, 212), (0.78, 0.8, 0.82), (235, 236, 240), -1),
    Light(
        "in the evening", (35, 45, 95), (180, 130, 150), (0.62, 0.6, 0.72), (170, 125, 150), 0.08
    ),
)


@dataclass(frozen=True, slots=True)
class Season:
    """Colours of the ground, RGB 0-255: meadow, hills, leaves."""

    words: str
    meadow: tuple[int, int, int]
    hills: tuple[int, int, int]
    leaves: tuple[int, int, int]
    snow: bool


SEASONS = (
    Season("green hills", (104, 132, 52), (72, 100, 58), (52, 92, 38), False),
    Season("autumn hills", (150, 128, 66), (120, 96, 58), (178, 96, 32), False),
    Season("snowy mountains", (222, 226, 234), (120, 128, 142), (92, 84, 74), True),
    Season("dry hills", (186, 158, 100), (150, 118, 82), (96, 104, 54), False),
    Season("spring meadows", (122, 152, 64), (88, 118, 72), (104, 140, 54), False),
)


#: The colour of fir trees, in every season.
_NEEDLES = (46, 80, 52)


@dataclass(frozen=True, slots=True)
class Scene:
    """The subject of an image, from its seed."""

    light: Light
    season: Season
    horizon: float  # share of the height above the horizon
    layers: int
    cloudiness: float
    lake: bool
    trees: int
    houses: int
    conifers: bool

    @property
    def caption(self) -> str:
        """A short description of the image."""
        parts = [self.season.words.capitalize()]
        if self.lake:
            parts.append("behind a lake")
        with_ = []
        if self.houses:
            with_.append("a house" if self.houses == 1 else f"{self.houses} houses")
        if self.trees:
            with_.append("fir trees" if self.conifers else "trees")
        if with_:
            parts.append("with " + " and ".join(with_))
        return " ".join((*parts, self.light.words))


def scene(seed: int) -> Scene:
    """The scene of a seed, for any size."""
    rng = np.random.default_rng((seed, 1))
    return Scene(
        light=LIGHTS[rng.integers(len(LIGHTS))],
        season=SEASONS[rng.integers(len(SEASONS))],
        horizon=float(rng.uniform(0.4, 0.6)),
        layers=int(rng.integers(2, 5)),
        cloudiness=float(rng.uniform(0.2, 0.75)),
        lake=bool(rng.random() < 0.35),
        trees=int(rng.integers(0, 14)),
        houses=int(rng.choice([0, 0, 1, 1, 2, 3])),
        conifers=bool(rng.random() < 0.5),
    )


@cache
def _field(index: int, exponent: float) -> Floats:
    """A square of 1/f**exponent noise that repeats seamlessly; mean 0, deviation 1."""
    rng = np.random.default_rng((index, 2))
    white = np.fft.rfft2(rng.standard_normal((_FIELD, _FIELD)))
    fy = np.fft.fftfreq(_FIELD)[:, None]
    fx = np.fft.rfftfreq(_FIELD)[None, :]
    power = np.hypot(fx, fy)
    power[0, 0] = 1
    white /= power**exponent
    white[0, 0] = 0
    noise = np.fft.irfft2(white, s=(_FIELD, _FIELD))
    even: Floats = (noise / noise.std()).astype(np.float32)
    return even


class _Noise:
    """Windows of the cached fields at random places, in any size."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def window(
        self, height: int, width: int, exponent: float, zoom_x: float = 1, zoom_y: float = 1
    ) -> Floats:
        """Noise of (height, width); zooms above 1 magnify it."""
        field = _field(int(self._rng.integers(_FIELDS)), exponent)
        top, left = self._rng.integers(_FIELD, size=2)
        rows = (top + np.arange(int(height / zoom_y) + 1)) % _FIELD
        columns = (left + np.arange(int(width / zoom_x) + 1)) % _FIELD
        part = field[rows[:, None], columns]
        if part.shape != (height, width):
            part = cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(part, dtype=np.float32)


def _rgb(colour: tuple[float, ...]) -> Floats:
    return np.array(colour, dtype=np.float32)


def _sky(plan: Scene, height: int, width: int, noise: _Noise, rng: np.random.Generator) -> Floats:
    """Gradient, sun with its glow, and clouds that flatten towards the horizon."""
    light = plan.light
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 1.3
    sky = _rgb(light.top) * (1 - down) + _rgb(light.horizon) * down
    sky = np.repeat(sky, width, axis=1)
    if light.sun >= 0:
        x = float(rng.uniform(0.15, 0.85)) * width
        y = height * (1 - light.sun)
        far = np.hypot(
            np.arange(width, dtype=np.float32)[None, :] - x,
            np.arange(height, dtype=np.float32)[:, None] - y,
        )
        glow = np.exp(-far / (0.16 * width))[..., None] * 0.7
        sky = sky * (1 - glow) + _rgb((255, 236, 190)) * glow
        disc = np.clip(0.022 * width - far + 0.5, 0, 1)[..., None]
        sky = sky * (1 - disc) + _rgb((255, 250, 228)) * disc
    clouds = noise.window(height, width, 1.6, 2.2, 1.1)
    flatter = cv2.resize(clouds, (width, height // 2 + 1))
    clouds[height - len(flatter) :] = (
        clouds[height - len(flatter) :] * np.linspace(1, 0, len(flatter))[:, None]
        + flatter * np.linspace(0, 1, len(flatter))[:, None]
    )
    cover = np.clip((clouds + plan.cloudiness * 2 - 1.1) * 0.75, 0, 0.95)[..., None]
    shade = 1 - 0.16 * np.clip(cv2.GaussianBlur(clouds, (0, 0), 6), 0, 1.5)[..., None]
    return np.asarray(sky * (1 - cover) + _rgb(light.clouds) * shade * cover, dtype=np.float32)


def _relief(texture: Floats, strength: float) -> Floats:
    """Light from the left on a height field, around 1."""
    slope = cv2.Sobel(texture, cv2.CV_32F, 1, 0, ksize=3)
    return np.asarray(np.clip(1 + strength * slope, 0.45, 1.6), dtype=np.float32)


def _hills(image: Floats, plan: Scene, horizon: int, noise: _Noise) -> None:
    """Ranges of hills, the farthest first and palest; painted into `image`."""
    height, width = image.shape[:2]
    haze = _rgb(plan.light.horizon)
    for layer in range(plan.layers):
        near = (layer + 1) / plan.layers
        ridge = noise.window(1, width, 2.1, 1.4 + layer * 0.6, 1)[0]
        ridge = ridge + 0.04 * noise.window(1, width, 1.0)[0]
        ridge = ridge - ridge.min()
        reach = height * (0.34 if plan.season.snow else 0.22) * (1.15 - near * 0.8)
        tops = horizon - reach * (0.25 + 0.75 * ridge / max(1e-6, float(ridge.max())))
        first = int(tops.min())
        rows = np.arange(first, horizon, dtype=np.float32)[:, None]
        texture = noise.window(len(rows), width, 1.7, 1.5, 1.5)
        colour = _rgb(plan.season.hills) * _relief(texture, 0.9 * near + 0.5)[..., None]
        colour *= (1 + 0.1 * noise.window(len(rows), width, 0.7))[..., None]
        if plan.season.snow:
            above = (tops[None, :] + reach * 0.5 - rows) / (reach * 0.25) + texture * 0.6
            snow = np.clip(above, 0, 1)[..., None]
            white = _rgb((244, 247, 252)) * _relief(texture, 1.0)[..., None]
            colour = colour * (1 - snow) + white * snow
        colour = colour * _rgb(plan.light.ground)
        hazy = 0.72 * (1 - near) + 0.1
        colour = colour * (1 - hazy) + haze * hazy
        mask = np.clip(rows - tops[None, :], 0, 1)[..., None]
        image[first:horizon] = image[first:horizon] * (1 - mask) + colour * mask


def _ground(image: Floats, plan: Scene, horizon: int, noise: _Noise) -> None:
    """The meadow from the horizon down: finer and paler far away, coarse and rich near by."""
    height, width = image.shape[:2]
    rows = height - horizon
    near = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    patches = noise.window(rows, width, 1.2, 2.0, 0.7)
    grass = noise.window(rows, width, 0.5, 1.0, 1.6)
    rough = 0.3 if plan.season.snow else 1.0
    bright = 1 + rough * (0.1 * patches + (0.05 + 0.15 * near) * grass)
    colour = _rgb(plan.season.meadow) * bright[..., None]
    if not plan.season.snow:
        tint = np.clip(patches * 0.25, -0.3, 0.3)[..., None]
        colour = colour * (1 + tint * _rgb((0.5, 0.1, -0.3)))
    colour *= (1.05 - 0.3 * near)[..., None] * _rgb(plan.light.ground)
    haze = 0.35 * (1 - near)[..., None] ** 2
    image[horizon:] = colour * (1 - haze) + _rgb(plan.light.horizon) * haze


def _lake(image: Floats, plan: Scene, horizon: int, noise: _Noise) -> None:
    """Still water below the horizon: what is above it upside down, darker, rippled."""
    height, width = image.shape[:2]
    depth = int(min((height - horizon) * 0.55, horizon * 0.9))
    ripple = noise.window(depth, width, 0.8, 6.0, 0.8)
    y = np.arange(depth, dtype=np.float32)[:, None]
    source_y = np.clip(horizon - 1 - y * 1.1 + ripple * (0.5 + y * 0.03), 0, horizon - 1)
    source_x = np.arange(width, dtype=np.float32)[None, :] + ripple * 1.2
    mirrored = cv2.remap(
        image, source_x, source_y.astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT
    )
    water = mirrored * 0.7 + _rgb((30, 52, 70)) * 0.3 * np.mean(plan.light.ground)
    water *= (1 + 0.05 * ripple)[..., None]
    shore = depth * 0.9 + noise.window(1, width, 1.2, 2)[0] * depth * 0.06
    mask = np.clip((shore[None, :] - y) * 0.5, 0, 1)[..., None]
    image[horizon : horizon + depth] = image[horizon : horizon + depth] * (1 - mask) + water * mask


def photo(seed: int, width: int, height: int) -> Pixels:
    """The landscape of a seed as (height, width, 3) RGB. See `scene` for what it shows.

    Args:
        width: in pixels, at least 32; so is `height`.
    """
    plan = scene(seed)
    rng = np.random.default_rng((seed, 3))
    noise = _Noise(rng)
    horizon = int(height * plan.horizon)
    image = np.empty((height, width, 3), dtype=np.float32)
    image[: horizon + 1] = _sky(plan, horizon + 1, width, noise, rng)
    _hills(image, plan, horizon, noise)
    _ground(image, plan, horizon, noise)
    if plan.lake:
        _lake(image, plan, horizon, noise)
    shore = horizon + (height - horizon) * (0.6 if plan.lake else 0.12)
    light = _rgb(plan.light.ground)
    draw_houses(image, rng, plan.houses, shore, light)
    leaves = _rgb(_NEEDLES if plan.conifers else plan.season.leaves) * light
    draw_trees(image, rng, plan.trees, shore, leaves, plan.conifers)
    image += noise.window(height, width, 0.15)[..., None] * 3.2  # the sensor's own noise
    corner = np.hypot(
        np.linspace(-1, 1, width, dtype=np.float32)[None, :],
        np.linspace(-1, 1, height, dtype=np.float32)[:, None],
    )
    image *= (1.03 - 0.12 * corner**2)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)
