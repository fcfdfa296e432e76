"""Judge the images of a page by their texts and URLs: all rules but that of the language. Pure.

The extension `_sift` does the same, and calls the functions here for texts and URLs that are not
simple.
"""

from __future__ import annotations

from typing import NamedTuple

from laion.wat.native import load
from laion.wat.rules import Drop, Rules, drop_of_url
from laion.wat.text import character_flags, clean
from laion.wat.urljoin import BLANKS, Joiner

_sift = load("sift")

#: In the order in which the extension counts them.
_DROPS = (
    Drop.NO_ALT, Drop.TEXT_TOO_SHORT, Drop.BAD_URL, Drop.NOT_HTTP, Drop.FILE_TYPE,
    Drop.URL_TOO_LONG,
)  # fmt: skip
_CODES = {drop: code for code, drop in enumerate(_DROPS)}


class Sifted(NamedTuple):
    """The images of a page that the rules leave.

    Attributes:
        addresses, texts: the absolute URL and the clean text of each, in the page's order.
        dropped: how many images each rule dropped, by its name; none is zero.
    """

    addresses: list[str]
    texts: list[str]
    dropped: dict[str, int]


def sift(urls: list[str], alts: list[str | None], joiner: Joiner, rules: Rules) -> Sifted:
    """Clean the texts, resolve the URLs, and drop what violates a rule."""
    if _sift is None:
        return sift_in_python(urls, alts, joiner, rules)
    document = rules.document
    addresses, texts, counts = _sift.sift(
        urls, alts, character_flags(), (clean, joiner.join_or_none, _code_of_url), joiner.parts,
        rules.min_text_length, document.needs_text, document.is_image,
    )  # fmt: skip
    dropped = {drop.value: times for drop, times in zip(_DROPS, counts, strict=True) if times}
    return Sifted(addresses, texts, dropped)


def sift_in_python(urls: list[str], alts: list[str | None], joiner: Joiner, rules: Rules) -> Sifted:
    """Do the same without the extension."""
    found = Sifted([], [], {})
    document = rules.document
    for url, alt in zip(urls, alts, strict=True):
        drop: Drop | None = None
        text, address = clean(alt) if alt else "", None
        if alt is None and document.needs_text:
            drop = Drop.NO_ALT
        elif len(text) < rules.min_text_length:
            drop = Drop.TEXT_TOO_SHORT
        else:
            address = joiner.join_or_none(url)
            # An empty URL would be joined to the page itself.
            if address is None or not url.strip(BLANKS):
                drop = Drop.BAD_URL
            else:
                drop = drop_of_url(address, document.is_image)
        if drop is not None:
            found.dropped[drop.value] = found.dropped.get(drop.value, 0) + 1
        elif address is not None:
            found.addresses.append(address)
            found.texts.append(text)
    return found


def _code_of_url(address: str, is_image: int) -> int | None:
    drop = drop_of_url(address, bool(is_image))
    return None if drop is None else _CODES[drop]
