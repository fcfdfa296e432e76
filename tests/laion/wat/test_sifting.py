"""The compiled rules are those of Python, text by text and URL by URL."""

from __future__ import annotations

import sys
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from laion.wat import sifting as module
from laion.wat.documents import DOCUMENT_TYPES
from laion.wat.rules import MAX_URL_LENGTH, Rules
from laion.wat.sifting import sift, sift_in_python
from laion.wat.text import character_flags
from laion.wat.urljoin import Joiner
from tests.laion.wat.test_text import ENTITIES, ODD
from tests.laion.wat.test_urljoin import BASES, PIECES, PLAIN, STARTS

pytestmark = pytest.mark.skipif(module._sift is None, reason="_sift is not built")

TEXTS = st.none() | st.text(st.sampled_from(ODD + "abc Z.,") | st.characters(), max_size=14)
URLS = st.lists(st.sampled_from([*PIECES, *PLAIN, ".gif", ".SVG", "é.ico"]), max_size=6).map(
    "".join
)
KINDS = [*DOCUMENT_TYPES.values()]


def check(urls: list[str], alts: list[str | None], base: str, rules: Rules) -> None:
    expected = sift_in_python(urls, alts, Joiner(base), rules)
    assert sift(urls, alts, Joiner(base), rules) == expected, (urls, alts)


@settings(derandomize=True, deadline=None, max_examples=600)
@given(
    st.lists(st.tuples(URLS, TEXTS), max_size=4),
    st.sampled_from(BASES),
    st.sampled_from(KINDS),
    st.integers(0, 6),
)
@example([("http://a.example/b.jpg", "“It’s” a\u00a0dog")], BASES[0], KINDS[0], 5)
def test_it_is_python_s(
    images: list[tuple[str, str | None]], base: str, kind: object, least: int
) -> None:
    urls, alts = [url for url, _ in images], [alt for _, alt in images]
    check(urls, alts, base, Rules(least, document=kind))  # type: ignore[arg-type]


def test_it_is_python_s_on_many_texts_and_urls() -> None:
    dice = Random(8)
    for _ in range(3000):
        urls, alts = [], []
        for _ in range(8):
            pieces = dice.choice([[*ODD, *"abc Zß"], ENTITIES, list("abc  dé,")])
            alts.append("".join(dice.choices(pieces, k=dice.randint(0, 9))))
            parts = [dice.choice(STARTS), *dice.choices(PLAIN, k=dice.randint(0, 4))]
            urls.append("".join([*parts, dice.choice(["", ".gif", ".jpg", ".Svg?x", ".ico#a"])]))
        check(urls, [*alts], dice.choice(BASES), Rules(dice.randint(0, 6)))


def test_every_character_alone_and_next_to_letters() -> None:
    """Flags of all characters: each is cleaned as Python does, also beyond the first plane."""
    codes = [*range(0x3100), *range(0xA000, 0x10000, 7), *range(0x10000, sys.maxunicode, 997)]
    for start in range(0, len(codes), 64):
        alts: list[str | None] = []
        for code in codes[start : start + 64]:
            c = chr(code)
            alts += [c, f"é{c}", f"a{c}b {c}{c}", f"Ö{c}Ã"]
        check(["http://a.example/b.jpg"] * len(alts), alts, BASES[0], Rules(0))


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("letter", ["a", "é"])
def test_the_longest_url(more: int, letter: str) -> None:
    start = "http://a.example/"
    url = start + letter * (MAX_URL_LENGTH - len(start) + more)
    check([url], ["a text"], BASES[0], Rules())


@pytest.mark.parametrize(
    "url", ["", " ", "\t\n", "http://", "http://?", "https:///x", "HTTP://A/b"]
)
def test_urls_without_a_host(url: str) -> None:
    check([url] * 2, ["a text", None], "https://example.org/a/b.html", Rules())


def test_wrong_arguments_are_refused() -> None:
    assert module._sift is not None
    functions, base = (str, str, str), ("", "", "")
    with pytest.raises(ValueError, match="an alt for each URL"):
        module._sift.sift(["a"], [], character_flags(), functions, base, 0, 1, 1)
    with pytest.raises(ValueError, match="a flag for each"):
        module._sift.sift([], [], b"short", functions, base, 0, 1, 1)
    with pytest.raises(TypeError, match="URLs are str"):
        module._sift.sift([1], [None], character_flags(), functions, base, 0, 0, 1)
    with pytest.raises(TypeError, match="are ASCII"):
        module._sift.sift([], [], character_flags(), functions, ("é", "", ""), 0, 0, 1)
