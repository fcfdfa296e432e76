"""The files of the page, in memory: a page has more of them than searches, and none changes."""

from __future__ import annotations

import gzip
import hashlib
import html
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

STATIC = Path(__file__).parent / "static"

#: What stands for the title in HTML files.
_TITLE = "{{ title }}"


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    compressed: bytes
    headers: dict[str, str]


class PageFiles:
    """Responds with the files of a folder, compressed for clients that take it.

    Args:
        title: name of the page, as plain text.
    """

    def __init__(self, title: str, folder: Path = STATIC) -> None:
        self._files = {p.name: _read(p, title) for p in folder.iterdir() if p.is_file()}

    async def index(self, request: Request) -> Response:
        """GET /"""
        return self._respond(request, "index.html")

    async def api(self, request: Request) -> Response:
        """GET /api"""
        return self._respond(request, "api.html")

    async def file(self, request: Request) -> Response:
        """GET /static/{name}"""
        return self._respond(request, request.path_params["name"])

    def body(self, name: str) -> bytes:
        """Return the content of a file. Raises KeyError."""
        return self._files[name].body

    def _respond(self, request: Request, name: str) -> Response:
        file = self._files.get(name)
        if file is None:
            raise HTTPException(404)
        if request.headers.get("if-none-match") == file.headers["ETag"]:
            return Response(status_code=304, headers=file.headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.compressed, headers={**file.headers, "Content-Encoding": "gzip"})
        return Response(file.body, headers=file.headers)


def _read(path: Path, title: str) -> _File:
    body = path.read_bytes()
    if path.suffix == ".html":
        body = body.replace(_TITLE.encode(), html.escape(title).encode())
    media, _ = mimetypes.guess_type(path.name)
    kind = media or "application/octet-stream"
    headers = {
        "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
        "Cache-Control": "no-cache",  # browsers ask whether it has changed
        "ETag": f'W/"{hashlib.sha256(body).hexdigest()[:16]}"',
        "Vary": "Accept-Encoding",
    }
    return _File(body, gzip.compress(body, 9, mtime=0), headers)
