"""The redirect rule: which responses are redirects, and where they lead. Pure (RFC 9110 15.4)."""

from __future__ import annotations

from img2ds.core.failure import Reason
from img2ds.net.error import FetchError
from img2ds.net.url import Url, resolve_reference

#: Statuses after which a GET is repeated as a GET.
REDIRECTS = frozenset({301, 302, 303, 307, 308})


def next_url(
    current: Url, location: bytes, hops: int, max_redirects: int, said: str | None = None
) -> Url:
    """Return the URL to request after `hops` redirects were followed already.

    Args:
        said: what img2dataset says of a redirect too many.

    Raises:
        FetchError: too_many_redirects, bad_url, or unsupported_scheme when it is not http or https.
    """
    if hops >= max_redirects:
        raise FetchError(Reason.TOO_MANY_REDIRECTS, img2dataset=said)
    # Servers put raw UTF-8 here; what is not UTF-8 was meant as Latin-1 (RFC 9110 5.5).
    try:
        text = location.decode("utf-8")
    except UnicodeDecodeError:
        text = location.decode("latin-1")
    return resolve_reference(current, text)
