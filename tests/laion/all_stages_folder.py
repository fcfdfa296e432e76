"""A folder in which all stages have run over one small web, as a user runs them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from laion import cli
from tests.laion.shape_web import PROMPTS, ShapeWeb, ShapeWorld


class Chain:
    """Each stage has a folder of its name."""

    def __init__(self, folder: Path, world: ShapeWorld, model: tuple[str, str]) -> None:
        self.folder = folder
        self.world = world
        self.model = ["--model", model[0], "--pretrained", model[1]]
        self.prompts = ["--prompts", str(folder / "prompts.json")]

    def run(self, command: str, **flags: Any) -> None:
        """One command in this process; its workers are processes of their own."""
        arguments = [command]
        for name, value in flags.items():
            arguments += [f"--{name}", str(value)]
        if "model" not in flags and command in ("score", "tag", "crawl"):
            arguments += self.model
        if command in ("tag", "crawl"):
            arguments += self.prompts
        assert cli.run(arguments) == 0, arguments

    def place(self, name: str) -> str:
        return str(self.folder / name)

    def counts(self, stage: str) -> dict[str, Any]:
        """The commit markers of a stage's folder added up."""
        total: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for path in (self.folder / stage).glob("*_stats.json"):
            marker = json.loads(path.read_text())
            reasons.update(marker["reasons"])
            total.update({name: marker[name] for name in ("count", "successes")})
        return {**total, **reasons}

    def release(self, name: str) -> pa.Table:
        parts = sorted((self.folder / name).glob("part-*.parquet"))
        return pa.concat_tables(map(pq.read_table, parts))

    def embeddings(self, name: str) -> dict[tuple[str, str], tuple[Any, Any]]:
        """Image and text embedding of each pair of a release."""
        found: dict[tuple[str, str], tuple[Any, Any]] = {}
        for path in sorted((self.folder / name / "metadata").glob("*.parquet")):
            table = pq.read_table(path)
            number = path.stem.rpartition("_")[2]
            arrays = [
                np.load(self.folder / name / kind / f"{kind}_{number}.npy").astype(np.float32)
                for kind in ("img_emb", "text_emb")
            ]
            keys = zip(table["url"].to_pylist(), table["caption"].to_pylist(), strict=True)
            found.update(zip(keys, zip(*arrays, strict=True), strict=True))
        return found


@contextmanager
def whole_chain(folder: Path, model: tuple[str, str]) -> Iterator[Chain]:
    """The stages one after the other, and crawls of the same; the folder is removed at the end."""
    world = ShapeWorld()
    world.write_wats(folder / "wats")
    (folder / "prompts.json").write_text(json.dumps(PROMPTS))
    chain = Chain(folder, world, model)
    one = {"processes_count": 1}
    with ShapeWeb(world) as address:
        network = {"connect_to": f"::{address}", "allow_private_addresses": True, "timeout": 60}
        place = chain.place
        chain.run("extract", wat=place("wats"), output_folder=place("candidates"), **one)
        chain.run("dedup", input=place("candidates"), output_folder=place("unique"), **one)
        chain.run(
            "download", input=place("unique"), output_folder=place("shards"), **one, **network,
            number_sample_per_shard=60,
        )  # fmt: skip
        chain.run("score", input=place("shards"), output_folder=place("scored"))
        chain.run("tag", input=place("scored"), output_folder=place("tagged"), **one)
        chain.run("release", input=place("tagged"), output_folder=place("release"), **one)
        chain.run("stats", input=place("release"))
        chain.run("crawl", wat=place("wats"), output_folder=place("crawled"), **one, **network)
        chain.run(
            "crawl", input=place("candidates"), output_folder=place("crawled-again"), **one,
            **network, save_images=True,
        )  # fmt: skip
        for name in ("crawled", "crawled-again"):
            chain.run(
                "release", input=place(name), output_folder=place(f"release-{name}"), **one,
                figures=False,
            )  # fmt: skip
        yield chain
    shutil.rmtree(folder, ignore_errors=True)
