"""Read a page from the JSON of a WAT record: its images, license links, base URL and languages.

The order of keys does not matter: links were `{"alt","path","url"}` until August 2019 and are
`{"path","url","alt"}` since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from laion.wat.native import load
from laion.wat.page_json import PageFields, read_json

_scan = load("scan")


class Wanted(NamedTuple):
    """What is taken out of a page.

    Attributes:
        attributes: attributes of `<img>` whose URLs are wanted, lower case.
        extensions: of files, lower case without a dot: links to these are wanted instead of images.
        keep_all: whether images in `src` without an alt text are wanted, too.
    """

    attributes: tuple[bytes, ...] = (b"src",)
    extensions: tuple[bytes, ...] = ()
    keep_all: bool = False


#: Images in `src` with an alt text.
IMAGES = Wanted()


class Page(NamedTuple):
    """What a record states about a page.

    Attributes:
        is_response: whether the record is of an HTTP response.
        is_metadata: whether the record is of the metadata that follow a response.
        languages: the `languages-cld2` of a metadata record, JSON.
        head_licenses, licenses: (url, rel) of the links to licenses in the head and in the body.
        urls, alts, attributes: one entry for each image or link, in the page's order: its URL, its
            alt text or the text of the link (None if there is none), and the index of its attribute
            or extension among those wanted.
        without_alt: the number of images in `src` without an alt text, which are in no list.
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
    record: bytes | bytearray, start: int, end: int, wanted: Wanted = IMAGES
) -> Page | None:
    """Read the page in `record[start:end]`; None if that is not JSON.

    Bytes that are not UTF-8 and lone surrogates become U+FFFD.
    """
    fields: PageFields | None
    if _scan is None:
        fields = read_json(record[start:end], *wanted)
    else:
        fields = _scan.scan(record, start, end, *wanted)
    return None if fields is None else Page._make(fields)
