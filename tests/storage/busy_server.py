"""A web server of files that answers ranges, and refuses some requests first."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class BusyServer:
    """Use it in a `with`; `url` has no slash at its end. `asked` has each GET's range."""

    def __init__(self, files: Mapping[str, bytes], ranges: bool = True) -> None:
        self.asked: list[str | None] = []
        self._refusals: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(False)

            def do_GET(self) -> None:
                outer.asked.append(self.headers["Range"])
                self._answer(True)

            def _answer(self, with_body: bool) -> None:
                body = files.get(self.path)
                code = 200 if body is not None else 404
                body = body or b""
                if outer._refusals:
                    code, body = outer._refusals.pop(0), b"SlowDown"
                self.send_response(206 if code == 200 and self._range() else code)
                if code == 200 and ranges:
                    self.send_header("Accept-Ranges", "bytes")
                    asked = self._range()
                    if asked:
                        self.send_header(
                            "Content-Range", f"bytes {asked[0]}-{asked[1]}/{len(body)}"
                        )
                        body = body[asked[0] : asked[1] + 1]
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def _range(self) -> tuple[int, int] | None:
                text = self.headers["Range"]
                if not text or not ranges:
                    return None
                first, _, last = text.removeprefix("bytes=").partition("-")
                return int(first), int(last)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def refuse(self, *codes: int) -> None:
        """Answer the next requests with these."""
        self._refusals += codes

    def calm(self) -> None:
        """Refuse nothing more."""
        self._refusals.clear()

    def __enter__(self) -> BusyServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
