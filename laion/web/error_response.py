"""The response that every error has: a JSON object with the reason."""

from __future__ import annotations

from starlette.responses import JSONResponse


def error_response(status: int, message: str, retry_after: int | None = None) -> JSONResponse:
    """Build the response.

    Args:
        retry_after: seconds after which the client may try again.
    """
    response = JSONResponse({"error": message}, status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response
