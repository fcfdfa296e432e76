"""The fast join equals urljoin, on 100,000 generated pairs and on hypothesis's examples."""

from __future__ import annotations

from random import Random
from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laion.wat import urljoin as module
from laion.wat.urljoin import BLANKS, Joiner

BASES = [
    "http://example.org", "https://example.org/", "https://example.org/a/b/c.html",
    "https://u:p@example.org:8443/a//b/../c/./d?q=1/2#f", "http://example.org?q", "ftp://a/b/",
    "https://exämple.org/ü/", "https://[::1]/a/b", "mailto:x@y", "", "/a/b", "HTTP://EX.org/A/",
    "http://a/b;p/c;d?e", "http://example.org/a b/c", "https://example.org/.hidden/x",
    "http://example.org/a:b/c",
]  # fmt: skip
PIECES = [
    "http://", "https://", "HTTP://", "//", "/", "/", "a", "b.jpg", "img", "..", ".", "...", "?",
    "?q=1", "#", "#f", ";", ";p", ":", "@", "%20", " ", "\t", "\n", "\r", "\x00", "\x0b", "\xa0",
    "é", "漢", "[", "]", "[::1]", "\\", "data:", "data:image/png;base64,AAAA", "javascript:",
    "example.org", "ex.org:80", "&amp;", "'", '"', "<", "|", "~", "\x7f", "K", "//x", "www.a.b",
    "=",
]  # fmt: skip
PLAIN = ["a", "b.jpg", "img/", "/x/y", "%20", "?q=1", " ", ".", "ex.org", "-1024x768", "&b=c"]
STARTS = ["", "", "", "/", "//cdn.ex.org/", "http://ex.org", "https://ex.org/", "data:image/gif;"]


def check(base: str, urls: list[str]) -> None:
    """Both ways of the joiner against urljoin itself."""
    joiner = Joiner(base)
    assert joiner.base == base
    expected: list[str | None] = []
    for url in urls:
        try:
            expected.append(urljoin(base, url.strip(BLANKS)))
        except ValueError:
            expected.append(None)
            with pytest.raises(ValueError):  # noqa: PT011
                joiner.join(url)
        else:
            assert joiner.join(url) == expected[-1]
    assert joiner.join_all(urls) == expected


def test_a_hundred_thousand_pairs() -> None:
    dice = Random(3)
    fast = 0
    pairs: dict[str, list[str]] = {base: [] for base in BASES}
    for _ in range(100_000):
        pieces = PLAIN if dice.random() < 0.5 else PIECES
        url = dice.choice(STARTS) + "".join(dice.choices(pieces, k=dice.randint(0, 6)))
        pairs[dice.choice(BASES)].append(url)
    for base, urls in pairs.items():
        check(base, urls)
        if module._join is not None:
            joiner = Joiner(base)
            parts = joiner._scheme, joiner._root, joiner._folder
            fast += len(urls) - module._join.join(urls, *parts).count(None)
    assert 20_000 < fast < 90_000 or module._join is None


@settings(derandomize=True, deadline=None, max_examples=500)
@given(
    st.sampled_from(BASES) | st.text(st.sampled_from("htps:/ax.?#;[]@ é\t%"), max_size=12),
    st.text(st.sampled_from("htps:/ax.?#;[]@ é\t\n%\\") | st.characters(), max_size=14),
)
def test_whatever_is_thought_of(base: str, url: str) -> None:
    check(base, [url])


@pytest.mark.parametrize(
    ("page", "base", "url", "joined"),
    [
        ("https://a.org/x/y.html", None, "z.jpg", "https://a.org/x/z.jpg"),
        ("https://a.org/x/y.html", None, "../z.jpg", "https://a.org/z.jpg"),
        ("https://a.org/x/y.html", "/img/", " z.jpg\n", "https://a.org/img/z.jpg"),
        ("https://a.org/x/y.html", "//b.org/q/", "z.jpg", "https://b.org/q/z.jpg"),
        ("https://a.org/x/y.html", "http://[bad", "z.jpg", "https://a.org/x/z.jpg"),
        ("http://a.org/x", None, "//cdn.org/z.jpg?v=1", "http://cdn.org/z.jpg?v=1"),
    ],
)
def test_bases(page: str, base: str | None, url: str, joined: str) -> None:
    assert Joiner(page, base).join(url) == joined
    assert Joiner(page, base).join_all([url]) == [joined]


@pytest.mark.parametrize(
    ("url", "joined"),
    [
        ("https://b.org/x.jpg?v=1", "https://b.org/x.jpg?v=1"),
        ("data:image/gif;base64,AA", "data:image/gif;base64,AA"),
        ("/x/y.jpg", "https://a.org/x/y.jpg"),
        ("//cdn.org/z.jpg", "https://cdn.org/z.jpg"),
        (" c/d.jpg\n", "https://a.org/p/c/d.jpg"),
    ],
)
def test_simple_forms_are_joined_without_urljoin(
    url: str, joined: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    joiner = Joiner("https://a.org/p/q.html")

    def slow(*_: object) -> str:
        pytest.fail("urljoin was called")

    monkeypatch.setattr(module, "urljoin", slow)
    assert joiner.join(url) == joined
    assert joiner.join_all([url]) == [joined]
