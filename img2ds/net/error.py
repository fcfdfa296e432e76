"""How the parts of a fetch give up: one exception that already carries the row's failure."""

from __future__ import annotations

from img2ds.core.failure import Failure, Reason, failure


class FetchError(Exception):
    """An attempt at a URL came to nothing; `failure` says why."""

    def __init__(self, reason: Reason, message: str = "") -> None:
        super().__init__(reason, message)
        self.failure: Failure = failure(reason, message)


class ClosedEarly(FetchError):
    """The peer closed or reset the connection before the first byte of its answer.

    On a connection that was used before, this is the ordinary end of keep-alive and no
    failure of the URL (RFC 9112 9.3.1).
    """
