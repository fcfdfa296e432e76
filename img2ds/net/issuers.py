"""Issuers of certificates whose servers do not send them: browsers fetch them, and so does img2ds.

A fetched certificate helps to build a chain. It is never trusted: a chain that OpenSSL accepted
counts only if it ends in a root that was trusted before.
"""

from __future__ import annotations

import ssl
from _ssl import ENCODING_DER
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from img2ds.core.failure import Reason
from img2ds.net.chain import issuer_url, read_certificates
from img2ds.net.deadline import Deadline
from img2ds.net.error import FetchError
from img2ds.net.url import Url

#: URLs of issuers that are remembered, failures too, and TLS contexts, of 1 MB each.
_MOST_URLS, _MOST_CONTEXTS = 256, 16
#: Longest file of an issuer, in bytes.
MAX_ISSUER = 65_536
#: Seconds that a fetch may take, and after which one that failed is tried again.
_FETCH_TIME, _RETRY_AFTER = 5.0, 600.0
#: Set by Python 3.13: any certificate of the store ends a chain.
_PARTIAL_CHAIN = 0x80000

#: Making a context takes 20 ms. Tests, whose clock jumps while a thread works, replace it.
_in_thread = trio.to_thread.run_sync

INCOMPLETE = "certificate: incomplete certificate chain"


class IncompleteChainError(FetchError):
    """A server did not send the issuer of its certificate.

    Attributes:
        certificate: the last one that it sent, in DER.
    """

    def __init__(
        self,
        reason: Reason,
        message: str = "",
        img2dataset: str | None = None,
        certificate: bytes = b"",
    ) -> None:
        super().__init__(reason, message, img2dataset)
        self.certificate = certificate


@dataclass(frozen=True, slots=True)
class Helped:
    """A TLS context that knows further certificates."""

    context: ssl.SSLContext
    certificates: frozenset[bytes]

    def check(self, tls: ssl.SSLObject) -> None:
        """Check that a verified chain ends in a root that is trusted without these certificates.

        OpenSSL takes one that is its own issuer for a root.

        Raises:
            FetchError: tls_error.
        """
        chain = peer_chain(tls, verified=True)
        roots = set(self.context.get_ca_certs(binary_form=True)) - self.certificates
        if not chain or chain[-1] not in roots:
            raise FetchError(Reason.TLS_ERROR, "certificate: issuer is not trusted")


@dataclass(slots=True)
class _Issuer:
    """What is known of a URL. The lock is held while it is fetched."""

    lock: trio.Lock = field(default_factory=trio.Lock)
    certificates: list[bytes] = field(default_factory=list)
    fetched_at: float | None = None


class Issuers:
    """Certificates of issuers, by the URLs that other certificates name.

    Args:
        open_context: makes the context that servers are verified with. Blocks.
        fetch: gets a file of at most MAX_ISSUER bytes, under the guard of addresses.
    """

    def __init__(
        self,
        open_context: Callable[[], ssl.SSLContext],
        fetch: Callable[[Url, Deadline], Awaitable[bytes]],
    ) -> None:
        self._open_context = open_context
        self._fetch = fetch
        self._issuers: OrderedDict[str, _Issuer] = OrderedDict()
        self._contexts: OrderedDict[str, Helped] = OrderedDict()

    async def help(self, error: IncompleteChainError, deadline: Deadline) -> Helped:
        """Return a context that knows the missing issuer.

        Raises:
            IncompleteChainError: `error` itself, if the certificate does not name its issuer.
            FetchError: tls_error, if the issuer cannot be had; max_time.
        """
        url = issuer_url(error.certificate)
        if url is None:
            raise error
        helped = await deadline.within(lambda: self._helped(url))
        if helped is None:
            raise FetchError(Reason.TLS_ERROR, INCOMPLETE, error.failure.img2dataset)
        return helped

    async def _helped(self, url: Url) -> Helped | None:
        """Return the context for the issuer at a URL: one fetch, and one context, for all rows."""
        issuer = self._issuers.get(url.text) or _Issuer()
        _keep(self._issuers, url.text, issuer, _MOST_URLS)
        async with issuer.lock:
            await self._refresh(issuer, url)
            helped = self._contexts.get(url.text)
            if helped is None and issuer.certificates:
                helped = await _in_thread(self._help, issuer.certificates)
            if helped is not None:
                _keep(self._contexts, url.text, helped, _MOST_CONTEXTS)
        return helped

    async def _refresh(self, issuer: _Issuer, url: Url) -> None:
        """Fetch the certificates of an issuer, unless they are there or were missing just now."""
        since = issuer.fetched_at
        if issuer.certificates or (
            since is not None and trio.current_time() - since < _RETRY_AFTER
        ):
            return
        try:
            body = await self._fetch(url, Deadline(_FETCH_TIME, _FETCH_TIME))
            issuer.certificates = list(filter(_is_readable, read_certificates(body)))
        except FetchError:
            pass  # the row's own error says enough
        issuer.fetched_at = trio.current_time()

    def _help(self, certificates: list[bytes]) -> Helped:
        context = self._open_context()
        context.verify_flags &= ~ssl.VerifyFlags(_PARTIAL_CHAIN)
        for certificate in certificates:
            context.load_verify_locations(cadata=certificate)
        return Helped(context, frozenset(certificates))


def _is_readable(certificate: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate)
    except ssl.SSLError:
        return False
    return True


def peer_chain(tls: ssl.SSLObject, *, verified: bool) -> list[bytes]:
    """Return the certificates of a server in DER, its own first; none if Python does not tell.

    Args:
        verified: as OpenSSL built the chain, up to its root; else as the server sent it.
    """
    name = "get_verified_chain" if verified else "get_unverified_chain"
    public: Any = getattr(tls, name, None)
    if public is not None:  # from Python 3.13 on
        return list(public() or ())
    private: Any = getattr(getattr(tls, "_sslobj", None), name, None)
    return [found.public_bytes(ENCODING_DER) for found in (private() if private else None) or ()]


def _keep(table: OrderedDict[str, Any], key: str, value: Any, most: int) -> None:
    """Put what was used last at the end of a table, and drop what was not used for longest."""
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)
