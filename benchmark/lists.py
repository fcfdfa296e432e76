"""How fast is a list of each format read, and in how much memory?

The lists hold the same rows: URL, caption, a number and boxes. Each is read in a process of its
own, cut into shards, by img2ds; and as a whole by what img2dataset calls, pyarrow and pandas.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark import measure
from benchmark.corpus import CACHE
from img2ds.config.options import InputOptions
from img2ds.source.table import open_source

QUESTION = "lists"
FORMATS = ("jsonl", "jsonl.gz", "json", "columns.json", "csv")
#: Rows in a shard, as in a run.
SHARD = 10_000
COLUMNS = ("id", "faces")


def rows(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(1)
    words = ["a", "picture", "of", "the", "red", "house", "straße", "über", "mountain", "猫"]
    for number in range(count):
        boxes = [[chance.random() for _ in range(4)] for _ in range(number % 4 // 2)]
        yield {
            "url": f"https://h{number % 997}.example/uploads/2020/{number:09d}.jpg",
            "caption": " ".join(chance.choices(words, k=10)),
            "id": number,
            "faces": boxes,
        }


def make_list(count: int, ending: str) -> Path:
    """A list of `count` rows, made once."""
    path = CACHE / f"list-{count}.{ending}"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    making = path.with_suffix(".making")
    if ending.endswith(".gz"):
        plain = make_list(count, ending.removesuffix(".gz"))
        with plain.open("rb") as source, gzip.open(making, "wb", 6) as packed:
            shutil.copyfileobj(source, packed)
    else:
        with making.open("w", encoding="utf-8") as file:
            _WRITERS[ending](file, count)
    return making.rename(path)


def _write_lines(file: Any, count: int) -> None:
    file.writelines(json.dumps(row) + "\n" for row in rows(count))


def _write_array(file: Any, count: int) -> None:
    file.write("[")
    file.writelines(("," if row["id"] else "") + json.dumps(row) for row in rows(count))
    file.write("]")


def _write_columns(file: Any, count: int) -> None:
    for place, name in enumerate(("url", "caption", *COLUMNS)):
        file.write(("," if place else "{") + json.dumps(name) + ":{")
        file.writelines(
            f'{"," if row["id"] else ""}"{row["id"]}":{json.dumps(row[name])}'
            for row in rows(count)
        )
        file.write("}")
    file.write("}")


def _write_csv(file: Any, count: int) -> None:
    file.write("url,caption,id,faces\n")
    file.writelines(
        f'{row["url"]},{row["caption"]},{row["id"]},"{json.dumps(row["faces"])}"\n'
        for row in rows(count)
    )


_WRITERS = {
    "jsonl": _write_lines, "json": _write_array, "columns.json": _write_columns, "csv": _write_csv,
}  # fmt: skip


def read(tool: str, path: str, kind: str) -> None:
    """Read a list to its end and print what that took, as JSON."""
    before = _peak()
    started = time.process_time()
    if tool == "img2ds":
        options = InputOptions(
            path, caption_col="caption", save_additional_columns=COLUMNS[:1], bbox_col=COLUMNS[1]
        )
        shards = open_source(path, kind, options).shards(SHARD)
        count, _ = next(shards)
        first = time.process_time() - started
        count += sum(more for more, _ in shards)
    else:
        count = _read_whole(path, kind)
        first = time.process_time() - started
    print(json.dumps({
        "rows": count, "cpu": time.process_time() - started, "first": first,
        "memory": _peak() - before,
    }))  # fmt: skip


def _read_whole(path: str, kind: str) -> int:
    if kind == "json":
        import pandas  # type: ignore[import-untyped]

        return len(pandas.read_json(path))
    import pyarrow.csv
    import pyarrow.json

    reader = pyarrow.csv.read_csv if kind == "csv" else pyarrow.json.read_json
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
        return int(reader(file).num_rows)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--read", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read(*arguments.read)
        return
    measure.warn_when_busy()
    lines = []
    for ending in FORMATS:
        path = make_list(arguments.rows, ending)
        kind = ending.removesuffix(".gz").rpartition(".")[2]
        for tool in ("img2ds", "whole"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmark.lists", "--read", tool, str(path), kind],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                print(f"{tool} fails on {ending}: {done.stderr.splitlines()[-1]}")
                continue
            found = json.loads(done.stdout)
            assert found["rows"] == arguments.rows
            lines.append({"format": ending, "tool": tool, **found, "bytes": path.stat().st_size})
    head = ("list, tool", "MB", "first shard s", "CPU s", "1000 rows/s", "memory MB")
    cells = [
        (
            f"{line['format']}, {line['tool']}",
            f"{line['bytes'] / 1e6:.0f}",
            f"{line['first']:.2f}",
            f"{line['cpu']:.1f}",
            f"{line['rows'] / line['cpu'] / 1000:.0f}",
            f"{line['memory'] / 1e6:.0f}",
        )
        for line in lines
    ]
    print(measure.table(head, cells))
    measure.keep(QUESTION, {"rows": arguments.rows, "readings": lines})


if __name__ == "__main__":
    main()
