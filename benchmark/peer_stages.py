"""img2dataset's own functions on the clock, stage by stage.

`python peer_stages.py codec|write ...` runs in img2dataset's virtual environment, where img2ds is
not, and prints JSON; `ask` calls it from a benchmark.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import process_time, thread_time
from typing import Any

ROUNDS = 3


def ask(home: Path, what: str, arguments: list[str]) -> dict[str, float]:
    """Milliseconds of img2dataset in `home` by stage; empty, with a note, if it is missing."""
    python = home / "bin" / "python"
    if not (home / "bin" / "img2dataset").exists():
        print(f"img2dataset is not in {home.name}: run python -m benchmark.peer")
        return {}
    # Its libraries would ask their makers for news.
    quiet = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run(
        [str(python), "-W", "ignore", __file__, what, *arguments],
        env=quiet, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _codec(folder: str, every: str) -> dict[str, float]:
    """Milliseconds an image of a corpus: Resizer, of it decoding and encoding; hash and EXIF."""
    import cv2
    import exifread

    from img2dataset.resizer import Resizer

    spent: dict[str, float] = defaultdict(float)

    def on_clock(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = thread_time()
            try:
                return function(*arguments, **named)
            finally:
                spent[stage] += 1000 * (thread_time() - began)

        return timed

    # Its resizer calls them by these names.
    cv2.imdecode = on_clock("decode", cv2.imdecode)
    cv2.imencode = on_clock("encode", cv2.imencode)
    resizer = on_clock("resizer", Resizer(256, "border", False))

    def extras(stream: io.BytesIO) -> None:
        """The default work of its Downloader on the bytes."""
        stream.seek(0)
        tags = exifread.process_file(stream, details=False)
        json.dumps({k: str(v).strip() for k, v in tags.items() if v is not None})
        stream.seek(0)
        hashlib.sha256(stream.read()).hexdigest()

    extras = on_clock("extras", extras)
    index = json.loads(Path(folder, "index.json").read_text())[:: int(every)]
    sums: dict[str, float] = defaultdict(float)
    for entry in index:
        body = Path(folder, "picture", entry["name"]).read_bytes()
        rounds = []
        for turn in range(ROUNDS + 1):
            spent.clear()
            stream = io.BytesIO(body)
            error = resizer(stream)[-1]
            if error is not None:
                sys.exit(f"{entry['name']}: {error}")
            with suppress(Exception):  # as it does
                extras(stream)
            if turn:
                rounds.append(dict(spent))
        for stage in rounds[0]:
            sums[stage] += median(taken[stage] for taken in rounds)
    found = {stage: total / len(index) for stage, total in sums.items()}
    found["resize"] = found["resizer"] - found["decode"] - found["encode"]
    return found


def _write(samples: str) -> dict[str, float]:
    """Microseconds a sample by output format, of data and metadata table together."""
    import pickle

    import pyarrow as pa
    from img2dataset.writer import (  # type: ignore[import-not-found]
        FilesSampleWriter,
        ParquetSampleWriter,
        WebDatasetSampleWriter,
    )

    rows: list[tuple[str, bytes, str, dict[str, Any]]] = pickle.loads(Path(samples).read_bytes())
    whole = {"width", "height", "original_width", "original_height"}
    schema = pa.schema(
        [(name, pa.int32() if name in whole else pa.string()) for name in rows[0][3]]
    )
    writers = {
        "webdataset": WebDatasetSampleWriter,
        "files": FilesSampleWriter,
        "parquet": ParquetSampleWriter,
    }
    taken: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as home:  # removed in the end: see benchmark.write
        for turn in range(ROUNDS + 1):
            for name, kind in writers.items():
                folder = f"{home}/{turn}-{name}"
                os.mkdir(folder)
                began = process_time()
                writer = kind(0, folder, True, 5, schema, "jpg")
                for key, image, caption, metadata in rows:
                    writer.write(image, key, caption, metadata)
                writer.close()
                taken[name].append(process_time() - began)
    return {name: 1e6 * median(values[1:]) / len(rows) for name, values in taken.items()}


if __name__ == "__main__":
    # Modules in this folder have the names of other packages.
    sys.path.pop(0)
    print(json.dumps(_codec(*sys.argv[2:]) if sys.argv[1] == "codec" else _write(*sys.argv[2:])))
