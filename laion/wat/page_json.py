"""Read a page by json.loads: what the extension `_scan` does, where that is not loaded."""

from __future__ import annotations

import json
import re
from typing import Any

LICENSE_HOST = "creativecommons.org/licenses/"

#: White space around URLs (WHATWG HTML, 2.4.2).
_BLANKS = " \t\n\r\f"

_SURROGATES = re.compile("[\ud800-\udfff]")

Licenses = list[tuple[str, str | None]]
#: The fields of `page.Page`, in order.
PageFields = tuple[
    bool,
    bool,
    str | None,
    str | None,
    str | None,
    Licenses,
    Licenses,
    list[str],
    list[str | None],
    list[int],
    int,
]


def read_json(
    text: bytes | bytearray,
    attributes: tuple[bytes, ...],
    extensions: tuple[bytes, ...] = (),
    keep_all: bool = False,
) -> PageFields | None:
    """Read the fields of a page from the text of a record; see `page.Wanted`."""
    try:
        # json refuses very long integers; no number is used.
        document = json.loads(text.decode("utf-8", "replace"), strict=False, parse_int=float)
    except (ValueError, RecursionError):
        return None
    envelope = _object(document, "Envelope")
    payload = _object(envelope, "Payload-Metadata")
    response = _object(payload, "HTTP-Response-Metadata")
    metadata = _object(payload, "WARC-Metadata-Metadata")
    html = _object(response, "HTML-Metadata")
    head = _object(html, "Head")
    links = _list(html, "Links")
    if extensions:
        urls, alts, which, without_alt = _documents(links, extensions)
    else:
        urls, alts, which, without_alt = _images(links, attributes, keep_all)
    return (
        response is not None,
        metadata is not None,
        _text(_object(envelope, "WARC-Header-Metadata"), "WARC-Target-URI"),
        _text(head, "Base"),
        _languages(metadata),
        _licenses(_list(head, "Link")),
        _licenses(links),
        urls,
        alts,
        which,
        without_alt,
    )


def _object(parent: Any, key: str) -> dict[str, Any] | None:
    value = parent.get(key) if isinstance(parent, dict) else None
    return value if isinstance(value, dict) else None


def _list(parent: dict[str, Any] | None, key: str) -> list[Any]:
    value = parent.get(key) if parent is not None else None
    return value if isinstance(value, list) else []


def _text(parent: Any, key: str) -> str | None:
    value = parent.get(key) if isinstance(parent, dict) else None
    return _SURROGATES.sub("\ufffd", value) if isinstance(value, str) else None


def _licenses(links: list[Any]) -> Licenses:
    found = []
    for link in links:
        url = _text(link, "url")
        if url is not None and LICENSE_HOST in url:
            found.append((url, _text(link, "rel")))
    return found


#: URLs, texts, indices of the attributes or extensions, and images without an alt text.
_Found = tuple[list[str], list[str | None], list[int], int]


def _documents(links: list[Any], extensions: tuple[bytes, ...]) -> _Found:
    names = [name.decode() for name in extensions]
    urls: list[str] = []
    texts: list[str | None] = []
    which: list[int] = []
    for link in links:
        url = _text(link, "url")
        if url is None:
            continue
        path = url.strip(_BLANKS).partition("#")[0].partition("?")[0]
        before, slash, leaf = path.rpartition("/")
        # Hosts have such endings, too: example.md.
        is_host = slash and (before == "/" or before.endswith(":/"))
        _, dot, extension = leaf.rpartition(".")
        if dot and not is_host and extension.isascii() and extension.lower() in names:
            urls.append(url)
            texts.append(_text(link, "text"))
            which.append(names.index(extension.lower()))
    return urls, texts, which, 0


def _images(links: list[Any], attributes: tuple[bytes, ...], keep_all: bool) -> _Found:
    names = [f"IMG@/{name.decode()}" for name in attributes]
    urls: list[str] = []
    alts: list[str | None] = []
    which: list[int] = []
    without_alt = orphans = 0
    for link in links:
        path, url, alt = _text(link, "path"), _text(link, "url"), _text(link, "alt")
        waiting, orphans = orphans, 0
        if path == "IMG@/src" and alt is not None:
            # Links of other attributes precede the `src` of the same tag, and lack its alt.
            for n in range(len(alts) - waiting, len(alts)):
                alts[n] = alt
        if path not in names or url is None:
            continue
        if alt is None and path == "IMG@/src" and not keep_all:
            without_alt += 1
            continue
        if alt is None and path != "IMG@/src":
            orphans = waiting + 1
        urls.append(url)
        alts.append(alt)
        which.append(names.index(path))
    return urls, alts, which, without_alt


def _languages(metadata: dict[str, Any] | None) -> str | None:
    found = None
    for record in _list(metadata, "Metadata-Records"):
        value = _text(record, "Value")
        if value is not None and _text(record, "Name") == "languages-cld2":
            found = value
    return found
