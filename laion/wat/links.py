"""What one WAT record's JSON says of a page: its images, licence links, base and languages.

Key order does not matter: links were `{"alt","path","url"}` until August 2019 and are
`{"path","url","alt"}` since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from laion.wat.native import load
from laion.wat.plain import Found, read_plain

_scan = load("scan")

#: The attribute of `<img>` that holds its picture, and the only one whose links carry an alt text
#: in today's WAT files (ia-web-commons, ExtractingParseObserver).
SOURCE = "src"


class Page(NamedTuple):
    """What is taken from a record.

    `urls`, `alts` and `attributes` run in step, an entry an image in the page's order; `attributes`
    are indices into those asked for. An alt is None where the page has none; images in `src`
    without one are only counted, in `without_alt`.
    """

    is_response: bool
    is_metadata: bool
    url: str | None
    base: str | None
    languages: str | None
    head_licenses: Sequence[tuple[str, str | None]]
    licenses: Sequence[tuple[str, str | None]]
    urls: list[str]
    alts: list[str | None]
    attributes: list[int]
    without_alt: int


def read_page(
    record: bytes | bytearray, start: int, end: int, attributes: tuple[bytes, ...]
) -> Page | None:
    """The page in `record[start:end]`, None when that is no JSON.

    Bytes that are no UTF-8 and lone surrogates become U+FFFD.

    Args:
        attributes: which attributes of `<img>` count, lower case.
    """
    found: Found | None
    if _scan is None:
        found = read_plain(record[start:end], attributes)
    else:
        found = _scan.scan(record, start, end, attributes)
    return None if found is None else Page._make(found)
