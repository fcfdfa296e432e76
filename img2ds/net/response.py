"""The head of a response, and what it means for a row: the same for every client. Pure."""

from __future__ import annotations

from typing import NamedTuple

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure, Reason, failure, http_reason
from img2ds.core.img2dataset_messages import DISALLOWED, http_error
from img2ds.core.sample import Body, Fetched
from img2ds.net.coding import decode_content
from img2ds.net.error import FetchError
from img2ds.net.redirect_rule import REDIRECTS
from img2ds.net.retry_rule import parse_retry_after
from img2ds.net.robots import is_disallowed, reserves_tdm


class ResponseHead:
    """Status and headers of a response.

    Attributes:
        fields: values by lower-case name; the last one where a header is repeated, but all of a
            Content-Encoding, joined by commas.
        phrase: the server's words for the status; empty where the status is 200.
        robots: every value of X-Robots-Tag.
    """

    __slots__ = ("fields", "phrase", "robots", "status")

    def __init__(self) -> None:
        self.status = 0
        self.phrase = ""
        self.fields: dict[bytes, bytes] = {}
        self.robots: list[bytes] = []

    def add(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        name = name.lower().rstrip()
        if name == b"x-robots-tag":
            self.robots.append(value)
        elif name == b"content-encoding" and name in self.fields:
            self.fields[name] += b"," + value
        else:
            self.fields[name] = value

    def content_length(self) -> int | None:
        """Return the declared length; None without one, or when the body is chunked.

        Raises:
            FetchError: protocol_error when it is not a number.
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


class Response(NamedTuple):
    """A response; the body is empty where it was not wanted."""

    head: ResponseHead
    body: Body


class ResponseRules:
    """What a response means for a row."""

    def __init__(self, options: NetworkOptions) -> None:
        self._options = options
        self._token = options.user_agent_token.strip().lower() if options.user_agent_token else None
        self._directives = frozenset(d.lower() for d in options.disallowed_header_directives)
        self._respect_tdm = options.respect_tdm

    def wants_body(self, head: ResponseHead) -> bool:
        """Return whether the body of a response is worth receiving."""
        return head.status not in REDIRECTS and self.judge(head) is None

    def judge(self, head: ResponseHead) -> Failure | None:
        """Return the failure that a head alone decides, None when the body is wanted."""
        if head.status != 200:
            wait = head.fields.get(b"retry-after")
            return Failure(
                http_reason(head.status),
                http_error(head.status, head.phrase),
                parse_retry_after(wait, head.fields.get(b"date")) if wait is not None else None,
            )
        if self._directives and any(
            is_disallowed(value, self._token, self._directives) for value in head.robots
        ):
            return failure(Reason.DISALLOWED_BY_HEADER, DISALLOWED)
        if self._respect_tdm and reserves_tdm(head.fields.get(b"tdm-reservation", b"")):
            return failure(Reason.DISALLOWED_BY_TDM, "text and data mining is reserved")
        return None

    def outcome(self, response: Response) -> Fetched | Failure:
        """Judge a whole response: its head, its content coding and the byte caps.

        Raises:
            FetchError: bad_encoding, too_large.
        """
        head, body = response
        refused = self.judge(head)
        if refused is not None:
            return refused
        coding = head.fields.get(b"content-encoding")
        if coding is not None:
            body = decode_content(body, coding, self._options.max_image_bytes)
        if len(body) < max(1, self._options.min_image_bytes):
            message = "body smaller than min_image_bytes" if len(body) else "empty body"
            return failure(Reason.TOO_SMALL, message)
        return Fetched(body)
