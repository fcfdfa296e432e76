"""URLs of a page made absolute: `urllib.parse.urljoin`'s answers, most of them without its cost.

urljoin cuts both URLs apart and puts them together again, 5-10 us an image. Nearly all image URLs
have one of four simple shapes, for which its answer is a concatenation.
"""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import urljoin

from laion.wat.native import load

_join = load("join")

#: What HTML strips around a URL: ASCII white space (WHATWG HTML, 2.4.2).
BLANKS = " \t\n\r\f"

# Shapes whose parts urljoin gives back as they are: no characters that it removes (controls),
# no empty query, parameters or fragment (it drops them), no brackets (it checks them).
_HOST = r"[A-Za-z0-9.:@_~%-]+"
_PATH = r"[^\x00-\x1f;?#\[\]\\]*"
_QUERY = r"(?:\?[^\x00-\x1f#\[\]]+)?"
_absolute = re.compile(rf"https?://{_HOST}(?:/{_PATH})?{_QUERY}").fullmatch
_same_scheme = re.compile(rf"//{_HOST}/{_PATH}{_QUERY}").fullmatch
# Of another scheme than any page, which urljoin leaves alone.
_picture = re.compile(r"data:image/[\x21-\x7e]*").fullmatch
# No segment that starts with a dot, so that there are none to resolve.
_SEGMENT = r"[^\x00-\x1f;?#\[\]\\/:.][^\x00-\x1f;?#\[\]\\/:]*"
_from_root = re.compile(rf"(?:/{_SEGMENT})+{_QUERY}").fullmatch
_plain_base = re.compile(
    rf"((https?:)//{_HOST})(/(?:{_SEGMENT}/)*)?(?:{_SEGMENT})?{_QUERY}(?:#[^\x00-\x1f]*)?"
).fullmatch
_from_folder = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*{_QUERY}").fullmatch


class Joiner:
    """Joins URLs to one page's base.

    Args:
        page_url: the page's own URL.
        base: what its `<base href>` says, or None.
    """

    __slots__ = ("_folder", "_root", "_scheme", "base")

    def __init__(self, page_url: str, base: str | None = None) -> None:
        self.base = page_url
        if base:
            with suppress(ValueError):  # a base that cannot be read is none
                self.base = urljoin(page_url, base.strip(BLANKS))
        self._scheme = self._root = self._folder = ""
        plain = _plain_base(self.base)
        if plain:
            self._root, self._scheme, path = plain.groups("")
            self._folder = self._root + (path or "/")

    def join(self, url: str) -> str:
        """`urljoin(base, url)`, `url` being stripped of blanks first.

        Raises:
            ValueError: as urljoin, for what it cannot cut apart.
        """
        url = url.strip(BLANKS)
        if _absolute(url) or _picture(url):
            return url
        if self._scheme:
            if url[:1] == "/":
                if _from_root(url):
                    return self._root + url
                if _same_scheme(url):
                    return self._scheme + url
            elif _from_folder(url):
                return self._folder + url
        return urljoin(self.base, url)

    def join_all(self, urls: list[str]) -> list[str | None]:
        """Every one of a page's URLs joined; None where urljoin cannot cut it apart."""
        joined: list[str | None]
        if _join is None:
            joined = [None] * len(urls)
        else:
            joined = _join.join(urls, self._scheme, self._root, self._folder)
        for n, one in enumerate(joined):
            if one is None:
                with suppress(ValueError):
                    joined[n] = self.join(urls[n])
        return joined
