"""Outcomes and pixels do not depend on the compiled extensions: without one, and without all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import ModuleType

import numpy as np
import pytest

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure
from img2ds.core.sample import Encoded
from img2ds.image import jpeg, native, planes, png, resize
from img2ds.image.transform import Transformer
from tests.image.jpeg_faults import END_FAULTS, HALVES, HEADER_FAULTS
from tests.image.jpeg_parts import Pixels, lossless
from tests.image.reference import distance, opened
from tests.server.encodings import ENCODINGS
from tests.server.photos import photo

#: What uses an extension, and the name that it has there.
USERS: dict[str, tuple[ModuleType, str]] = {
    "jpeg": (jpeg, "_jpeg"),
    "planes": (planes, "_planes"),
    "png": (png, "_png"),
    "resample": (resize, "_resample"),
}
#: Most levels that OpenCV's resizing differs by.
ROUNDING = 1
#: Mean and 99th percentile where luma and chroma are resized apart, or in RGB; and where a changed
#: byte has made colours that are clipped at other places.
PLANES = (1.9, 9.0)
CLIPPED = (5.0, 32.0)

pytestmark = pytest.mark.skipif(not native.loaded(), reason="there are none")


@cache
def bodies() -> dict[str, bytes]:
    """Every encoding, whole and mutated, and every fault of JPEGs."""
    found = {}
    random = np.random.default_rng(7)
    for name, make in ENCODINGS.items():
        for size in ((220, 165), (70, 50)):
            found[f"{name} {size}"] = body = make(photo(9, *size))
        for number in range(6):
            spoilt = bytearray(body)
            at = int(random.integers(len(body) // 8 if number % 2 else 20, len(body)))
            spoilt[at] ^= 1 << int(random.integers(8))
            found[f"{name} with a changed byte at {at}"] = bytes(spoilt)
    for name in ("jpeg", "jpeg_444", "jpeg_progressive", "jpeg_grey", "jpeg_cmyk"):
        body = found[f"{name} (70, 50)"]
        for faults in (HEADER_FAULTS, END_FAULTS, HALVES):
            found |= {f"{name} with {fault}": spoil(body) for fault, spoil in faults.items()}
    found["lossless"] = lossless(photo(9, 70, 50))
    return found


def outcomes(options: ImageOptions) -> Iterator[tuple[str, str | Pixels]]:
    """Pixels, or the reason and message of a failure."""
    transformer = Transformer(options)
    for name, body in bodies().items():
        inspected = transformer.inspect(body)
        result = inspected if isinstance(inspected, Failure) else transformer.render(inspected)
        if isinstance(result, Failure):
            yield name, f"{result.reason}: {result.message}"
        else:
            assert isinstance(result, Encoded)
            yield name, opened(result.data)


@cache
def expected(options: ImageOptions) -> dict[str, str | Pixels]:
    return dict(outcomes(options))


SMALL_PNG = ImageOptions(image_size=32, encode_format="png", encode_quality=1)
SMALL_JPEG = ImageOptions(image_size=32)
WHOLE = ImageOptions(resize_mode="no", encode_format="png", encode_quality=1)


@pytest.mark.parametrize(
    ("missing", "options"),
    [
        ("jpeg", SMALL_JPEG),
        ("jpeg", SMALL_PNG),
        ("planes", SMALL_JPEG),
        ("png", WHOLE),
        ("resample", SMALL_PNG),
        ("all", SMALL_JPEG),
        ("all", SMALL_PNG),
        ("all", WHOLE),
    ],
)
def test_outcomes_and_pixels(
    missing: str, options: ImageOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = expected(options)
    for name in USERS if missing == "all" else (missing,):
        module, attribute = USERS[name]
        monkeypatch.setattr(module, attribute, None)
    for name, found in outcomes(options):
        compiled = wanted[name]
        if isinstance(found, str) or isinstance(compiled, str):
            assert isinstance(compiled, str), f"{name} is {found}"
            assert isinstance(found, str), f"{name} was {compiled}"
            assert found == compiled, name
        elif options.encode_format == "png":
            assert np.abs(found.astype(int) - compiled).max() <= ROUNDING, name
        else:
            mean, most = distance(found, compiled)
            mean_limit, most_limit = CLIPPED if "changed" in name else PLANES
            assert mean < mean_limit, name
            assert most < most_limit, name
