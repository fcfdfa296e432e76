"""Grouped candidates through all stages: a URL is asked for once, no pair is lost or changed."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from laion import cli
from laion.run.config import make_plan
from tests.laion.all_stages_folder import Chain
from tests.laion.run.test_stage import write_config
from tests.laion.shape_web import HOST, ShapeServer, ShapeWeb
from tests.server.web import Peer, Request

pytestmark = pytest.mark.slow

#: Columns of a released pair that do not depend on how it was batched.
COLUMNS = ["SAMPLE_ID", "URL", "TEXT", "HEIGHT", "WIDTH", "LICENSE", "NSFW"]


class CountingServer(ShapeServer):
    """Notes the paths that are asked for."""

    def __init__(self, bodies: Any) -> None:
        super().__init__(bodies)
        self.asked: list[str] = []

    async def respond(self, request: Request, peer: Peer) -> bool:
        self.asked.append(request.path)
        return await super().respond(request, peer)


class CountingWeb(ShapeWeb):
    def __init__(self, chain: Chain) -> None:
        super().__init__(chain.world)
        self.counting = CountingServer(chain.world.bodies)
        self.web = self.counting  # type: ignore[assignment]


@pytest.fixture(scope="module")
def grouped(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages from `group` on, over the deduplicated candidates of the chain."""
    folder = tmp_path_factory.mktemp("grouped")
    one: dict[str, Any] = {"processes_count": 1}
    chain.run("group", input=chain.place("unique"), output_folder=folder / "candidates", **one)
    web = CountingWeb(chain)
    with web as address:
        chain.run(
            "download", input=folder / "candidates", output_folder=folder / "shards", **one,
            connect_to=f"::{address}", allow_private_addresses=True, timeout=60,
            number_sample_per_shard=60,
        )  # fmt: skip
    (folder / "asked.json").write_text(json.dumps(web.counting.asked))
    chain.run("score", input=folder / "shards", output_folder=folder / "scored")
    chain.run("tag", input=folder / "scored", output_folder=folder / "tagged", **one)
    for texts in ("all", "best"):
        chain.run(
            "release", input=folder / "tagged", output_folder=folder / texts, **one, figures=False,
            texts=texts,
        )  # fmt: skip
    return folder


def table(folder: Path) -> pa.Table:
    return pa.concat_tables(map(pq.read_table, sorted(folder.glob("part-*.parquet"))))


def by_pair(found: pa.Table) -> dict[tuple[str, str], tuple[Any, ...]]:
    rows = zip(*(found[name].to_pylist() for name in COLUMNS), strict=True)
    return {(row[1], row[2]): row for row in rows}


def test_each_url_is_asked_for_once(chain: Chain, grouped: Path) -> None:
    asked = json.loads((grouped / "asked.json").read_text())
    assert len(asked) == len(set(asked))
    candidates = pa.concat_tables(map(pq.read_table, (chain.folder / "unique").glob("*.parquet")))
    urls = set(candidates["url"].to_pylist())
    assert {f"http://{HOST}{path}" for path in asked} == urls
    retold = chain.world.of("retold")
    assert candidates.num_rows - len(urls) == len(retold) > 0


