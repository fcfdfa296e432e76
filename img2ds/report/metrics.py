"""`--metrics_port`: the state of a run as Prometheus text, served while it lasts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.report.run_state import RunState

#: Seconds that a client has for its request; there is one at a time.
_REQUEST_TIMEOUT = 5.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(state: RunState) -> str:
    """Return the metrics of a run in Prometheus' text format."""
    live = state.live
    reasons = dict(sorted(dict(live.reasons).items()))  # copied: it grows while it is read
    lines = [
        *_metric("rows_total", "counter", "Rows that ended, of unfinished shards too.", live.count),
        *_metric("successes_total", "counter", "Rows that were stored.", live.successes),
        *_metric("failures_total", "counter", "Rows that failed, by reason.", reasons, "reason"),
        *_metric("bytes_received_total", "counter", "Bytes of responses.", live.bytes_received),
        *_metric("shards_committed_total", "counter", "Shards of this run.", state.shards),
        *_metric("shards_failed_total", "counter", "Attempts that failed.", state.failed_shards),
        *_metric("rows_expected", "gauge", "Rows of this run.", state.rows_expected),
        *_metric("shards_expected", "gauge", "Shards of this run.", state.shards_expected),
        *_metric("successes_per_second", "gauge", "Over the last 10 s.", round(state.recent, 3)),
        *_metric("waiting", "gauge", "1 while there is no network.", int(state.condition.waits)),
        *_metric("seconds", "gauge", "Since the start of the run.", round(state.seconds, 3)),
    ]
    return "\n".join([*lines, ""])


def _metric(
    name: str, kind: str, about: str, value: float | Mapping[str, int] | None, label: str = ""
) -> Iterator[str]:
    if value is None:
        return
    yield f"# HELP img2ds_{name} {about}"
    yield f"# TYPE img2ds_{name} {kind}"
    if isinstance(value, Mapping):
        for key, times in value.items():
            yield f'img2ds_{name}{{{label}="{key}"}} {times}'
    else:
        yield f"img2ds_{name} {value}"


@contextmanager
def serve_metrics(state: RunState, port: int | None) -> Iterator[str | None]:
    """Serve the metrics at `/metrics` on all addresses of this machine.

    Args:
        port: 0 for a free one, None for no server.

    Yields:
        The URL.

    Raises:
        UsageError: the port is in use.
    """
    if port is None:
        yield None
        return
    from http.server import BaseHTTPRequestHandler, HTTPServer  # take 15 ms

    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_TIMEOUT

        def do_GET(self) -> None:
            if self.path.partition("?")[0] not in ("/metrics", "/"):
                self.send_error(404)
                return
            body = text(state).encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing of requests."""

    class Server(HTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away is no matter of the run."""

    try:
        server = Server(("", port), Handler)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise UsageError(f"--metrics_port {port}: {words}; choose another, or 0") from None
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
