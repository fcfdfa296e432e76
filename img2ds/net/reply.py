"""The head of an answer, and what it means for a row: the same for every fetcher. Pure."""

from __future__ import annotations

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure, Reason, failure, http_reason
from img2ds.core.sample import Body, Fetched
from img2ds.net.coding import decode_content
from img2ds.net.error import FetchError
from img2ds.net.redirect import REDIRECTS
from img2ds.net.retry import parse_retry_after
from img2ds.net.robots import is_disallowed


class Head:
    """Status and headers of an answer; names in lower case, X-Robots-Tag with all its values."""

    __slots__ = ("fields", "robots", "status")

    def __init__(self) -> None:
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        self.robots: list[bytes] = []

    def content_length(self) -> int | None:
        """The declared length; None when there is none or chunks say it.

        Raises:
            FetchError: protocol_error when it is no number.
        """
        text = self.fields.get(b"content-length")
        if text is None or self.chunked:
            return None
        # A repeated header, or a list of equal values, means one of them (RFC 9110 8.6).
        values = {part.strip() for part in text.split(b",")}
        value = values.pop()
        if values or not value.isdigit():
            raise FetchError(Reason.PROTOCOL_ERROR, "bad Content-Length")
        return int(value)

    @property
    def chunked(self) -> bool:
        return b"chunked" in self.fields.get(b"transfer-encoding", b"").lower()


class ReplyRules:
    """What an answer's head means for a row; the same for every fetcher. Pure."""

    def __init__(self, options: NetworkOptions) -> None:
        self._options = options
        self._token = options.user_agent_token.lower() if options.user_agent_token else None
        self._directives = frozenset(d.lower() for d in options.disallowed_header_directives)

    def wants_body(self, head: Head) -> bool:
        """Whether the body of an answer is worth receiving."""
        return head.status not in REDIRECTS and self.judge(head) is None

    def judge(self, head: Head) -> Failure | None:
        """The failure that a head alone decides, None when the body is wanted."""
        if head.status != 200:
            wait = head.fields.get(b"retry-after")
            return Failure(
                http_reason(head.status),
                f"HTTP status {head.status}",
                parse_retry_after(wait) if wait is not None else None,
            )
        if self._directives and any(
            is_disallowed(value, self._token, self._directives) for value in head.robots
        ):
            return failure(Reason.DISALLOWED_BY_HEADER, "forbidden by X-Robots-Tag")
        return None

    def finish(self, head: Head, body: Body) -> Fetched | Failure:
        """Undo the content coding and apply the byte caps.

        Raises:
            FetchError: bad_encoding, too_large.
        """
        coding = head.fields.get(b"content-encoding")
        if coding is not None:
            body = decode_content(body, coding, self._options.max_image_bytes)
        if len(body) < max(1, self._options.min_image_bytes):
            words = "body smaller than min_image_bytes" if len(body) else "empty body"
            return failure(Reason.TOO_SMALL, words)
        return Fetched(body)
