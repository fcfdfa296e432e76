"""A demo of the whole pipeline: generated WAT files and a web of shapes on this machine, a small
CLIP model, the seven commands, and the same with `laion crawl`.

    python -m tests.laion.demo [--model FILE --pretrained FILE]

Results are in demo_laion/: see release/README.md and release/figures/similarity.png.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from tests.laion.shape_web import PROMPTS, ShapeWeb, ShapeWorld

FOLDER = Path("demo_laion")
#: How often each kind of pair occurs.
ROUNDS = 6


def main() -> int:
    """Return the exit code of the first command that failed, or 0 when both ways agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--pretrained")
    options = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    world = ShapeWorld(ROUNDS)
    world.write_wats(FOLDER / "wats", 3)
    (FOLDER / "prompts.json").write_text(json.dumps(PROMPTS, indent=1))
    model, weights = options.model, options.pretrained
    commands = []
    if not model:
        commands.append("tiny_clip --output_folder demo_laion/tiny")
        model, weights = "demo_laion/tiny/tiny.json", "demo_laion/tiny/tiny.pt"
    clip = f"--model {model} --pretrained {weights}"
    with ShapeWeb(world) as address:
        web = f"--connect_to ::{address} --allow_private_addresses"
        d = "demo_laion"
        commands += [
            f"extract --wat {d}/wats --output_folder {d}/candidates",
            f"dedup --input {d}/candidates --output_folder {d}/unique",
            f"download --input {d}/unique --output_folder {d}/shards {web}",
            f"score --input {d}/shards --output_folder {d}/scored {clip}",
            f"tag --input {d}/scored --output_folder {d}/tagged {clip} --prompts {d}/prompts.json",
            f"release --input {d}/tagged --output_folder {d}/release",
            f"stats --input {d}/release",
            f"crawl --wat {d}/wats --output_folder {d}/crawled {clip} --prompts {d}/prompts.json "
            + web,
            f"release --input {d}/crawled --output_folder {d}/release-crawled",
        ]
        for command in commands:
            print(f"\n$ laion {command}\n", flush=True)
            call = "import sys; from laion.cli import main; main()"
            code = subprocess.run([sys.executable, "-c", call, *command.split()], check=False)
            if code.returncode:
                return code.returncode
    ids = []
    for name in ("release", "release-crawled"):
        parts = sorted((FOLDER / name).glob("part-*.parquet"))
        ids.append({i for part in parts for i in pq.read_table(part)["SAMPLE_ID"].to_pylist()})
    print(
        f"\nseven commands: {len(ids[0])} pairs; crawl: {len(ids[1])}, the same: {ids[0] == ids[1]}"
    )
    return 0 if ids[0] == ids[1] else 1


if __name__ == "__main__":
    sys.exit(main())
