"""The handshake of TLS for connections."""

from __future__ import annotations

import ssl

from img2ds.core.failure import Reason
from img2ds.net.deadline import Deadline
from img2ds.net.error import FetchError
from img2ds.net.stream import ByteStream, NestedTlsStream, TlsStream


async def secure(
    stream: ByteStream, context: ssl.SSLContext, host: str, deadline: Deadline
) -> TlsStream:
    """Return `stream` under TLS, with the certificate verified for `host`.

    Raises:
        FetchError: bad_url, and what `TlsStream.handshake` raises.
    """
    name = host.rstrip(".")  # as certificates have it (RFC 9525 6.3)
    try:
        if isinstance(stream, TlsStream):
            secured: TlsStream = NestedTlsStream(stream, context, name)
        else:
            secured = TlsStream(stream, context, name)
    except UnicodeError:  # a label that is too long, in a name that was not resolved
        raise FetchError(Reason.BAD_URL, "bad host") from None
    await secured.handshake(deadline)
    return secured
