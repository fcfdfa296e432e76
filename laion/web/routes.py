"""The request handlers of the API: parse, answer in a thread, respond. Client errors become 4xx."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive

from laion.knn.query_image import QueryImageError
from laion.web.openapi import openapi_document
from laion.web.parameters import BadRequest, SearchRequest, read_parameters
from laion.web.service import Service

#: Seconds that an upload may take.
UPLOAD_TIME = 30.0

#: Bytes of a multipart body besides the image: its boundary and headers.
_MULTIPART_OVERHEAD = 4096

#: Searches at once. Embedding is serialized anyway; further requests wait.
_THREADS = 8

T = TypeVar("T")

PARQUET = "application/vnd.apache.parquet"


class Api:
    """The handlers.

    Args:
        max_upload: bytes of an uploaded image, at most.
    """

    def __init__(self, service: Service, max_upload: int) -> None:
        self._service = service
        self._max_upload = max_upload
        self._document = openapi_document()
        self._limiter: CapacityLimiter | None = None

    async def search(self, request: Request) -> Response:
        """GET /api/search"""
        return await self._respond(_parse(request, upload=False), None)

    async def search_by_upload(self, request: Request) -> Response:
        """POST /api/search"""
        search = _parse(request, upload=True)
        try:
            with anyio.fail_after(UPLOAD_TIME):
                body = await self._upload(request)
        except TimeoutError:
            raise HTTPException(408, f"the upload took more than {UPLOAD_TIME:.0f} s") from None
        return await self._respond(search, body)

    async def _upload(self, request: Request) -> bytes:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "multipart/form-data":
            raise HTTPException(415, "send the image as multipart/form-data in a field named image")
        limited = Request(request.scope, _limited(request.receive, self._max_upload))
        try:
            form = await limited.form(max_files=1, max_fields=1, max_part_size=_MULTIPART_OVERHEAD)
        except (MultiPartException, FormParserError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0] if str(error) else "unexpected end"
            raise HTTPException(400, f"the multipart body cannot be parsed: {reason}") from None
        try:
            image = form.get("image")
            if not isinstance(image, UploadFile) or len(form) != 1:
                raise HTTPException(400, "the form must have one field, image, which is a file")
            body = await image.read()
        finally:
            await form.close()
        if len(body) > self._max_upload:
            raise _too_large(self._max_upload)
        return body

    async def _respond(self, search: SearchRequest, upload: bytes | None) -> Response:
        try:
            answer = await self._in_thread(partial(self._service.search, search, upload))
        except BadRequest as error:
            raise HTTPException(400, str(error)) from None
        except QueryImageError as error:
            field = "image" if upload is not None else "image_url"
            raise HTTPException(400, f"{field}: {error}") from None
        except IndexError as error:
            raise HTTPException(404, str(error)) from None
        if search.format == "parquet":
            table = await self._in_thread(partial(self._service.as_parquet, answer))
            disposition = 'attachment; filename="results.parquet"'
            return Response(table, media_type=PARQUET, headers={"Content-Disposition": disposition})
        return JSONResponse(self._service.as_json(answer), headers={"Cache-Control": "no-store"})

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._limiter is None:
            self._limiter = CapacityLimiter(_THREADS)
        return await to_thread.run_sync(work, limiter=self._limiter)

    async def image(self, request: Request) -> Response:
        """GET /api/picture/{id}"""
        text = request.path_params["id"]
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise HTTPException(400, "the id of a row must be a whole number")
        try:
            found = await to_thread.run_sync(self._service.image, int(text))
        except (IndexError, OverflowError):
            found = None
        if found is None:
            raise HTTPException(404, f"there is no image of row {text} on this server")
        body, media = found
        headers = {
            "Cache-Control": "private, max-age=3600",
            # Browsers show the bytes as an image or not at all, whatever they are.
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        return Response(body, media_type=media, headers=headers)

    async def health(self, request: Request) -> Response:
        """GET /api/health"""
        return JSONResponse(self._service.health())

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json"""
        return JSONResponse(self._document)


def _parse(request: Request, upload: bool) -> SearchRequest:
    try:
        return read_parameters(request.query_params.multi_items(), upload)
    except BadRequest as error:
        raise HTTPException(400, str(error)) from None


def _limited(receive: Receive, max_upload: int) -> Receive:
    """Wrap `receive` to raise once a body is too large, whatever its Content-Length says."""
    left = max_upload + _MULTIPART_OVERHEAD

    async def limited() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_large(max_upload)
        return message

    return limited


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the image has more than {limit} bytes")
