"""The API's requests: read, answered in a thread, and written; what is wrong becomes a 4xx."""

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

#: Seconds that an upload may take to arrive.
UPLOAD_TIME = 30.0

#: Bytes of a multipart body beside the picture: its boundary and headers.
_FRAME = 4096

#: Searches at once; embedding takes turns anyway, and the others wait.
_THREADS = 8

T = TypeVar("T")

PARQUET = "application/vnd.apache.parquet"


class Api:
    """The handlers.

    Args:
        max_upload: bytes of a picture to ask with.
    """

    def __init__(self, service: Service, max_upload: int) -> None:
        self._service = service
        self._max_upload = max_upload
        self._document = openapi_document()
        self._limiter: CapacityLimiter | None = None

    async def search(self, request: Request) -> Response:
        """GET /api/search"""
        asked = _asked(request, upload=False)
        return await self._answer(asked, None)

    async def search_by_upload(self, request: Request) -> Response:
        """POST /api/search"""
        asked = _asked(request, upload=True)
        try:
            with anyio.fail_after(UPLOAD_TIME):
                body = await self._upload(request)
        except TimeoutError:
            raise HTTPException(408, f"the picture took more than {UPLOAD_TIME:.0f} s") from None
        return await self._answer(asked, body)

    async def _upload(self, request: Request) -> bytes:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "multipart/form-data":
            raise HTTPException(415, "send the picture as multipart/form-data, in a field image")
        limited = Request(
            request.scope, _limited(request.receive, self._max_upload + _FRAME, self._max_upload)
        )
        try:
            form = await limited.form(max_files=1, max_fields=1, max_part_size=_FRAME)
        except (MultiPartException, FormParserError, UnicodeDecodeError) as error:
            words = str(error).splitlines()[0] if str(error) else "it ends too early"
            raise HTTPException(400, f"the multipart body cannot be read: {words}") from None
        try:
            image = form.get("image")
            if not isinstance(image, UploadFile) or len(form) != 1:
                raise HTTPException(400, "the form has one field, image, which is a file")
            body = await image.read()
        finally:
            await form.close()
        if len(body) > self._max_upload:
            raise _too_large(self._max_upload)
        return body

    async def _answer(self, asked: SearchRequest, upload: bytes | None) -> Response:
        try:
            answer = await self._in_thread(partial(self._service.answer, asked, upload))
        except BadRequest as error:
            raise HTTPException(400, str(error)) from None
        except QueryImageError as error:
            what = "image" if upload is not None else "image_url"
            raise HTTPException(400, f"{what}: {error}") from None
        except IndexError as error:
            raise HTTPException(404, str(error)) from None
        if asked.format == "parquet":
            table = await self._in_thread(partial(self._service.as_parquet, answer))
            name = 'attachment; filename="results.parquet"'
            return Response(table, media_type=PARQUET, headers={"Content-Disposition": name})
        return JSONResponse(self._service.as_json(answer), headers={"Cache-Control": "no-store"})

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._limiter is None:
            self._limiter = CapacityLimiter(_THREADS)
        return await to_thread.run_sync(work, limiter=self._limiter)

    async def picture(self, request: Request) -> Response:
        """GET /api/picture/{id}"""
        text = request.path_params["id"]
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise HTTPException(400, "a row's number is a whole number")
        try:
            found = await to_thread.run_sync(self._service.picture, int(text))
        except (IndexError, OverflowError):
            found = None
        if found is None:
            raise HTTPException(404, f"there is no picture of row {text} here")
        body, media = found
        headers = {
            "Cache-Control": "private, max-age=3600",
            # Whatever the bytes are, they are shown as a picture or not at all.
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        return Response(body, media_type=media, headers=headers)

    async def health(self, request: Request) -> Response:
        """GET /api/health"""
        return JSONResponse(self._service.health())

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json"""
        return JSONResponse(self._document)


def _asked(request: Request, upload: bool) -> SearchRequest:
    try:
        return read_parameters(request.query_params.multi_items(), upload)
    except BadRequest as error:
        raise HTTPException(400, str(error)) from None


def _limited(receive: Receive, limit: int, said: int) -> Receive:
    """`receive` up to so many bytes of body, whatever Content-Length says."""
    left = limit

    async def limited() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_large(said)
        return message

    return limited


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the picture has more than {limit} bytes")
