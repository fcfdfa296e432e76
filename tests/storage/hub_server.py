"""A server with the part of Hugging Face's API by which HfFileSystem lists and reads a dataset."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPO = "someone/pairs"
_COMMIT = "0" * 40


@contextmanager
def hub(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve a dataset repository of these files; gives the endpoint."""

    class Handler(_Handler):
        content = files

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content: Mapping[str, bytes] = {}

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api, resolve = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/"
        if path.startswith(f"{api}/tree/"):
            folder = path.removeprefix(f"{api}/tree/").partition("/")[2].strip("/")
            self._json(self._entries(folder))
        elif path == api or path.startswith(f"{api}/revision/"):
            names = [{"rfilename": name} for name in self.content]
            self._json({"_id": "1", "id": REPO, "sha": _COMMIT, "siblings": names})
        elif path.startswith(resolve):
            self._file(path.removeprefix(resolve).partition("/")[2])
        else:
            self._error("RepoNotFound")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "/paths-info/" not in self.path:
            self._error("RepoNotFound")
            return
        found = json.loads(body) if body.startswith("{") else parse_qs(body)
        paths = found["paths"] if isinstance(found["paths"], list) else [found["paths"]]
        self._json([entry for path in paths for entry in self._info(path)])

    def _info(self, path: str) -> list[dict[str, Any]]:
        if path in self.content:
            data = self.content[path]
            oid = hashlib.sha1(data).hexdigest()
            return [{"type": "file", "path": path, "size": len(data), "oid": oid}]
        if any(name.startswith(f"{path}/") for name in self.content):
            return [{"type": "directory", "path": path, "oid": "0" * 40}]
        return []

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        start = f"{folder}/" if folder else ""
        inside = [name.removeprefix(start) for name in self.content if name.startswith(start)]
        names = dict.fromkeys(start + name.partition("/")[0] for name in inside)
        return [entry for name in names for entry in self._info(name)]

    def _file(self, path: str) -> None:
        data = self.content.get(path)
        if data is None:
            self._error("EntryNotFound")
            return
        status, headers = 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            stop = min(int(last) + 1 if last else len(data), len(data))
            headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(data)}"
            status, data = 206, data[int(first) : stop]
        self._send(status, data, {**headers, "X-Repo-Commit": _COMMIT, "Accept-Ranges": "bytes"})

    def _json(self, document: Any) -> None:
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _error(self, code: str) -> None:
        self._send(404, b"", {"X-Error-Code": code})

    def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
