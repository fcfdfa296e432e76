"""Errors of a fetch: one exception, which carries the row's failure."""

from __future__ import annotations

from img2ds.core.failure import Failure, Reason, failure


class FetchError(Exception):
    """An attempt at a URL failed; `failure` has the reason."""

    def __init__(self, reason: Reason, message: str = "", img2dataset: str | None = None) -> None:
        super().__init__(reason, message)
        self.failure: Failure = failure(reason, message, img2dataset)

    @classmethod
    def of(cls, failed: Failure) -> FetchError:
        """Return a new error with the reason and the messages of a failure."""
        return cls(Reason.named(failed.reason), failed.message, failed.img2dataset)


class ClosedEarly(FetchError):
    """The peer closed or reset the connection before the first byte of its response.

    On a connection that was used before, this is the normal end of keep-alive, not a failure of
    the URL (RFC 9112 9.3.1).
    """
