"""Origins in the form in which browsers send them."""

from __future__ import annotations

import pytest

from img2ds.core.failure import UsageError
from laion.web.options import ServeOptions
from laion.web.origin import parse_origin


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("http://127.0.0.1:1235", "http://127.0.0.1:1235"),
        ("HTTP://Host.Example/", "http://host.example"),
        ("http://h:80", "http://h"),
        ("https://h:443/", "https://h"),
        ("https://h:80", "https://h:80"),
        ("http://[::1]:1235", "http://[::1]:1235"),
        ("*", "*"),
    ],
)
def test_origins(given: str, origin: str) -> None:
    assert parse_origin(given) == origin


@pytest.mark.parametrize(
    "given",
    ["", "host", "127.0.0.1:1235", "ftp://h", "http://", "http://h/page", "http://h?q", "null",
     "http://h:x", "http://me@h"],
)  # fmt: skip
def test_what_is_no_origin(given: str) -> None:
    with pytest.raises(UsageError, match="--allowed_origins takes http://HOST:PORT"):
        ServeOptions(index=("x",), allowed_origins=(given,))
