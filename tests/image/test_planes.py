"""Planes resized: the rule in real numbers, and the images that the way through RGB gives."""

from __future__ import annotations

import importlib.util
import io
import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from img2ds.config.options import ImageOptions
from img2ds.image import planes as planes_module
from img2ds.image.encode import EncodeError, make_encoder, make_plane_encoder
from img2ds.image.geometry import Geometry, plan_geometry
from img2ds.image.header import Header
from img2ds.image.jpeg import decode_planes
from img2ds.image.orient import swaps_sides
from img2ds.image.planes import Planes, can_resize, resize_planes
from img2ds.image.resize import resize
from tests.image.extension import require
from tests.image.reference import Pixels, distance, opened
from tests.image.reference_planes import planes_of, resized_planes
from tests.server.encodings import jpeg_grey
from tests.server.photos import photo

_planes = require("planes")

MODES = ("border", "no", "keep_ratio", "keep_ratio_largest", "center_crop")
PITCHES = ((1, 1), (2, 1), (1, 2), (2, 2))
#: Rounding to whole levels, and that of the sums in 16 bits.
ROUNDING = 0.8
#: Mean and 99th percentile between two JPEGs of quality 95, one from planes and one from RGB that
#: was made of such planes: chroma filled in, clipped to RGB, rounded and averaged again.
APART = (1.9, 9.0)


