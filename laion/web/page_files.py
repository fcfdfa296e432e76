"""The files of the page, in memory: a page has more of them than searches, and none changes."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    compressed: bytes
    headers: dict[str, str]


class PageFiles:
    """Responds with the files of a folder, compressed for clients that take it."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._files = {path.name: _read(path) for path in folder.iterdir() if path.is_file()}

    async def index(self, request: Request) -> Response:
        """GET /"""
        return self._respond(request, "index.html")

    async def file(self, request: Request) -> Response:
        """GET /static/{name}"""
        return self._respond(request, request.path_params["name"])

    def _respond(self, request: Request, name: str) -> Response:
        file = self._files.get(name)
        if file is None:
            raise HTTPException(404)
        if request.headers.get("if-none-match") == file.headers["ETag"]:
            return Response(status_code=304, headers=file.headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.compressed, headers={**file.headers, "Content-Encoding": "gzip"})
        return Response(file.body, headers=file.headers)


def _read(path: Path) -> _File:
    body = path.read_bytes()
    media, _ = mimetypes.guess_type(path.name)
    kind = media or "application/octet-stream"
    headers = {
        "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
        "Cache-Control": "no-cache",  # browsers ask whether it has changed
        "ETag": f'W/"{hashlib.sha256(body).hexdigest()[:16]}"',
        "Vary": "Accept-Encoding",
    }
    return _File(body, gzip.compress(body, 9, mtime=0), headers)
