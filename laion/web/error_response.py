"""The response that every error has: a JSON object with the reason."""

from __future__ import annotations

from starlette.responses import JSONResponse


def error_response(
    status: int, message: str, retry_after: int | None = None, reason: str | None = None
) -> JSONResponse:
    """Build the response.

    Args:
        reason: why the image to search by cannot be used: a name among the reasons of img2ds.
        retry_after: seconds after which the client may try again.
    """
    body = {"error": message} if reason is None else {"error": message, "reason": reason}
    response = JSONResponse(body, status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response
