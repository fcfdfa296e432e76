"""Kinds of JPEG that libjpeg-turbo cannot scale, or not decode: whole, or refused with a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason
from img2ds.core.sample import Encoded
from img2ds.image.transform import InspectedImage, Transformer
from tests.image.jpeg_parts import Pixels, lossless
from tests.image.reference import distance, opened, rendered
from tests.server.photos import photo

SOURCE = photo(5, 96, 72)
GREY = SOURCE[:, :, 0].copy()


def outcome(body: bytes, **options: Any) -> Encoded | Failure:
    transformer = Transformer(ImageOptions(**options))
    found = transformer.inspect(body)
    return transformer.render(found) if isinstance(found, InspectedImage) else found


@pytest.mark.parametrize("pixels", [GREY, SOURCE], ids=["grey", "rgb"])
@pytest.mark.parametrize("size", [12, 32, 48, 96])
@pytest.mark.parametrize("encode_format", ["jpg", "png"])
def test_lossless_jpegs_are_decoded_whole(pixels: Pixels, size: int, encode_format: str) -> None:
    """libjpeg-turbo ignores that a smaller size was asked for, and writes past the memory's end."""
    options = {"resize_mode": "keep_ratio", "image_size": size, "encode_format": encode_format}
    result = outcome(lossless(pixels), **options)
    assert isinstance(result, Encoded), result
    shown = np.repeat(pixels[:, :, None], 3, 2) if pixels.ndim == 2 else pixels
    expected = rendered(shown.astype(np.float64), size, "keep_ratio")
    mean, most = distance(opened(result.data), expected)
    assert (mean, most) < ((6, 40) if encode_format == "jpg" else (0.6, 1.5))


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        (0xCB, "arithmetic coding"),
        *((marker, "hierarchical") for marker in (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)),
    ],
)
def test_what_libjpeg_cannot_decode_is_named(marker: int, words: str) -> None:
    result = outcome(lossless(GREY, marker))
    assert isinstance(result, Failure)
    assert result.reason == Reason.DECODE_ERROR
    assert words in result.message


def test_a_lossless_jpeg_that_ends_early_is_truncated() -> None:
    body = lossless(SOURCE)
    result = outcome(body[: len(body) // 2], image_size=16)
    assert isinstance(result, Failure)
    assert result.reason == Reason.TRUNCATED_IMAGE
