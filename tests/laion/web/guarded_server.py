"""The server of `laion serve`, with an application that tests steer, on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from laion.web.client_address import TrustedProxies
from laion.web.connection_table import ConnectionLimits, ConnectionTable
from laion.web.guarded_protocol import ConnectionGuard, build_server

#: Seconds after which a test that waits has failed.
TIMEOUT = 60.0


class SteeredApp:
    """Answers `/`, waits for `go` at `/wait`, and sends without end at `/endless`.

    Attributes:
        entered: released for each request.
        ended: set when an endless response has ended.
    """

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.ended = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        self.entered.release()
        loop = asyncio.get_running_loop()
        if scope["path"] == "/wait":
            await loop.run_in_executor(None, self.go.wait)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/endless":
            # uvicorn's `send` waits for the client, until the client is gone.
            while not (await self._send_much(send, receive)):
                pass
            self.ended.set()
            return
        await send({"type": "http.response.body", "body": b"ok"})

    @staticmethod
    async def _send_much(send: Any, receive: Any) -> bool:
        """Returns whether the client has gone."""
        await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        gone = bool(waiting.done() and waiting.result()["type"] == "http.disconnect")
        waiting.cancel()
        return gone


@contextmanager
def guarded(
    app: SteeredApp, limits: ConnectionLimits, *proxies: str
) -> Iterator[tuple[tuple[str, int], ConnectionTable]]:
    """Run the server in a thread; yield its address and its table."""
    guard = ConnectionGuard(limits, TrustedProxies(proxies))
    server = build_server(app, guard)
    server.config.lifespan = "off"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname(), guard.table
        finally:
            app.go.set()
            server.should_exit = True
            thread.join()


def connect(address: tuple[str, int], source: str = "127.0.0.1") -> socket.socket:
    """Connect from an address of this machine."""
    return socket.create_connection(address, TIMEOUT, (source, 0))


def ask(connection: socket.socket, path: str = "/") -> None:
    """Send a request."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


def is_closed(connection: socket.socket) -> bool:
    """Wait until the server sends something or closes. Returns whether it has closed."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def answer(connection: socket.socket) -> bytes:
    """Read until a body in JSON or `ok` is complete, or the end."""
    received = b""
    while not received.endswith((b"}", b"ok\r\n0\r\n\r\n")):
        data = connection.recv(65_536)
        if not data:
            break
        received += data
    return received


def status(connection: socket.socket, path: str = "/") -> int:
    """Ask, and return the status of the answer; 0 if there is none."""
    try:
        ask(connection, path)
        return int(answer(connection)[9:12] or b"0")
    except (ConnectionResetError, BrokenPipeError):
        return 0
