"""`make serve`: the sample web of `make demo` on port 8000 until Ctrl-C, to try commands on it.

Its list is demo/urls.csv.
"""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

from tests.demo import FOLDER, IMAGES, write_list
from tests.server.sample_web import BackgroundWeb, draw_all, links

PORT = 8000


def serve(images: int, port: int, stopped: threading.Event) -> None:
    """Serve `images` images and some broken links on loopback until the event.

    Raises OSError if the port is in use.
    """
    socket.create_server(("127.0.0.1", port)).close()
    FOLDER.mkdir(exist_ok=True)
    urls = FOLDER / "urls.csv"
    write_list(urls, list(links(images)))
    print(f"drawing {images} images ...", flush=True)
    with BackgroundWeb(draw_all(images), port) as address:
        print(f"serving the links of {urls} until Ctrl-C; in another terminal:\n")
        if Path(sys.prefix).name == ".venv":
            print(". .venv/bin/activate")
        print(
            f"img2ds --url_list {urls} --caption_col caption --output_folder images \\\n"
            f"       --output_format webdataset --connect_to ::{address} "
            "--allow_private_addresses",
            flush=True,
        )
        stopped.wait()


if __name__ == "__main__":
    try:
        serve(IMAGES, PORT, threading.Event())
    except KeyboardInterrupt:
        print()
    except OSError as error:
        sys.exit(f"cannot serve on port {PORT}: {(error.strerror or str(error)).lower()}")
