"""Which Creative Commons licence a page states. It holds for the whole page. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: What stands in the column when a page states none: LAION-400M's convention.
UNKNOWN = "?"

# A link to the licence itself; the address may also stand inside that of a button for sharing.
_LICENSE = re.compile(
    r"\s*(?:(https?):)?//((?:[a-z0-9-]+\.)*creativecommons\.org/licenses/[^\s/][^\s]*)", re.I
)
_KIND = re.compile(r"/licenses/([a-z+-]+)", re.I)


def page_license(
    head: Iterable[tuple[str, str | None]],
    links: Sequence[tuple[str, str | None]],
    page_url: str,
) -> str:
    """The licence's URL, or `?`.

    A link with rel=license states the page's own licence, so it comes before others that a
    page may have to a text on licences: first those of the head, then those of the body.

    Args:
        head, links: (url, rel) of the links that have a licence's address in them.
    """
    stated = [url for url, rel in (*head, *links) if _says_license(rel)]
    for url in (*stated, *(url for url, _ in links)):
        match = _LICENSE.match(url)
        if match:
            scheme = match[1] or page_url.partition(":")[0]
            return f"{scheme.lower()}://{match[2]}"
    return UNKNOWN


def license_kind(license_url: str) -> str:
    """`by-nc-sa` for its URL; `?` for none. What people count licences by."""
    match = _KIND.search(license_url)
    return match[1].lower() if match else UNKNOWN


def _says_license(rel: str | None) -> bool:
    return rel is not None and "license" in rel.lower().split()
