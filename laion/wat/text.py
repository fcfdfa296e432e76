"""Clean alt texts as LAION-400M's workers did.

`ftfy.fix_text`, then white space is collapsed to single spaces, then characters that are not
printable are removed, then the ends are stripped. ftfy takes 16 us a text; it is skipped for texts
that it provably does not change.
"""

from __future__ import annotations

import re
from functools import cache
from unicodedata import combining, decomposition, is_normalized

from img2ds.core.failure import UsageError

try:
    from ftfy import fix_text
    from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES, is_bad
    from ftfy.chardata import CONTROL_CHARS, LIGATURES, WIDTH_MAP
    from ftfy.fixes import unescape_html
except ImportError:
    raise UsageError(
        "laion extract needs the package ftfy: pip install 'img2ds[extract]'"
    ) from None

# ASCII that no step of ftfy changes. Entities have an ampersand and a semicolon.
_plain = re.compile(r"[\t\n -%'-~]*").fullmatch
#: Characters that make mojibake alone.
_ALONE = "[\x80-\x9fŒœÂÃ]"
_CURLED = re.compile("[\u02bc\u2018-\u201f]")
_STRAIGHT = {
    **dict.fromkeys([0x2BC, *range(0x2018, 0x201C)], "'"),
    **dict.fromkeys(range(0x201C, 0x2020), '"'),
}


def _suspicious() -> re.Pattern[str]:
    """Return a pattern that is in every text that ftfy takes for mojibake, and in few others.

    `BADNESS_RE` matches pairs of characters that mojibake consists of; only four letters and the C1
    controls match alone. It takes 4-6 us a text. This has two classes in place of its fifty, and
    takes 0.3 us.
    """
    return re.compile(f"[{_paired()}]{{2}}|{_ALONE}")


def _paired() -> str:
    """Return the characters, and ranges, that are suspicious in pairs."""
    categories = "".join(MOJIBAKE_CATEGORIES.values())
    others = {c for c in BADNESS_RE.pattern if ord(c) > 0x7F and c not in categories}
    return categories + "".join(sorted(others))


def _touched() -> re.Pattern[str]:
    """Return a pattern of what steps of ftfy other than `fix_encoding` change, quotes excepted.

    Line breaks are included, because ftfy processes a text line by line.
    """
    codes = {
        *CONTROL_CHARS, *LIGATURES, *WIDTH_MAP, ord("\n"), ord("\r"), 0x2028, 0x2029,
        *range(0x80, 0xA0), *range(0xD800, 0xE000),
    }  # fmt: skip
    return re.compile("[" + "".join(re.escape(chr(code)) for code in sorted(codes)) + "]")


_suspicion = _suspicious().search
_touch = _touched().search


@cache
def character_flags() -> bytes:
    """Return what `_sift.c` has to know of each character of the Basic Multilingual Plane.

    Bits, from the lowest: a step of ftfy changes it; it is suspicious next to another such; it is
    suspicious alone; it is a curled quote; white space; not printable; normalization may change it
    or the one before it.
    """
    flags = bytearray(0x10000)
    characters = "".join(map(chr, range(0x10000)))
    patterns = (_touched(), re.compile(f"[{_paired()}]"), re.compile(_ALONE), _CURLED)
    for place, pattern in enumerate(patterns):
        for match in pattern.finditer(characters):
            flags[match.start()] |= 1 << place
    pairs = [parts for c in characters if len(parts := decomposition(c).split()) == 2]
    joining = {int(last, 16) for first, last in pairs if not first.startswith("<")}
    joining.update(range(0x1160, 0x1200))  # parts of Hangul syllables, composed by a rule
    for code, character in enumerate(characters):
        flags[code] |= character.isspace() << 4 | (not character.isprintable()) << 5
        if combining(character) or code in joining or not is_normalized("NFC", character):
            flags[code] |= 1 << 6
    return bytes(flags)


def fix(text: str) -> str:
    """Return `ftfy.fix_text(text)`."""
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
        text = text.translate(_STRAIGHT)  # no pair of BADNESS_RE has straight quotes
    return text if is_normalized("NFC", text) else fix_text(text)


def _without_entities(text: str) -> str | None:
    """Unescape the entities of ASCII text as ftfy does; None if the result is not printable ASCII.

    As in ftfy, that is repeated until nothing changes, and text with a `<` is left alone.
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
    """Clean a text. The rules on what is kept apply to the result."""
    if text.isascii() and text.isprintable() and not ("&" in text and ";" in text):
        # ftfy does not change it, and its only white space is spaces.
        return " ".join(text.split()) if "  " in text else text.strip()
    text = " ".join(fix(text).split())
    if text.isprintable():
        return text
    return "".join(c for c in text if c.isprintable()).strip()
