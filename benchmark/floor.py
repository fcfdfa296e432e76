"""The floor of the whole way: bare sockets or TLS, bare codec calls, one plain write. No tool.

Understands the flags that `benchmark.tools` gives to tools, as far as they matter here, and writes
the counts that they leave, so that it can run in a tool's place. It knows in advance what a tool
has to find out: format and size of each image, and that there are no failures.
"""

from __future__ import annotations

import argparse
import json
import ssl
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import trio

from benchmark import contenders
from benchmark.bare import Fetcher
from benchmark.contenders import Case
from benchmark.corpus import open_corpus
from benchmark.world import NAME_SERVER
from img2ds.config.options import NetworkOptions

#: Requests in flight, a process, as the tool has them: with fewer, more rows of a list over few
#: hosts find a connection to reuse.
SLOTS = NetworkOptions().thread_count
#: Bytes at both ends of a body that tell it from the others of its length.
_ENDS = 64


class Known:
    """The images of the corpus, found by their bytes without reading them."""

    def __init__(self) -> None:
        cases = contenders.read_cases(open_corpus(), 1)
        self._cases = {self._key(case.body): case for case in cases}

    def case(self, body: bytes | bytearray) -> Case:
        """Return what is known about a body. Raises KeyError if it is not in the corpus."""
        known = self._cases[self._key(body)]
        return Case(known.file, body, known.image)

    @staticmethod
    def _key(body: bytes | bytearray) -> tuple[int, bytes, bytes]:
        return len(body), bytes(body[:_ENDS]), bytes(body[-_ENDS:])


def work(options: argparse.Namespace, number: int) -> None:
    """One process' share of the list."""
    urls = pq.read_table(options.url_list, columns=["URL"]).column(0).to_pylist()
    waiting = iter(urls[number :: options.processes_count])
    fetcher = Fetcher(NAME_SERVER, ssl.create_default_context(cafile=options.ca_bundle), True)
    known = Known()
    with open(Path(options.output_folder, f"{number:05d}.bytes"), "wb") as file:

        async def slot() -> None:
            for url in waiting:
                body = await fetcher.fetch(url)
                if not options.disable_all_reencoding:
                    data, _ = contenders.floor(known.case(body))
                    if options.output_format != "dummy":
                        file.write(data)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(SLOTS):
                    nursery.start_soon(slot)

        trio.run(main)
    count = len(urls[number :: options.processes_count])
    marker = {"count": count, "successes": count, "failed_to_download": 0, "failed_to_resize": 0}
    Path(options.output_folder, f"{number:05d}_stats.json").write_text(json.dumps(marker))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url_list", required=True)
    parser.add_argument("--output_folder", required=True)
    parser.add_argument("--ca_bundle", required=True)
    parser.add_argument("--processes_count", type=int, default=1)
    parser.add_argument("--output_format", default="webdataset")
    parser.add_argument("--disable_all_reencoding", type=bool, default=False)
    parser.add_argument("--part", type=int, help="the share of one process")
    options, _ = parser.parse_known_args()
    if options.part is not None:
        work(options, options.part)
        return
    Path(options.output_folder).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmark.floor", *sys.argv[1:]]
    parts = [
        subprocess.Popen([*command, f"--part={number}"])
        for number in range(options.processes_count)
    ]
    sys.exit(max(part.wait() for part in parts))


if __name__ == "__main__":
    main()
