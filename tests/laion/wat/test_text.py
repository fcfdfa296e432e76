"""Clean texts: the fast ways give what ftfy gives."""

from __future__ import annotations

import re
from random import Random

import pytest
from ftfy import fix_text
from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES, is_bad
from hypothesis import example, given, settings
from hypothesis import strategies as st

from laion.wat import text as module
from laion.wat.text import clean, fix

ODD = (
    "’“‘éÃÂâ€œ™°·»¡ŒœğВГРСв漢カ한ﬁＡ　\u200b\u2028\x85\x9d\x1b\x00\x0b\r\n\t"
    "&amp;<>;é\u0301\ufffd│▀²×à"
)
ENTITIES = [
    "&amp;", "amp;", "&lt;", "&quot;", "&#39;", "&#x27;", "&nbsp;", "&eacute;", "&EACUTE;",
    "&", ";", "&#10;", "&#0;", "&#27;", "&bogus;", "&#38;", "<", " ", " ", "\n", "a", "’", "é",
    "&rsquo;",
]  # fmt: skip


def check(text: str) -> None:
    """`fix` against ftfy, `clean` against the workers' steps, one after the other."""
    fixed = fix_text(text)
    assert fix(text) == fixed, ascii(text)
    spaced = re.sub(r"\s+", " ", fixed)
    assert clean(text) == "".join(c for c in spaced if c.isprintable()).strip(), ascii(text)


@settings(derandomize=True, deadline=None, max_examples=700)
@given(st.text(st.sampled_from(ODD + "abc Z.,") | st.characters(), max_size=12))
@example("a & b; c")
@example("&lt;b&gt; <i>&amp;")
@example("“It’s”")
@example("schÃ¶n")
def test_fix_is_ftfy_s(text: str) -> None:
    check(text)


def test_fix_is_ftfy_s_on_many_short_texts() -> None:
    dice = Random(5)
    for _ in range(20_000):
        pieces = [*ODD, *"abc Zß"] if dice.random() < 0.7 else ENTITIES
        text = "".join(dice.choices(pieces, k=dice.randint(1, 7)))
        check(text)


def test_all_that_ftfy_takes_for_mojibake_is_suspicious() -> None:
    """Pairs of all characters that mojibake is made of, among letters and by themselves."""
    markers = {
        c for c in BADNESS_RE.pattern + "".join(MOJIBAKE_CATEGORIES.values()) if ord(c) > 127
    }
    markers |= {chr(c) for c in range(0x80, 0x180)}
    bad = 0
    for first in sorted(markers):
        for second in (*sorted(markers), "", "a", " "):
            for frame in ("{}", "a{} b", "A {}."):
                text = frame.format(first + second)
                if is_bad(text):
                    bad += 1
                    assert module._suspicion(text), ascii(text)
    assert bad > 10_000
    assert not any(c.isascii() and c != "-" for c in "".join(MOJIBAKE_CATEGORIES.values()))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("  a\n\tb  ", "a b"),
        ("Fish &amp; Chips", "Fish & Chips"),
        ("zero\u200bwidth", "zerowidth"),
        ("\u200b a", "a"),
        ("Ｆｕｌｌ", "Full"),
        ("naïve café", "naïve café"),
        ("", ""),
    ],
)
def test_clean(text: str, wanted: str) -> None:
    assert clean(text) == wanted
