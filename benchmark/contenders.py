"""The contenders that turn a body into a sample's image: img2ds, the floor, other libraries.

Each is called with a `Case` and gives the encoded image and the milliseconds of CPU it took.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from time import thread_time

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from benchmark.corpus import Corpus
from benchmark.corpus import CorpusImage as File
from img2ds.config.options import ImageOptions
from img2ds.core.sample import Encoded
from img2ds.image.decode import decode
from img2ds.image.encode import make_encoder, make_plane_encoder
from img2ds.image.geometry import Geometry
from img2ds.image.header import Header
from img2ds.image.jpeg import decode_planes, reduction
from img2ds.image.native import load
from img2ds.image.orient import Pixels
from img2ds.image.planes import resize_planes
from img2ds.image.png import decode_png
from img2ds.image.resize import resize
from img2ds.image.transform import InspectedImage, Transformer

_resample = load("resample")

OPTIONS = ImageOptions()
SIDE, QUALITY = OPTIONS.side, OPTIONS.quality
#: Longer sides, in pixels, that the rows of the table end below.
CLASSES = (256, 512, 1024)
STAGES = ("decode", "resize", "encode")

#: Milliseconds of an image: one each stage, or a single one where stages are not separate.
Times = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """An image of the corpus, and what is known of it before the clock runs."""

    file: File
    body: bytes | bytearray
    image: InspectedImage

    @property
    def group(self) -> str:
        longer = max(self.file.width, self.file.height)
        return next((f"< {side}" for side in CLASSES if longer < side), f">= {CLASSES[-1]}")


def read_cases(corpus: Corpus, every: int) -> Iterator[Case]:
    """Each `every`th image of the corpus."""
    transformer = Transformer(OPTIONS)
    for file in corpus.images[::every]:
        body = (corpus.folder / "picture" / file.name).read_bytes()
        image = transformer.inspect(body)
        assert isinstance(image, InspectedImage)
        yield Case(file, body, image)


class Ours:
    """img2ds as its workers call it."""

    def __init__(self) -> None:
        self._transformer = Transformer(OPTIONS)

    def __call__(self, case: Case) -> tuple[bytes, Times]:
        began = thread_time()
        image = self._transformer.inspect(case.body)
        assert isinstance(image, InspectedImage)
        encoded = self._transformer.render(image)
        spent = thread_time() - began
        assert isinstance(encoded, Encoded)
        return bytes(encoded.data), (1000 * spent,)


class OursByStage:
    """The three functions that `Transformer.render` calls, each on the clock."""

    def __init__(self) -> None:
        self._encode = make_encoder(OPTIONS.encode_format, QUALITY)

    def __call__(self, case: Case) -> tuple[bytes, Times]:
        header, geometry = case.image.header, case.image.geometry
        if header.format == "jpeg":
            return _by_planes(case)
        min_size = geometry.resized if geometry.shrinks else (0, 0)
        name = OPTIONS.downscale_interpolation if geometry.shrinks else "lanczos"
        began = thread_time()
        pixels = decode(case.body, header, min_size, OPTIONS.max_decoded_pixels)
        decoded = thread_time()
        canvas = resize(pixels, geometry, case.image.orientation, name)
        resized = thread_time()
        data = self._encode(canvas)
        return data, _stages(began, decoded, resized, thread_time())


_ENCODE_PLANES = make_plane_encoder(QUALITY)


def _by_planes(case: Case) -> tuple[bytes, Times]:
    """A JPEG's way, each of its three calls on the clock."""
    header, geometry = case.image.header, case.image.geometry
    shrinks = geometry.shrinks
    began = thread_time()
    scale = reduction(header, geometry.resized if shrinks else (0, 0))
    planes = decode_planes(case.body, header, scale, coarse=shrinks)
    decoded = thread_time()
    assert planes is not None
    planes = resize_planes(planes, geometry, 1, "area" if shrinks else "lanczos")
    resized = thread_time()
    data = _ENCODE_PLANES(planes)
    return data, _stages(began, decoded, resized, thread_time())


def floor(case: Case) -> tuple[bytes, Times]:
    """Bare calls of the best codecs known, one a stage, all that they ask for known beforehand.

    For JPEGs and PNGs those are img2ds's own.
    """
    header, geometry = case.image.header, case.image.geometry
    if header.format == "jpeg":
        return _by_planes(case)
    began = thread_time()
    pixels, colours = _bare_decode(case.body, header)
    decoded = thread_time()
    canvas = _bare_canvas(pixels, geometry)
    resized = thread_time()
    data: bytes = simplejpeg.encode_jpeg(canvas, QUALITY, colours, "420", fastdct=False)
    return data, _stages(began, decoded, resized, thread_time())


