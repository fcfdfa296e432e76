"""Resolve the URLs of a page: the results of `urllib.parse.urljoin`, faster.

urljoin parses both URLs and takes 5-10 us an image. Nearly all image URLs have one of four simple
forms, for which its result is a concatenation.
"""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import urljoin

from laion.wat.native import load

_join = load("join")

#: ASCII white space, which HTML strips from URLs (WHATWG HTML, 2.4.2).
BLANKS = " \t\n\r\f"

# Forms that urljoin does not change: without control characters (which it removes), empty queries,
# parameters or fragments (which it drops) and brackets (which it checks).
_HOST = r"[A-Za-z0-9.:@_~%-]+"
_PATH = r"[^\x00-\x1f;?#\[\]\\]*"
_QUERY = r"(?:\?[^\x00-\x1f#\[\]]+)?"
_absolute = re.compile(rf"https?://{_HOST}(?:/{_PATH})?{_QUERY}").fullmatch
_same_scheme = re.compile(rf"//{_HOST}/{_PATH}{_QUERY}").fullmatch
# A scheme that no page has, so urljoin does not change it.
_data_image = re.compile(r"data:image/[\x21-\x7e]*").fullmatch
# No segment starts with a dot, so there are no dot segments to resolve.
_SEGMENT = r"[^\x00-\x1f;?#\[\]\\/:.][^\x00-\x1f;?#\[\]\\/:]*"
_from_root = re.compile(rf"(?:/{_SEGMENT})+{_QUERY}").fullmatch
_plain_base = re.compile(
    rf"((https?:)//{_HOST})(/(?:{_SEGMENT}/)*)?(?:{_SEGMENT})?{_QUERY}(?:#[^\x00-\x1f]*)?"
).fullmatch
_from_folder = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*{_QUERY}").fullmatch


class Joiner:
    """Resolves URLs against the base of one page.

    Args:
        page_url: the URL of the page.
        base: the `href` of its `<base>`, or None.
    """

    __slots__ = ("_folder", "_root", "_scheme", "base")

    def __init__(self, page_url: str, base: str | None = None) -> None:
        self.base = page_url
        if base:
            with suppress(ValueError):  # an invalid base is ignored
                self.base = urljoin(page_url, base.strip(BLANKS))
        self._scheme = self._root = self._folder = ""
        plain = _plain_base(self.base)
        if plain:
            self._root, self._scheme, path = plain.groups("")
            self._folder = self._root + (path or "/")

    def join(self, url: str) -> str:
        """Return `urljoin(base, url)`, white space around `url` removed.

        Raises:
            ValueError: urljoin cannot parse it.
        """
        url = url.strip(BLANKS)
        if _absolute(url) or _data_image(url):
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

    @property
    def parts(self) -> tuple[str, str, str]:
        """The scheme, root and folder that simple URLs are put behind; "" for an unusual base."""
        return self._scheme, self._root, self._folder

    def join_or_none(self, url: str) -> str | None:
        """Return `join(url)`; None if urljoin cannot parse it."""
        try:
            return self.join(url)
        except ValueError:
            return None

    def join_all(self, urls: list[str]) -> list[str | None]:
        """Resolve all URLs of a page; None for those that urljoin cannot parse."""
        joined: list[str | None]
        if _join is None:
            joined = [None] * len(urls)
        else:
            joined = _join.join(urls, self._scheme, self._root, self._folder)
        for n, one in enumerate(joined):
            if one is None:
                joined[n] = self.join_or_none(urls[n])
        return joined