def noise(seed: int, width: int, height: int, pitch: tuple[int, int], sharp: bool) -> Planes:
    """Unrelated samples; `sharp` ones are all black or white, where filters overshoot most."""
    rng = np.random.default_rng(seed)
    chroma = (-(-height // pitch[1]), -(-width // pitch[0]))

    def plane(*shape: int) -> Pixels:
        samples = rng.integers(0, 256, shape, dtype=np.uint8)
        return (samples > 127) * np.uint8(255) if sharp else samples

    return Planes(plane(height, width), plane(*chroma), plane(*chroma), pitch)


def upright_geometry(planes: Planes, orientation: int, mode: str, size: int) -> Geometry:
    height, width = planes.y.shape
    if swaps_sides(orientation):
        width, height = height, width
    return plan_geometry(width, height, ImageOptions(resize_mode=mode, image_size=size))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    size=st.tuples(st.integers(1, 75), st.integers(1, 75)),
    pitch=st.sampled_from(PITCHES),
    mode=st.sampled_from(MODES),
    image_size=st.integers(1, 60),
    orientation=st.integers(1, 8),
    down=st.sampled_from(["area", "lanczos"]),
    sharp=st.booleans(),
    seed=st.integers(0, 10),
)
def test_planes_are_resized_by_the_rule(
    size: tuple[int, int],
    pitch: tuple[int, int],
    mode: str,
    image_size: int,
    orientation: int,
    down: str,
    sharp: bool,
    seed: int,
) -> None:
    planes = noise(seed, *size, pitch, sharp)
    geometry = upright_geometry(planes, orientation, mode, image_size)
    name = down if geometry.shrinks else "lanczos"
    found = resize_planes(planes, geometry, orientation, name)
    expected = resized_planes(planes, geometry, orientation, name)
    assert found.pitch == (2, 2)
    for plane, exact in zip((found.y, found.cb, found.cr), expected, strict=True):
        assert plane is not None
        assert plane.shape == exact.shape
        assert plane.flags.c_contiguous
        assert np.abs(plane - exact).max() < ROUNDING


@pytest.mark.parametrize("pitch", PITCHES)
@pytest.mark.parametrize("name", ["area", "lanczos"])
def test_ratios_with_more_taps_than_16_bits_add_up(pitch: tuple[int, int], name: str) -> None:
    planes = noise(3, 3000, 40, pitch, False)
    for orientation in (1, 7):
        geometry = upright_geometry(planes, orientation, "keep_ratio_largest", 3)
        found = resize_planes(planes, geometry, orientation, name)
        expected = resized_planes(planes, geometry, orientation, name)
        for plane, exact in zip((found.y, found.cb, found.cr), expected, strict=True):
            assert plane is not None
            assert np.abs(plane - exact).max() < ROUNDING
        flat = Planes(np.full(planes.y.shape, 129, np.uint8), None, None)
        assert (resize_planes(flat, geometry, orientation, name).y == 129).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("level", [0, 1, 127, 200, 255])
def test_what_is_even_stays_so(orientation: int, level: int) -> None:
    chroma = np.full((20, 15), level, np.uint8)
    planes = Planes(np.full((40, 30), level, np.uint8), chroma, chroma)
    for mode, size in (("keep_ratio", 17), ("center_crop", 75), ("no", 1)):
        geometry = upright_geometry(planes, orientation, mode, size)
        found = resize_planes(planes, geometry, orientation, "lanczos")
        for plane in (found.y, found.cb, found.cr):
            assert plane is not None
            assert np.array_equal(plane, np.full_like(plane, level))


def test_same_size_keeps_the_samples() -> None:
    planes = noise(1, 37, 22, (2, 2), False)
    found = resize_planes(planes, upright_geometry(planes, 1, "no", 1), 1, "area")
    for plane, same in ((found.y, planes.y), (found.cb, planes.cb), (found.cr, planes.cr)):
        assert plane is not None
        assert same is not None
        assert np.array_equal(plane, same)


def test_rows_may_lie_apart() -> None:
    planes = noise(1, 40, 30, (2, 2), False)
    assert planes.cb is not None
    assert planes.cr is not None
    wide = [np.pad(plane, ((0, 0), (0, 7))) for plane in (planes.y, planes.cb, planes.cr)]
    apart = Planes(wide[0][:, :40], wide[1][:, :20], wide[2][:, :20])
    for mode, size in (("border", 24), ("no", 1)):
        geometry = upright_geometry(planes, 1, mode, size)
        one, other = (resize_planes(each, geometry, 1, "area") for each in (planes, apart))
        for plane, same in ((one.y, other.y), (one.cb, other.cb), (one.cr, other.cr)):
            assert plane is not None
            assert same is not None
            assert np.array_equal(plane, same)


def through_rgb(body: bytes, geometry: Geometry, orientation: int, name: str) -> bytes:
    pixels = simplejpeg.decode_jpeg(body)
    return make_encoder("jpg", 95)(resize(pixels, geometry, orientation, name))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_equal_those_resized_in_rgb(mode: str, orientation: int) -> None:
    for seed, size in ((4, 50), (5, 64), (6, 150)):
        planes = planes_of(photo(seed, 121, 80), (2, 2))
        body = make_plane_encoder(100)(planes)
        geometry = upright_geometry(planes, orientation, mode, size)
        name = "area" if geometry.shrinks else "lanczos"
        found = make_plane_encoder(95)(resize_planes(planes, geometry, orientation, name))
        expected = through_rgb(body, geometry, orientation, name)
        mean, most = distance(opened(found), opened(expected))
        assert mean < APART[0]
        assert most < APART[1]


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize(("size", "scale"), [((501, 375), 1), ((501, 375), 2), ((180, 123), 1)])
def test_planes_of_the_decoder(
    size: tuple[int, int], scale: int, coarse: bool, subsampling: int
) -> None:
    file = io.BytesIO()
    Image.fromarray(photo(3, *size)).save(file, "JPEG", quality=87, subsampling=subsampling)
    header = Header("jpeg", *size)
    planes = decode_planes(file.getvalue(), header, scale, coarse=coarse)
    if planes is None:
        pytest.skip("built without a decoder of planes")
    geometry = plan_geometry(*size, ImageOptions(resize_mode="keep_ratio", image_size=170))
    name = "area" if geometry.shrinks else "lanczos"
    found = make_plane_encoder(95)(resize_planes(planes, geometry, 1, name))
    least = -(-size[0] // scale)
    pixels = simplejpeg.decode_jpeg(file.getvalue(), min_width=least, min_height=1)
    expected = make_encoder("jpg", 95)(resize(pixels, geometry, 1, name))
    mean, most = distance(opened(found), opened(expected))
    assert mean < 1.5  # 0.8 to 1.1
    assert most < 7  # 4 or 5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_chroma_at_luma_s_resolution_gives_the_same_image(mode: str, orientation: int) -> None:
    pixels = photo(8, 121, 80)
    planes = planes_of(pixels, (1, 1))
    for size in (50, 150):
        geometry = upright_geometry(planes, orientation, mode, size)
        name = "area" if geometry.shrinks else "lanczos"
        found = make_plane_encoder(95)(resize_planes(planes, geometry, orientation, name))
        expected = make_encoder("jpg", 95)(resize(pixels, geometry, orientation, name))
        mean, most = distance(opened(found), opened(expected))
        assert mean < 1.5
        assert most < 6


@pytest.mark.parametrize(
    "size", [(37, 41), (1, 1), (1, 50), (50, 1), (2, 3), (16, 16), (255, 256)]
)  # fmt: skip
@pytest.mark.parametrize("grey", [False, True])
def test_encoded_planes_are_jpegs_like_the_others(size: tuple[int, int], grey: bool) -> None:
    width, height = size
    pixels = np.ascontiguousarray(photo(2, 300, 300)[20 : 20 + height, 20 : 20 + width])
    planes = planes_of(pixels, (2, 2))
    if grey:
        planes = Planes(planes.y, None, None)
        pixels = np.repeat(planes.y[:, :, None], 3, axis=2)
    bodies = [make_plane_encoder(90)(planes), make_encoder("jpg", 90)(pixels)]
    images = [Image.open(io.BytesIO(body)) for body in bodies]
    ours, theirs = images
    assert ours.size == (width, height)
    assert ours.info == theirs.info
    assert ours.layer == theirs.layer  # type: ignore[attr-defined]
    assert ours.quantization == theirs.quantization  # type: ignore[attr-defined]
    scans = [body.index(b"\xff\xda") for body in bodies]
    assert bodies[0][: scans[0]] == bodies[1][: scans[1]]
    if grey:  # no colour is converted: blocks that reach over the end are filled in alike, too
        assert bodies[0] == bodies[1]
    mean, most = distance(opened(bodies[0]), opened(bodies[1]))
    assert mean < 2  # 1.7 for six pixels of unlike colours, which clip; 0.6 for many
    assert most < 6


def test_what_jpeg_cannot_hold_is_refused() -> None:
    planes = Planes(np.zeros((2, 65536), np.uint8), *np.zeros((2, 1, 32768), np.uint8))
    for refused in (planes, Planes(np.zeros((1, 65536), np.uint8), None, None)):
        with pytest.raises(EncodeError):
            make_plane_encoder(95)(refused)


def test_which_filters_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    grows = Geometry((20, 20), (20, 20))
    shrinks = Geometry((5, 5), (5, 5), shrinks=True)
    keeps = Geometry((10, 10), (20, 20), 5, 5)
    assert can_resize(grows, (10, 10), "lanczos")
    assert can_resize(shrinks, (10, 10), "lanczos4")
    assert can_resize(shrinks, (10, 10), "area")
    assert can_resize(keeps, (10, 10), "nearest")
    assert not can_resize(grows, (10, 10), "area")  # OpenCV's is another filter then
    assert not can_resize(shrinks, (10, 10), "cubic")
    monkeypatch.setattr(planes_module, "_planes", None)
    assert not can_resize(grows, (10, 10), "lanczos")


GOOD = (10, 1, 10, 0, 10, 1, False)


@pytest.mark.parametrize(
    ("source", "target", "rows", "columns"),
    [
        (np.zeros((9, 10), np.uint8), np.zeros((10, 10), np.uint8), GOOD, GOOD),
        (np.zeros((10, 10), np.uint8), np.zeros((10, 9), np.uint8), GOOD, GOOD),
        (np.zeros((10, 10), np.uint16), np.zeros((10, 10), np.uint8), GOOD, GOOD),
        (np.zeros((10, 20), np.uint8)[:, ::2], np.zeros((10, 10), np.uint8), GOOD, GOOD),
        (np.zeros((10, 10), np.uint8), np.zeros((10, 20), np.uint8)[:, ::2], GOOD, GOOD),
        (np.zeros((10, 10, 1), np.uint8), np.zeros((10, 10), np.uint8), GOOD, GOOD),
        *(
            (np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8), GOOD, (*bad, False))
            for bad in (
                (0, 1, 10, 0, 10, 1),
                (10, 3, 10, 0, 10, 1),
                (10, 1, 0, 0, 10, 1),
                (10, 1, 11, 0, 10, 1),  # AREA may not grow
                (10, 1, 10, 1 << 30, 10, 1),
                (10, 1, 10, 0, -10, 1),
                (10, 1, 10, 0, 10, 0),
            )
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    source: Pixels, target: Pixels, rows: tuple[int, ...], columns: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="planes"):
        _planes.resample_planes(((source, target),), _planes.AREA, rows, columns, False)


def test_invalid_or_unwritable_planes_are_refused() -> None:
    plane = np.zeros((10, 10), np.uint8)
    frozen = plane.copy()
    frozen.flags.writeable = False
    for pairs in ((plane,), ((plane,),), ((plane, 1),), ((plane, frozen),)):
        with pytest.raises((TypeError, ValueError, BufferError)):
            _planes.resample_planes(pairs, _planes.AREA, GOOD, GOOD, False)


def plain_build(folder: Path) -> ModuleType:
    """The same source without what it does for this machine's vectors."""
    compiler = shutil.which("cc")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if compiler is None or not header.exists():
        pytest.skip("needs a C compiler and Python's headers")
    source = Path(str(_planes.__file__)).with_name("_planes.c")
    built = folder / "_planes.so"
    flags = ["-shared", "-fPIC", "-O1", "-ffp-contract=off", "-DWIDE=", "-U__SSE2__"]
    subprocess.run(
        [compiler, *flags, f"-I{header.parent}", str(source), "-o", str(built)], check=True
    )
    spec = importlib.util.spec_from_file_location("_planes", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_machine_gives_the_same_bytes(tmp_path: Path) -> None:
    plain = plain_build(tmp_path)
    rng = np.random.default_rng(8)
    for kernel in (_planes.AREA, _planes.LANCZOS):
        for height, width in ((50, 77), (9, 20), (120, 33), (800, 45)):
            source = rng.integers(0, 256, (height, width), dtype=np.uint8)
            for grain, swap in ((1, False), (2, True)):
                rows = (height, 1, 25, -3, 30, grain, True)
                columns = (2 * width - 1, 2, 31, 0, 31, grain, False)
                if kernel == _planes.AREA:
                    rows = (height, 1, min(height, 25), -3, 30, grain, True)
                shape = (-(-30 // grain), -(-31 // grain))
                found = [np.empty(shape[::-1] if swap else shape, np.uint8) for _ in range(2)]
                for module, target in zip((_planes, plain), found, strict=True):
                    module.resample_planes(((source, target),), kernel, rows, columns, swap)
                assert (found[0] == found[1]).all()


def test_grey_stays_without_chroma() -> None:
    body = jpeg_grey(photo(3, 60, 40))
    grey = Planes(simplejpeg.decode_jpeg(body, "GRAY")[:, :, 0], None, None)
    for orientation in (1, 6):
        geometry = upright_geometry(grey, orientation, "border", 32)
        found = resize_planes(grey, geometry, orientation, "area")
        assert found.cb is None
        pixels = opened(make_plane_encoder(95)(found))
        assert (pixels[:, :, :1] == pixels).all()
        assert distance(pixels, opened(through_rgb(body, geometry, orientation, "area")))[0] < 2.5