def _bare_decode(body: bytes | bytearray, header: Header) -> tuple[Pixels, str]:
    """Pixels, and the order of their colours, which the encoder does not mind."""
    if header.format == "png":
        pixels = decode_png(body, header)
        if pixels is not None and pixels.shape[2] == 3:
            return pixels, "RGB"
    if header.format == "gif":  # OpenCV takes three times as long
        return np.asarray(Image.open(io.BytesIO(body), formats=["GIF"]).convert("RGB")), "RGB"
    return _opencv_pixels(body), "BGR"


def _bare_canvas(pixels: Pixels, geometry: Geometry) -> Pixels:
    """The image at its place on white."""
    canvas = np.full((SIDE, SIDE, 3), 255, np.uint8)
    (width, height), left, top = geometry.resized, geometry.left, geometry.top
    _bare_resize(pixels, canvas[top : top + height, left : left + width], geometry.shrinks)
    return canvas


def _bare_resize(pixels: Pixels, target: Pixels, shrinks: bool) -> None:
    height, width = target.shape[:2]
    whole = pixels.shape[0] % height == 0 and pixels.shape[1] % width == 0
    if pixels.shape == target.shape:
        target[:] = pixels
    elif _resample is None or (shrinks and whole):
        kernel = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        target[:] = cv2.resize(pixels, (width, height), interpolation=kernel)
    else:
        kernel = _resample.AREA if shrinks else _resample.LANCZOS
        _resample.resample(pixels, target, kernel)


def _opencv_pixels(body: bytes | bytearray) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels


def turbo(case: Case) -> tuple[bytes, Times]:
    """JPEGs by simplejpeg, which is libjpeg-turbo, and through RGB; others as the floor."""
    header, geometry = case.image.header, case.image.geometry
    if header.format != "jpeg":
        return floor(case)
    began = thread_time()
    scale = reduction(header, geometry.resized) if geometry.shrinks else 1
    width, height = (
        -(-side // scale) if scale > 1 else 0 for side in (header.width, header.height)
    )
    pixels = simplejpeg.decode_jpeg(case.body, "RGB", min_height=height, min_width=width)
    decoded = thread_time()
    canvas = _bare_canvas(pixels, geometry)
    resized = thread_time()
    data: bytes = simplejpeg.encode_jpeg(canvas, QUALITY, "RGB", "420", fastdct=False)
    return data, _stages(began, decoded, resized, thread_time())


def opencv(case: Case) -> tuple[bytes, Times]:
    """All of it by OpenCV."""
    geometry = case.image.geometry
    kernel = cv2.INTER_AREA if geometry.shrinks else cv2.INTER_LANCZOS4
    (width, height), left, top = geometry.resized, geometry.left, geometry.top
    began = thread_time()
    pixels = _opencv_pixels(case.body)
    decoded = thread_time()
    pixels = cv2.resize(pixels, (width, height), interpolation=kernel)
    pixels = cv2.copyMakeBorder(
        pixels, top, SIDE - height - top, left, SIDE - width - left,
        cv2.BORDER_CONSTANT, value=(255, 255, 255),
    )  # fmt: skip
    resized = thread_time()
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return data, _stages(began, decoded, resized, thread_time())


def pillow(case: Case) -> tuple[bytes, Times]:
    """All of it by Pillow, which scales JPEGs while decoding when it is given a draft's size."""
    geometry = case.image.geometry
    began = thread_time()
    image = Image.open(io.BytesIO(case.body))
    if geometry.shrinks:
        image.draft("RGB", geometry.resized)
    pixels = image.convert("RGB")
    decoded = thread_time()
    kernel = Image.Resampling.BOX if geometry.shrinks else Image.Resampling.LANCZOS
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    canvas.paste(pixels.resize(geometry.resized, kernel), (geometry.left, geometry.top))
    resized = thread_time()
    file = io.BytesIO()
    canvas.save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return file.getvalue(), _stages(began, decoded, resized, thread_time())


def _stages(*clock: float) -> Times:
    return tuple(1000 * (end - start) for start, end in pairwise(clock))


CONTENDERS: dict[str, Callable[[Case], tuple[bytes, Times]]] = {
    "img2ds": Ours(),
    "floor": floor,
    "by stage": OursByStage(),
    "turbo": turbo,
    "OpenCV": opencv,
    "Pillow": pillow,
}