def test_all_texts_are_in_the_tars_and_the_tables(chain: Chain, grouped: Path) -> None:
    wanted: dict[str, set[str]] = {pair.url: set() for pair in chain.world.of("retold")}
    for pair in chain.world.of("good", "retold"):
        if pair.url in wanted:
            wanted[pair.url].add(pair.alt)
    found = {}
    for path in sorted((grouped / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    fields = json.load(tar.extractfile(member))  # type: ignore[arg-type]
                    if fields["url"] in wanted:
                        found[fields["url"]] = set(fields["texts"])
                        assert len(fields["texts"]) == len(wanted[fields["url"]])
                        assert fields["caption"] == fields["texts"][0]
    assert found == wanted
    tables = [pq.read_table(path) for path in sorted((grouped / "shards").glob("*.parquet"))]
    rows = {row["url"]: set(row["texts"] or ()) for each in tables for row in each.to_pylist()}
    assert {url: rows[url] for url in wanted} == wanted


def test_with_all_texts_the_release_is_that_without_groups(chain: Chain, grouped: Path) -> None:
    """Pair by pair; the illegal-content filter drops all pairs of an image together."""
    one, other = by_pair(chain.release("release")), by_pair(table(grouped / "all"))
    assert other == one
    similar = dict(zip(other, table(grouped / "all")["similarity"].to_pylist(), strict=True))
    for pair, value in zip(one, chain.release("release")["similarity"].to_pylist(), strict=True):
        assert similar[pair] == pytest.approx(value, abs=1e-3)


def test_with_the_best_text_each_image_is_in_once(grouped: Path) -> None:
    best, every = table(grouped / "best"), table(grouped / "all")
    assert len(set(best["URL"].to_pylist())) == best.num_rows
    wanted: dict[str, tuple[float, str]] = {}
    for row in every.to_pylist():
        wanted.setdefault(row["URL"], (row["similarity"], row["TEXT"]))
        if row["similarity"] > wanted[row["URL"]][0]:
            wanted[row["URL"]] = (row["similarity"], row["TEXT"])
    found = dict(zip(best["URL"].to_pylist(), best["TEXT"].to_pylist(), strict=True))
    assert found == {url: text for url, (_, text) in wanted.items()}
    dropped = every.num_rows - best.num_rows
    assert dropped > 0
    markers = [json.loads(path.read_text()) for path in (grouped / "best").glob("*_stats.json")]
    assert sum(marker["reasons"].get("other_text", 0) for marker in markers) == dropped
    assert f"| release | other_text | {dropped} |" in (grouped / "best" / "README.md").read_text()


def test_wrong_use(chain: Chain, grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = [
        "release",
        "--input",
        chain.place("tagged"),
        "--output_folder",
        "x",
        "--texts",
        "best",
    ]
    assert cli.run(release) == 2
    assert "has no column text_index: run laion group" in capsys.readouterr().err


def test_a_crawl_keeps_what_the_stages_keep(chain: Chain, grouped: Path, tmp_path: Path) -> None:
    web = CountingWeb(chain)
    with web as address:
        chain.run(
            "crawl", input=grouped / "candidates", output_folder=tmp_path / "tagged",
            processes_count=1, min_similarity=-1, save_images=True, connect_to=f"::{address}",
            allow_private_addresses=True, timeout=60, number_sample_per_shard=60,
        )  # fmt: skip
    assert len(web.counting.asked) == len(set(web.counting.asked))

    def pairs(folder: Path) -> list[tuple[Any, ...]]:
        tables = map(pq.read_table, sorted((folder / "metadata").glob("*.parquet")))
        columns = ("url", "caption", "license", "language", "text_index", "nsfw")
        rows = [row for each in tables for row in each.to_pylist()]
        return sorted(tuple(row.get(name) for name in columns) for row in rows)

    found = pairs(tmp_path / "tagged")
    assert found == pairs(grouped / "tagged")
    names = []
    for path in (tmp_path / "tagged").glob("*.tar"):
        with tarfile.open(path) as tar:
            names += [name for name in tar.getnames() if name.endswith(".jpg")]
    assert len(names) == len(set(names)) == len({url for url, *_ in found})


def test_run_groups_where_it_is_asked_to(chain: Chain, grouped: Path, tmp_path: Path) -> None:
    with ShapeWeb(chain.world) as address:
        config = write_config(
            chain, tmp_path, address, group=True, index=False,
            release={"texts": "best", "figures": False},
        )  # fmt: skip
        assert cli.run(["run", "--config", config]) == 0
    assert by_pair(table(tmp_path / "all" / "release")) == by_pair(table(grouped / "best"))


def test_a_crawl_does_not_go_with_groups() -> None:
    with pytest.raises(UsageError, match="leave group out"):
        make_plan({"output_folder": "o", "extract": {"wat": "w"}, "group": {}, "crawl": {"tag": 1}})
