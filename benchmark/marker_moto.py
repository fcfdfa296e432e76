"""moto's S3 server behind a delay, with a dataset of many shards in it.

python -m benchmark.marker_moto SHARDS DELAY COMPACTED    prints the port of the proxy
"""

from __future__ import annotations

import asyncio
import sys

from benchmark.marker_store import BUCKET, FOLDER, Store


def fill(store: Store) -> None:
    """Put markers and cache into moto's memory: its lists take time for each object there is."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket(BUCKET, "us-east-1")
    start = 0
    while True:
        rows, start = store.page("", start, 1000)
        for name, _, _ in rows:
            if (data := store.get(name)) is not None:
                backend.put_object(BUCKET, f"{FOLDER}/{name}", data)
        if not start:
            return


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass bytes on, each piece after the delay."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(1 << 16):
        if delay:
            loop.call_later(delay, writer.write, data)
        else:
            writer.write(data)
    loop.call_later(delay, writer.close)


async def proxy(port: int, delay: float) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, back, 0.0), pipe(there, writer, delay))

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    fill(Store(int(sys.argv[1]), sys.argv[3] == "True"))
    _, port = server.get_host_and_port()
    asyncio.run(proxy(port, float(sys.argv[2])))


if __name__ == "__main__":
    main()
