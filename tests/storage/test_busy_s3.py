"""A store that answers 503 for a minute is waited for; what was asked is done when it answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.config import conf

from img2ds.storage import OutputFolder, read_many, sizes

#: Seconds for which the store is busy.
MINUTE = 60.0
_BODY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Outage:
    """The clock, which pauses move on, and the end of the outage."""

    now = end = 0.0

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="module")
def busy() -> Iterator[Outage]:
    """S3 (moto) on loopback that answers 503 during the outage, with a clock without waiting."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    from werkzeug.serving import make_server

    outage = Outage()
    inner = moto.DomainDispatcherApplication(moto.create_backend_app)

    def store(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        if outage.now < outage.end:
            start("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else _BODY]
        return inner(environ, start)

    server = make_server("127.0.0.1", 0, store, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sleep = asyncio.sleep

    async def pause(seconds: float, *_: object) -> None:
        outage.pause(seconds)
        await sleep(0)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        url = f"http://127.0.0.1:{server.server_port}"
        patch.setitem(conf, "s3", {"endpoint_url": url, "skip_instance_cache": False})
        patch.setattr(asyncio, "sleep", pause)
        patch.setattr("img2ds.storage.upload.time.sleep", outage.pause)
        patch.setattr("botocore.retryhandler.random.random", lambda: 0.0)  # the shortest pauses
        fsspec.filesystem("s3").makedirs("busy", exist_ok=True)
        yield outage
    server.shutdown()


ACTIONS: dict[str, Callable[[OutputFolder], Any]] = {
    "look for": lambda folder: folder.exists("00000_stats.json"),
    "list": lambda folder: dict(sizes(folder)) == {"00000_stats.json": 2},
    "read": lambda folder: folder.read_bytes("00000_stats.json") == b"{}",
    "read many": lambda folder: dict(read_many(folder, ["00000_stats.json"])) != {},
    "write": lambda folder: folder.write_bytes("00001_stats.json", b"{}") > 0,
    "remove": lambda folder: folder.remove(["00000_stats.json"]),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_busy_minute_is_waited_for(busy: Outage, tmp_path: Path, action: str) -> None:
    folder = OutputFolder.open(f"s3://busy/{tmp_path.name}", str(tmp_path / "staging"))
    folder.write_bytes("00000_stats.json", b"{}")
    busy.end = busy.now + MINUTE
    assert ACTIONS[action](folder) in (True, None)
    assert busy.now >= busy.end
    folder.close()
