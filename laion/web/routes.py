"""The request handlers of the API: parse, answer, respond. Client errors become 4xx."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import orjson
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive

from laion.knn.query_image import QueryImageError
from laion.web.client_address import client_key
from laion.web.client_limits import ClientSlots
from laion.web.error_response import error_response
from laion.web.examples import Examples
from laion.web.openapi import openapi_document
from laion.web.parameters import BadRequest, SearchRequest, read_parameters
from laion.web.service import Service

#: Seconds that an upload may take.
UPLOAD_TIME = 30.0

#: Bytes of a multipart body besides the image: its boundary and headers.
_MULTIPART_OVERHEAD = 4096

#: Images to search by that are received, downloaded or decoded at once: in all, and of a client.
MAX_IMAGES, MAX_CLIENT_IMAGES = 32, 8

PARQUET = "application/vnd.apache.parquet"


class Api:
    """The handlers.

    Args:
        max_upload: bytes of an uploaded image, at most.
        title: name of the page.
        examples: example queries for the landing page; empty to choose some.

    Attributes:
        images: limits the images that are received and decoded at once.
    """

    def __init__(
        self, service: Service, max_upload: int, title: str, examples: Sequence[str] = ()
    ) -> None:
        self._service = service
        self._max_upload = max_upload
        self._examples = Examples(service, examples)
        self._document = orjson.dumps(openapi_document(title))
        self.images = ClientSlots(MAX_IMAGES, MAX_CLIENT_IMAGES, "images to search by")

    async def search(self, request: Request) -> Response:
        """GET /api/search"""
        search = _parse(request, upload=False)
        if search.query.image_url is None:
            return await self._respond(request, search, None)
        with self.images.hold(client_key(request.scope)):
            return await self._respond(request, search, None)

    async def search_by_upload(self, request: Request) -> Response:
        """POST /api/search"""
        search = _parse(request, upload=True)
        with self.images.hold(client_key(request.scope)):
            try:
                with anyio.fail_after(UPLOAD_TIME):
                    body = await self._upload(request)
            except TimeoutError:
                raise HTTPException(408, f"the upload took more than {UPLOAD_TIME:.0f} s") from None
            return await self._respond(request, search, body)

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

    async def _respond(
        self, request: Request, search: SearchRequest, upload: bytes | None
    ) -> Response:
        try:
            body = await self._service.search(search, upload, client_key(request.scope))
        except BadRequest as error:
            raise HTTPException(400, str(error)) from None
        except QueryImageError as error:
            given = {"image": upload, "image_url": search.query.image_url}
            fields = " or ".join(name for name, value in given.items() if value is not None)
            return error_response(400, f"{fields}: {error}", reason=error.reason)
        except IndexError as error:
            raise HTTPException(404, str(error)) from None
        if search.format == "parquet":
            disposition = 'attachment; filename="results.parquet"'
            return Response(body, media_type=PARQUET, headers={"Content-Disposition": disposition})
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    async def image(self, request: Request) -> Response:
        """GET /api/picture/{id}"""
        row = _row_id(request)
        try:
            found = await self._service.image(row, client_key(request.scope))
        except IndexError:
            found = None
        if found is None:
            raise HTTPException(404, f"there is no image of row {row} on this server")
        body, media = found
        headers = {
            "Cache-Control": "private, max-age=3600",
            # Browsers show the bytes as an image or not at all, whatever they are.
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        return Response(body, media_type=media, headers=headers)

    async def row(self, request: Request) -> Response:
        """GET /api/row/{id}"""
        try:
            body = await self._service.row(_row_id(request), client_key(request.scope))
        except IndexError as error:
            raise HTTPException(404, str(error)) from None
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    async def examples(self, request: Request) -> Response:
        """GET /api/examples"""
        body = await self._examples.body(client_key(request.scope))
        return Response(body, media_type="application/json")

    async def health(self, request: Request) -> Response:
        """GET /api/health"""
        return JSONResponse(self._service.health())

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json"""
        return Response(self._document, media_type="application/json")


def _row_id(request: Request) -> int:
    text = request.path_params["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise HTTPException(400, "the id of a row must be a whole number")
    return int(text)


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
