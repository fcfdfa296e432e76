"""The rules around the pixels: which bodies are kept unchanged, dropped or re-encoded."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason, Status, UsageError
from img2ds.core.sample import Body, Encoded
from img2ds.image.transform import InspectedImage, Transformer
from tests.image.reference import opened
from tests.server.encodings import ENCODINGS, gif, jpeg, jpeg_oriented, png, webp, webp_alpha
from tests.server.photos import photo

WIDTH, HEIGHT = 96, 64
SOURCE = photo(11, WIDTH, HEIGHT)


def outcome(body: Body, **options: Any) -> Encoded | Failure:
    transformer = Transformer(ImageOptions(**options))
    inspected = transformer.inspect(body)
    return inspected if isinstance(inspected, Failure) else transformer.render(inspected)


def transform(body: Body, **options: Any) -> Encoded:
    result = outcome(body, **options)
    assert isinstance(result, Encoded), result
    return result


def reason(body: Body, **options: Any) -> str:
    result = outcome(body, **options)
    assert isinstance(result, Failure)
    assert result.status is Status.FAILED_TO_RESIZE
    assert result.message
    assert "\n" not in result.message
    return result.reason


def parts(data: Body) -> list[str]:
    """The segments or chunks of a JPEG, PNG or WebP, without the pixels."""
    body, names = bytes(data), []
    if body[:2] == b"\xff\xd8":
        at = 2
        while body[at + 1] != 0xDA:
            names.append(f"{body[at + 1]:X}")
            at += 2 + struct.unpack_from(">H", body, at + 2)[0]
        return names
    at, order = (8, ">I4s") if body[:4] == b"\x89PNG" else (12, "<4sI")
    while at < len(body):
        one, other = struct.unpack_from(order, body, at)
        length, name = (one, other) if order == ">I4s" else (other, one)
        names.append(name.decode())
        at += length + (12 if order == ">I4s" else 8 + length % 2)
    return names


@pytest.mark.parametrize(
    ("encode_format", "allowed"),
    [
        # JFIF, tables, frame, Huffman tables: no APP1 to APP15, no comment.
        ("jpg", {"E0", "DB", "C0", "C4"}),
        ("png", {"IHDR", "IDAT", "IEND"}),
        ("webp", {"VP8 "}),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_results_have_no_metadata_of_their_own(
    kind: str, encode_format: str, allowed: set[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 3, "Sample"
    profile = Image.open(io.BytesIO(jpeg(SOURCE))).info.get("icc_profile") or bytes(200)
    file = io.BytesIO()
    Image.fromarray(SOURCE).save(file, kind, exif=exif, icc_profile=profile, comment="mine")
    result = transform(file.getvalue(), encode_format=encode_format, image_size=48)
    assert set(parts(result.data)) <= allowed
    assert opened(result.data).shape == (48, 48, 3)


@pytest.mark.parametrize("holder", [bytes, bytearray, memoryview])
def test_bodies_may_be_any_buffer(holder: Any) -> None:
    body = png(SOURCE)
    for options in ({}, {"skip_reencode": True, "encode_format": "png", "resize_mode": "no"}):
        assert bytes(transform(holder(body), **options).data) == bytes(
            transform(body, **options).data
        )


def test_the_same_body_gives_the_same_bytes() -> None:
    for encoding, make in ENCODINGS.items():
        body = make(SOURCE)
        one, other = transform(body, image_size=40), transform(bytearray(body), image_size=40)
        assert one == other, encoding


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"resize_mode": "no"}, True),
        ({"resize_mode": "keep_ratio", "image_size": 100, "resize_only_if_bigger": True}, True),
        ({"resize_mode": "keep_ratio", "image_size": 40, "resize_only_if_bigger": True}, False),
        ({"resize_mode": "keep_ratio", "image_size": 64}, False),
        ({"resize_mode": "border", "image_size": 100}, False),
        ({"resize_mode": "no", "encode_format": "webp"}, False),
    ],
)
def test_skip_reencode_keeps_what_need_not_change(options: dict[str, Any], kept: bool) -> None:
    body = jpeg(SOURCE)
    result = transform(body, skip_reencode=True, **options)
    assert (result.data == body) is kept
    assert transform(body, **options).data != body  # and never without being asked
    assert (result.width, result.height) == Image.open(io.BytesIO(result.data)).size


def test_skip_reencode_turns_what_is_not_upright() -> None:
    for orientation in range(1, 9):
        body = jpeg_oriented(SOURCE, orientation)
        result = transform(body, skip_reencode=True, resize_mode="no")
        assert (result.data == body) is (orientation == 1)
        assert (result.width, result.height) == (WIDTH, HEIGHT)
        assert opened(result.data).shape == (HEIGHT, WIDTH, 3)


def test_skip_reencode_takes_alpha_off() -> None:
    body = webp_alpha(SOURCE)
    result = transform(body, skip_reencode=True, resize_mode="no", encode_format="webp")
    assert result.data != body
    assert opened(result.data)[0, 0].min() > 245
    plain = webp(SOURCE)
    kept = transform(plain, skip_reencode=True, resize_mode="no", encode_format="webp")
    assert kept.data == plain


def test_skip_reencode_keeps_nothing_broken() -> None:
    body = jpeg(SOURCE)
    options = {"skip_reencode": True, "resize_mode": "no"}
    assert reason(body[: len(body) // 2], **options) == Reason.TRUNCATED_IMAGE


def test_nothing_is_reencoded_when_that_is_disabled() -> None:
    for make in ENCODINGS.values():
        body = make(SOURCE)
        result = transform(body, disable_all_reencoding=True, image_size=16)
        assert result.data == body
        assert (result.width, result.height) == (WIDTH, HEIGHT)
        assert (result.original_width, result.original_height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"min_image_size": 64}, None),
        ({"min_image_size": 65}, Reason.IMAGE_TOO_SMALL),
        ({"max_image_area": 96 * 64}, None),
        ({"max_image_area": 96 * 64 - 1}, Reason.IMAGE_AREA_TOO_LARGE),
        ({"max_aspect_ratio": 1.5}, None),
        ({"max_aspect_ratio": 1.49}, Reason.ASPECT_RATIO),
        ({"max_decoded_pixels": 96 * 64}, None),
        ({"max_decoded_pixels": 96 * 64 - 1}, Reason.IMAGE_BOMB),
    ],
)
@pytest.mark.parametrize("make", [jpeg, png, webp, gif, lambda p: jpeg_oriented(p, 6)])
@pytest.mark.parametrize("keep", [False, True])
def test_size_filters(
    make: Any, options: dict[str, Any], wanted: Reason | None, keep: bool
) -> None:
    body = make(SOURCE)
    options = {"image_size": 32, "disable_all_reencoding": keep, **options}
    if wanted is None:
        transform(body, **options)
    else:
        assert reason(body, **options) == wanted


@pytest.mark.parametrize("keep", [False, True])
def test_formats_that_are_not_wanted(keep: bool) -> None:
    wanted = {"image_formats": ("jpeg", "webp"), "disable_all_reencoding": keep}
    for make in (jpeg, webp):
        transform(make(SOURCE), **wanted)
    for make in (png, gif):
        assert reason(make(SOURCE), **wanted) == Reason.UNWANTED_FORMAT


@pytest.mark.parametrize("formats", [(), ("jpeg", "heic")])
def test_formats_that_cannot_be_read_are_refused(formats: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--image_formats takes any of jpeg, png, webp, gif"):
        ImageOptions(image_formats=formats)


@pytest.mark.parametrize(
    ("encode_format", "side"), [("jpg", 65_500), ("webp", 16_383)], ids=["jpg", "webp"]
)
def test_a_side_the_format_cannot_have_is_an_encode_error(encode_format: str, side: int) -> None:
    options = {"resize_mode": "keep_ratio_largest", "encode_format": encode_format}
    line = png(np.zeros((1, 8000, 3), np.uint8))
    assert transform(line, image_size=side, **options).width == side
    assert reason(line, image_size=side + 1, **options) == Reason.ENCODE_ERROR


def test_jpegs_have_a_quarter_of_the_colours() -> None:
    """4:2:0 as img2dataset's, at every quality: the first component has two samples each way."""
    for quality in (50, 95, 100):
        data = bytes(transform(png(SOURCE), encode_quality=quality).data)
        frame = data.index(b"\xff\xc0")
        assert data[frame + 11 : frame + 18 : 3] == b"\x22\x11\x11"


