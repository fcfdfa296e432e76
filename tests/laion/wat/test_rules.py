"""The rules for images and licences."""

from __future__ import annotations

import pytest

from laion.wat.license import license_kind, page_license
from laion.wat.rules import Drop, drop_of_url, largest_candidate

BY = "https://creativecommons.org/licenses/by/4.0/"
SA = "http://www.creativecommons.org/licenses/by-sa/3.0/deed.en"


@pytest.mark.parametrize(
    ("url", "drop"),
    [
        ("http://a.org/b.jpg", None),
        ("HTTPS://a.org", None),
        ("https://a.org/b.gif.jpg", None),
        ("https://a.org/b?x=.gif", None),
        ("https://a.org/b#.svg", None),
        ("https:///b.jpg", Drop.NOT_HTTP),
        ("data:image/png;base64,AA", Drop.NOT_HTTP),
        ("javascript:void(0)", Drop.NOT_HTTP),
        ("mailto:a@b.org", Drop.NOT_HTTP),
        ("ftp://a.org/b.jpg", Drop.NOT_HTTP),
        ("/b.jpg", Drop.NOT_HTTP),
        ("https://a.org/b.svg", Drop.FILE_TYPE),
        ("https://a.org/b.GIF?v=1", Drop.FILE_TYPE),
        ("https://a.org/favicon.ico#x", Drop.FILE_TYPE),
        ("https://a.org/" + "b" * 2034, None),
        ("https://a.org/" + "b" * 2035, Drop.URL_TOO_LONG),
        ("https://a.org/b.gif?" + "b" * 2048, Drop.FILE_TYPE),
    ],
)
def test_urls(url: str, drop: Drop | None) -> None:
    assert drop_of_url(url) is drop


@pytest.mark.parametrize(
    ("srcset", "largest"),
    [
        ("a.jpg 480w, b.jpg 800w, c.jpg 640w", "b.jpg"),
        ("a.jpg, b.jpg 2x", "b.jpg"),
        ("a.jpg 1.5x,b.jpg 1x", "a.jpg"),
        ("https://a.org/x,y.jpg 2x", "https://a.org/x,y.jpg"),
        ("a.jpg", "a.jpg"),
        (" , ", ""),
        ("", ""),
        ("a.jpg 1.2.3x, b.jpg 1x", "b.jpg"),
    ],
)
def test_srcsets(srcset: str, largest: str) -> None:
    assert largest_candidate(srcset) == largest


@pytest.mark.parametrize(
    ("head", "links", "found"),
    [
        ([], [], "?"),
        ([], [(BY, None), (SA, None)], BY),
        ([], [(BY, None), (SA, "nofollow License")], SA),
        ([(SA, "license")], [(BY, "license")], SA),
        ([(SA, "stylesheet")], [], "?"),
        ([], [(f"https://share.org/?u={BY}", None)], "?"),
        ([], [("  //creativecommons.org/licenses/by/4.0/ ", None)], BY),
        ([], [("https://creativecommons.org/licenses/", None), (BY, None)], BY),
        ([], [("https://notcreativecommons.org/licenses/by/4.0/", None)], "?"),
    ],
)
def test_licenses(
    head: list[tuple[str, str | None]], links: list[tuple[str, str | None]], found: str
) -> None:
    assert page_license(head, links, "https://a.org/") == found


def test_kinds() -> None:
    assert (license_kind(BY), license_kind(SA), license_kind("?")) == ("by", "by-sa", "?")
