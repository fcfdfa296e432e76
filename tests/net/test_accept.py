"""The Accept header: the formats that are kept, in order of preference."""

from __future__ import annotations

from img2ds.config.options import IMAGE_FORMATS, NetworkOptions
from img2ds.net.request import accept, accepting, request_headers


def test_formats_that_are_asked_for() -> None:
    laion = accept(("jpeg", "png", "webp"))
    assert laion == "image/jpeg,image/png,image/webp,image/*;q=0.5,*/*;q=0.1"
    assert "image/webp,image/gif,image/avif;q=0.8," in accept(IMAGE_FORMATS)
    for name in ("Accept", "accept"):
        given = accepting(NetworkOptions(headers={name: "image/png"}), IMAGE_FORMATS)
        assert {"image/png"} == {value for header, value in request_headers(given).items()
                                 if header.lower() == "accept"}  # fmt: skip
