"""Images that are rendered in a child process, and those that end it."""

from __future__ import annotations

import pytest

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason
from img2ds.core.sample import Encoded
from img2ds.image.isolated import IsolatedTransformer
from img2ds.image.transform import InspectedImage, Transformer
from tests.conftest import worker_path
from tests.server.fatal_decoder.images import fatal
from tests.server.good_image import good_image

OPTIONS = ImageOptions(max_decode_time=0.2)


def inspected(body: bytes) -> InspectedImage:
    image = Transformer(OPTIONS).inspect(body)
    assert not isinstance(image, Failure)
    return image


def test_an_image_that_ends_the_child_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", worker_path())
    isolated = IsolatedTransformer(OPTIONS)
    good = inspected(good_image())
    wanted = Transformer(OPTIONS).render(good)
    assert isinstance(wanted, Encoded)
    for how, reason, words in (
        (b"abort", Reason.DECODER_CRASH, "the decoder crashed (SIGABRT)"),
        (b"exhaust", Reason.DECODER_CRASH, "the decoder crashed (SIGKILL, out of memory?)"),
        (b"spin", Reason.DECODE_TIMEOUT, "decoding takes more than 0.2 s of CPU"),
    ):
        assert isolated.render(inspected(fatal(how))) == Failure(reason.value, words)
        assert isolated.render(good) == wanted
    assert isolated.close() == 0
    assert isolated.close() == 0


def test_failures_come_back() -> None:
    isolated = IsolatedTransformer(OPTIONS)
    image = inspected(good_image()[:2000])
    failed = isolated.render(image)
    assert isinstance(failed, Failure)
    assert failed == Transformer(OPTIONS).render(image)
    isolated.close()
