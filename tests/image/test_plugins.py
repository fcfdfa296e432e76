"""Filters and transforms between resizing and storing: what they see, and what may come of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pytest

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, UsageError
from img2ds.core.hooks import Image
from img2ds.core.plugin_object import plugin_of
from img2ds.core.sample import Encoded
from img2ds.image.header import Header
from img2ds.image.isolated import IsolatedTransformer
from img2ds.image.plugins import make_transformer
from img2ds.image.transform import Transformer
from tests.server.encodings import jpeg, png
from tests.server.photos import photo

PHOTO = photo(1, 90, 60)
SEEN: list[Image] = []


def render(body: bytes, row: Any = None, **options: Any) -> Encoded | Failure:
    for name in ("filter", "transform"):
        functions = options.pop(name, ())
        functions = functions if isinstance(functions, tuple) else (functions,)
        options[name] = tuple(plugin_of(name, function) for function in functions)
    transformer = make_transformer(ImageOptions(**{"image_size": 32, **options}))
    image = transformer.inspect(body)
    assert not isinstance(image, Failure)
    image.row = row
    return transformer.render(image)


def done(encoded: Encoded | Failure) -> Encoded:
    assert isinstance(encoded, Encoded), encoded
    return encoded


def record(image: Image, row: Mapping[str, Any]) -> bool:
    image.pixels  # noqa: B018 - decoded here
    SEEN.append(image)
    return True


def grey(image: Image, row: Mapping[str, Any]) -> Any:
    return np.repeat(image.pixels.mean(2, keepdims=True).astype(np.uint8), 3, 2)


def crop(image: Image, row: Mapping[str, Any]) -> Any:
    return image.pixels[:10, :20]


def decoded(data: Any) -> Any:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def test_without_plug_ins_nothing_is_in_the_way() -> None:
    assert type(make_transformer(ImageOptions())) is Transformer


@pytest.mark.parametrize("encode_format", ["jpg", "png", "webp"])
@pytest.mark.parametrize("resize_mode", ["border", "no", "center_crop"])
def test_a_filter_sees_what_is_stored_and_changes_no_byte(
    encode_format: str, resize_mode: str
) -> None:
    options = {"encode_format": encode_format, "resize_mode": resize_mode}
    SEEN.clear()
    body = jpeg(PHOTO)
    kept = done(render(body, filter=record, **options))
    assert kept == done(render(body, **options))
    (seen,) = SEEN
    assert np.abs(seen.pixels.astype(int) - decoded(kept.data)).max() <= 2
    assert (seen.height, seen.width, 3) == seen.pixels.shape == (kept.height, kept.width, 3)
    assert (seen.original_width, seen.original_height) == (90, 60)
    assert bytes(seen.body) == body


@pytest.mark.parametrize("flag", ["disable_all_reencoding", "skip_reencode"])
def test_a_filter_sees_originals_that_are_kept(flag: str) -> None:
    SEEN.clear()
    body = jpeg(PHOTO)
    kept = done(render(body, filter=record, resize_mode="no", **{flag: True}))
    assert bytes(kept.data) == body
    assert np.abs(SEEN[0].pixels.astype(int) - decoded(body)).max() <= 2


def test_grey_originals_are_seen_in_rgb() -> None:
    SEEN.clear()
    body = png(PHOTO[:, :, 0])
    done(render(body, filter=record, disable_all_reencoding=True))
    assert SEEN[0].pixels.shape == (60, 90, 3)


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        (True, None),
        (np.True_, None),
        (False, "filtered by <lambda>"),
        ("too\n dark", "<lambda>: too dark"),
        (None, "filter <lambda> returned NoneType, not True, False or a reason"),
        (1, "filter <lambda> returned int, not True, False or a reason"),
    ],
    ids=repr,
)
def test_verdicts(verdict: Any, message: str | None) -> None:
    outcome = render(jpeg(PHOTO), filter=lambda image, row: verdict)
    if message is None:
        done(outcome)
    else:
        assert isinstance(outcome, Failure)
        assert outcome.message == message
        assert outcome.reason == ("plugin_error" if "returned" in message else "filtered")


def test_filters_are_asked_in_turn_until_one_drops_the_image() -> None:
    SEEN.clear()
    outcome = render(jpeg(PHOTO), filter=(record, lambda image, row: "no", record))
    assert isinstance(outcome, Failure)
    assert len(SEEN) == 1


def test_plug_ins_get_the_row() -> None:
    row = {"url": "http://a.example/", "score": 0.4}
    outcome = render(jpeg(PHOTO), row, filter=lambda image, row: f"{row['score']}")
    assert isinstance(outcome, Failure)
    assert outcome.message == "<lambda>: 0.4"


def test_transforms_are_applied_in_turn_before_filters() -> None:
    SEEN.clear()
    kept = done(render(jpeg(PHOTO), transform=(grey, crop), filter=record, encode_format="png"))
    pixels = decoded(kept.data)
    assert pixels.shape == (10, 20, 3) == (kept.height, kept.width, 3)
    assert (pixels == pixels[:, :, :1]).all()
    assert (pixels == SEEN[0].pixels).all()


def test_a_transformed_image_is_encoded_again() -> None:
    body = jpeg(photo(1, 32, 32))
    kept = done(render(body, transform=grey, skip_reencode=True))
    assert bytes(kept.data) != body
    with pytest.raises(UsageError, match="--transform and --disable_all_reencoding"):
        render(body, transform=grey, disable_all_reencoding=True)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "returned NoneType"),
        (np.zeros((4, 4, 3)), r"returned float64 \[4, 4, 3\]"),
        (np.zeros((4, 4), np.uint8), r"returned uint8 \[4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"returned uint8 \[0, 4, 3\]"),
    ],
    ids=["none", "floats", "grey", "empty"],
)
def test_what_a_transform_may_not_return(result: Any, words: str) -> None:
    outcome = render(jpeg(PHOTO), transform=lambda image, row: result)
    assert isinstance(outcome, Failure)
    assert outcome.reason == "plugin_error"
    assert re.match(f"transform <lambda> {words}", outcome.message)


def test_errors_name_the_plug_in_and_keep_the_traceback() -> None:
    outcome = render(jpeg(PHOTO), filter=lambda image, row: 1 / 0)
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.message) == (
        "plugin_error", "filter <lambda> raised ZeroDivisionError",
    )  # fmt: skip
    assert "ZeroDivisionError: division by zero" in str(outcome.traceback)


def test_an_image_that_cannot_be_decoded_is_not_the_plug_ins_fault() -> None:
    body = jpeg(PHOTO)
    outcome = render(body[: len(body) // 2], filter=record, disable_all_reencoding=True)
    assert isinstance(outcome, Failure)
    assert outcome.reason == "truncated_image"


def test_a_child_process_renders_with_plug_ins() -> None:
    options = ImageOptions(image_size=32, filter=(plugin_of("filter", lambda i, row: row["ok"]),))
    transformer = IsolatedTransformer(options)
    try:
        image = transformer.inspect(jpeg(PHOTO))
        assert not isinstance(image, Failure)
        assert isinstance(image.header, Header)
        image.row = {"ok": True}
        done(transformer.render(image))
        image.row = {"ok": "not today"}
        dropped = transformer.render(image)
        assert isinstance(dropped, Failure)
        assert dropped.message == "<lambda>: not today"
    finally:
        transformer.close()


class Broken:
    def __init__(self) -> None:
        raise RuntimeError("no weights")


def test_a_plug_in_that_cannot_be_set_up_is_no_decoder_that_crashes() -> None:
    options = ImageOptions(filter=(plugin_of("filter", Broken),))
    with pytest.raises(RuntimeError, match="no weights"):
        IsolatedTransformer(options)
