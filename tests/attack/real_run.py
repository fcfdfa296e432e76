"""The command `img2ds` against servers in a thread of this process, and what became of its rows."""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import trio

from tests.server import certificates
from tests.server.web import Peer, Request, Server

ROOT = Path(__file__).parents[2]
#: The domain of all hosts, which the certificate is for.
_DOMAIN = "pics.example"

Answer = Callable[[Request, Peer], Awaitable[bool]]


class _Door(Server):
    """A port whose requests are all answered by one function."""

    def __init__(self, answer: Answer, *, tls: bool) -> None:
        super().__init__(tls=certificates.server_context() if tls else None)
        self._answer = answer

    async def respond(self, request: Request, peer: Peer) -> bool:
        return await self._answer(request, peer)


class Doors:
    """Servers for http and https in a thread; a context manager that gives their ports."""

    def __init__(self, answer: Answer) -> None:
        self._servers = [_Door(answer, tls=False), _Door(answer, tls=True)]
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken

    def __enter__(self) -> tuple[int, int]:
        started = threading.Event()

        async def serve() -> None:
            self._token = trio.lowlevel.current_trio_token()
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for server in self._servers:
                        await nursery.start(server.serve)
                    started.set()

        self._thread = threading.Thread(target=trio.run, args=(serve,), daemon=True)
        self._thread.start()
        started.wait()
        plain, secure = self._servers
        return plain.port, secure.port

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()


def url(scheme: str, host: str, path: str) -> str:
    """Return the URL of a path on a host that these servers are."""
    return f"{scheme}://{host}.{_DOMAIN}{path}"


def command(
    folder: Path, urls: Sequence[str], ports: tuple[int, int], **flags: object
) -> list[str]:
    """Return the command for a list of URLs, which is written.

    Args:
        folder: of the list, and of the output, `out`.
        flags: of `img2ds`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "list.txt").write_text("\n".join(urls) + "\n")
    given = {
        "url_list": folder / "list.txt",
        "output_folder": folder / "out",
        "output_format": "webdataset",
        "connect_to": f":80:127.0.0.1:{ports[0]},:443:127.0.0.1:{ports[1]}",
        "allow_private_addresses": True,
        "ca_bundle": certificates.bundle(),
        "proxy": "none",
        **flags,
    }
    return [
        sys.executable, "-m", "img2ds", *(f"--{name}={value}" for name, value in given.items())
    ]  # fmt: skip


def outcomes(folder: Path) -> dict[str, str]:
    """Return what became of the rows: by host, `success` or the reason."""
    found: dict[str, str] = {}
    for path in sorted((folder / "out").glob("*.parquet")):
        for row in pq.read_table(path, columns=["url", "status", "reason"]).to_pylist():
            host = row["url"].partition("//")[2].partition(".")[0]
            found[host] = row["reason"] or row["status"]
    return found
