"""Alt texts made clean, as LAION-400M's workers did it.

`ftfy.fix_text`, then every run of white space becomes one space, then what cannot be printed
goes, then the ends are stripped. ftfy takes 16 us a text; texts that it provably leaves alone
do not go through it.
"""

from __future__ import annotations

import re
from unicodedata import is_normalized

from img2ds.core.failure import UsageError

try:
    from ftfy import fix_text
    from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES, is_bad
    from ftfy.chardata import CONTROL_CHARS, LIGATURES, WIDTH_MAP
    from ftfy.fixes import unescape_html
except ImportError:
    raise UsageError("laion extract needs ftfy: pip install 'img2ds[extract]'") from None

# ASCII that no step of ftfy changes; entities need an ampersand and a semicolon.
_plain = re.compile(r"[\t\n -%'-~]*").fullmatch
_CURLED = re.compile("[\u02bc\u2018-\u201f]")
_STRAIGHT = {
    **dict.fromkeys([0x2BC, *range(0x2018, 0x201C)], "'"),
    **dict.fromkeys(range(0x201C, 0x2020), '"'),
}


def _suspicious() -> re.Pattern[str]:
    """Finds something in every text that ftfy takes for mojibake, and in few others.

    `BADNESS_RE` asks for pairs: two characters of those that mojibake is made of, side by side.
    Only four letters and the C1 controls are enough by themselves. It takes 4-6 us a text; two
    classes instead of its fifty take 0.3.
    """
    categories = "".join(MOJIBAKE_CATEGORIES.values())
    others = "".join({c for c in BADNESS_RE.pattern if ord(c) > 0x7F and c not in categories})
    return re.compile(f"[{categories}{others}]{{2}}|[\x80-\x9fŒœÂÃ]")


def _touched() -> re.Pattern[str]:
    """Finds what some step of ftfy besides `fix_encoding` changes, quotes apart.

    Line breaks are among it, because ftfy takes a text line by line.
    """
    codes = {
        *CONTROL_CHARS, *LIGATURES, *WIDTH_MAP, ord("\n"), ord("\r"), 0x2028, 0x2029,
        *range(0x80, 0xA0), *range(0xD800, 0xE000),
    }  # fmt: skip
    return re.compile("[" + "".join(re.escape(chr(code)) for code in sorted(codes)) + "]")


_suspicion = _suspicious().search
_touch = _touched().search


def fix(text: str) -> str:
    """`ftfy.fix_text(text)`."""
    if _plain(text):
        return text
    if "&" in text and ";" in text:
        plain = _without_entities(text)
        return fix_text(text) if plain is None else plain
    if _touch(text):
        return fix_text(text)
    if _suspicion(text) and is_bad(text):
        return fix_text(text)
    if _CURLED.search(text):
        text = text.translate(_STRAIGHT)  # straight quotes are in none of ftfy's suspicious pairs
    return text if is_normalized("NFC", text) else fix_text(text)


def _without_entities(text: str) -> str | None:
    """What ftfy makes of ASCII that stays printable ASCII without its entities, else None.

    Like ftfy it goes on until nothing changes, and leaves text alone that has HTML's `<` in it.
    """
    if "<" in text:
        return None
    while text.isascii() and text.isprintable():
        unescaped = unescape_html(text)
        if unescaped == text:
            return text
        text = unescaped
    return None


def clean(text: str) -> str:
    """The text as it stands in the data set; what is not worth keeping is not judged here."""
    if text.isascii() and text.isprintable() and not ("&" in text and ";" in text):
        # ftfy leaves it alone, and it has no white space but blanks.
        return " ".join(text.split()) if "  " in text else text.strip()
    text = " ".join(fix(text).split())
    if text.isprintable():
        return text
    return "".join(c for c in text if c.isprintable()).strip()
