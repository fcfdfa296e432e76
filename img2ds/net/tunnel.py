"""A tunnel through a proxy: CONNECT and its answer (RFC 9110 9.3.6)."""

from __future__ import annotations

from img2ds.core.failure import Reason
from img2ds.net.context import FetchContext
from img2ds.net.error import FetchError
from img2ds.net.http11_exchange import MAX_HEAD, Exchange
from img2ds.net.proxies import Proxy, blamed, refusal
from img2ds.net.stream import ByteStream
from img2ds.net.url import Url


async def open_tunnel(
    stream: ByteStream, proxy: Proxy, url: Url, user_agent: bytes, context: FetchContext
) -> None:
    """Make `stream`, a new connection to `proxy`, lead to the host of `url`.

    Raises:
        FetchError: proxy_error, http_NNN when the proxy cannot reach the host, or max_time.
    """
    host = f"[{url.host}]" if ":" in url.host else url.host
    target = b"%b:%d" % (host.encode("ascii"), url.port)  # the port always (RFC 9110 9.3.6)
    request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: %b\r\n%b\r\n" % (
        target,
        target,
        user_agent,
        proxy.header,
    )
    exchange = Exchange(stream, context, bytearray(MAX_HEAD))
    try:
        head = await exchange.request(request)
    except FetchError as error:
        raise blamed(error) from None
    if head.status >= 300:
        raise refusal(head.status, head.phrase)
    if exchange.spare:
        raise FetchError(Reason.PROXY_ERROR, "proxy: unexpected data after its response")
