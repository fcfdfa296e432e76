"""The request handlers of clip-retrieval's API, under the guards of the others."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import anyio
import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from img2ds.report.metrics import CONTENT_TYPE
from laion.knn.query_image import QueryImageError
from laion.web.client_address import client_key
from laion.web.client_limits import ClientSlots
from laion.web.knn_request import (
    KnnRequest,
    read_knn_request,
    read_metadata_request,
    read_object,
)
from laion.web.metrics import Metrics
from laion.web.parameters import BadRequest
from laion.web.routes import UPLOAD_TIME
from laion.web.service import Service

#: Bytes of a body besides an image: texts, or an embedding of 4096 numbers.
_OTHER_BYTES = 200_000


class KnnApi:
    """The handlers.

    Args:
        services: by the name of their index; the first one answers where none is named.
        max_upload: bytes of an image, at most.
        images: limits the bodies with images that are received and decoded at once.
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        metrics: Metrics,
        max_upload: int,
        images: ClientSlots,
    ) -> None:
        self._services = services
        self._metrics = metrics
        self._max_upload = max_upload
        self._images = images

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route("/knn-service", self.knn, methods=["POST"]),
            Route("/metadata", self.metadata, methods=["POST"]),
            Route("/indices-list", self.indices),
            Route("/metrics", self.metrics),
        ]

    async def knn(self, request: Request) -> Response:
        """POST /knn-service"""
        client = client_key(request.scope)
        with self._metrics.timed("full_knn_request_time"), ExitStack() as held:
            small = _declared_size(request) <= _OTHER_BYTES
            if not small:
                held.enter_context(self._images.hold(client))
            body = await self._body(request, 4 * self._max_upload // 3 + _OTHER_BYTES)
            try:
                wanted = read_knn_request(read_object(body))
                service = self._service(wanted.indice_name)
                self._check_size(wanted)
                if small and (wanted.image is not None or wanted.image_url is not None):
                    held.enter_context(self._images.hold(client))
                answer = await service.knn(wanted, client, self._metrics)
            except BadRequest as error:
                raise HTTPException(400, str(error)) from None
            except QueryImageError as error:
                field = "image" if wanted.image is not None else "image_url"
                raise HTTPException(400, f"{field}: {error}") from None
        return _json(answer)

    async def metadata(self, request: Request) -> Response:
        """POST /metadata"""
        with self._metrics.timed("metadata_get_time"):
            body = await self._body(request, _OTHER_BYTES)
            try:
                ids, name = read_metadata_request(read_object(body))
                answer = await self._service(name).rows(ids, client_key(request.scope))
            except BadRequest as error:
                raise HTTPException(400, str(error)) from None
            except IndexError as error:
                raise HTTPException(404, str(error)) from None
        return _json(answer)

    async def indices(self, request: Request) -> Response:
        """GET /indices-list"""
        return _json(orjson.dumps(list(self._services)))

    async def metrics(self, request: Request) -> Response:
        """GET /metrics"""
        return Response(self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    def _service(self, name: str | None) -> Service:
        if name is None:
            return next(iter(self._services.values()))
        if name not in self._services:
            known = ", ".join(self._services)
            raise BadRequest(f"there is no index of this indice_name; there are: {known}")
        return self._services[name]

    def _check_size(self, wanted: KnnRequest) -> None:
        if wanted.image is not None and len(wanted.image) > self._max_upload:
            raise HTTPException(413, f"the image has more than {self._max_upload} bytes")

    async def _body(self, request: Request, limit: int) -> bytes:
        """Read the body, whatever its Content-Length says."""
        pieces, size = [], 0
        try:
            with anyio.fail_after(UPLOAD_TIME):
                async for piece in request.stream():
                    size += len(piece)
                    if size > limit:
                        raise HTTPException(413, f"the body has more than {limit} bytes")
                    pieces.append(piece)
        except TimeoutError:
            raise HTTPException(408, f"the body took more than {UPLOAD_TIME:.0f} s") from None
        return b"".join(pieces)


def _declared_size(request: Request) -> float:
    """Return the size of a body by its Content-Length; infinity without one."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else float("inf")


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})