def test_higher_quality_takes_more_bytes() -> None:
    body = png(SOURCE)
    for name, low, high in (("jpg", 50, 95), ("webp", 50, 95), ("png", 9, 0)):
        sizes = [
            len(transform(body, encode_format=name, encode_quality=quality).data)
            for quality in (low, high)
        ]
        assert sizes[0] < sizes[1]
    default = transform(body).data
    assert default == transform(body, encode_quality=95).data


def test_exif_is_returned_when_requested() -> None:
    body = jpeg_oriented(SOURCE, 6)
    for options in ({}, {"disable_all_reencoding": True}):
        assert '"Image Make":"Sample"' in (transform(body, **options).exif or "")
        assert transform(body, extract_exif=False, **options).exif is None
    assert transform(jpeg(SOURCE)).exif == "{}"


def test_expensive_images_are_recognized_by_their_header() -> None:
    def costly(body: bytes, **options: Any) -> bool:
        inspected = Transformer(ImageOptions(**options)).inspect(body)
        assert isinstance(inspected, InspectedImage)
        return inspected.costly

    assert not costly(jpeg(SOURCE))
    header = bytearray(png(SOURCE))
    struct.pack_into(">II", header, 16, 1500, 1000)
    assert costly(bytes(header))
    assert costly(png(SOURCE[:4]), resize_mode="keep_ratio", image_size=512)  # 12 288 x 512
