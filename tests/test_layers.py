"""Imports run one way: every arrow between modules is one that this table allows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

VALUES = {"outcome", "sample", "flags", "options", "network_options", "naming", "schema", "cores"}

#: What each module or package of img2ds may import of img2ds, itself apart.
ALLOWED: dict[str, set[str]] = {
    "outcome": set(),
    "sample": {"outcome"},
    "flags": {"outcome"},
    "network_options": {"outcome", "flags"},
    "options": {"outcome", "flags", "network_options"},
    "commandline": {"outcome", "flags"},
    "naming": set(),
    "cores": set(),
    "schema": {"outcome"},
    "storage": VALUES,
    "source": VALUES | {"storage"},
    "net": VALUES,
    "image": VALUES,
    "writer": VALUES | {"storage", "writers"},
    "writers": VALUES | {"storage"},
    "stats": VALUES,
    "distributor": VALUES | {"distributors"},
    "distributors": VALUES | {"distributor"},
    "stop": VALUES,
    "shard": VALUES | {"storage", "stats", "writer", "writers"},
    "feed": VALUES | {"shard"},
    "slots": set(),
    "pipeline": VALUES | {"feed", "slots", "shard", "net", "image", "stats"},
    "ledger": VALUES | {"storage"},
    "planner": VALUES | {"storage", "source"},
    "adoption": VALUES | {"storage", "source", "planner"},
    "worker": VALUES | {"storage", "source", "net", "stats", "pipeline", "shard", "slots"},
    "runner": VALUES | {"storage", "stats", "distributor", "stop"},
    "job": VALUES
    | {"storage", "net", "stats", "distributor", "ledger", "planner", "adoption", "worker", "stop"}
    | {"runner", "writer"},
    "manage": VALUES
    | {"commandline", "storage", "source", "image", "stats", "distributor", "ledger", "stop"}
    | {"runner", "job", "writer", "writers"},
    "api": VALUES | {"job"},
    "cli": VALUES | {"commandline", "job", "manage"},
    "__main__": {"cli"},
    "__init__": {"api", "job", "options", "outcome"},
}

#: What lies behind img2ds's job: of laion `fetch` alone may import it.
JOB_SIDE = {"job", "api", "worker", "pipeline", "feed", "slots", "shard", "writer", "writers",
            "planner", "source", "net", "image", "adoption", "manage"}  # fmt: skip

#: What else of it a module of laion may import, and why.
JOB_SIDE_ALSO: dict[str, set[str]] = {
    # The codecs and their headers: decoding is the same work as in a download.
    "laion/clip/": {"image"},
    # Samples are written as PNGs.
    "laion/dalle/sample.py": {"image"},
    # Pictures that a crawl keeps go into the same tars.
    "laion/crawl/pairs.py": {"writers"},
    # The search page fetches one picture that is asked about, under the same guards.
    "laion/knn/question.py": {"net", "image"},
    "laion/web/service.py": {"image"},
}

#: Outside libraries with one home: the modules (by their path's start) that may import them.
HOMES = {
    "fsspec": ("img2ds/storage/",),
    "fire": ("img2ds/commandline.py",),
    "httptools": ("img2ds/net/exchange.py",),
    "asks": ("img2ds/net/asks_fetcher.py",),
    "simplejpeg": ("img2ds/image/",),
    "cv2": ("img2ds/image/",),
    "PIL": ("img2ds/image/", "laion/clip/model.py"),
    "exifread": ("img2ds/image/exif.py",),
    "tqdm": ("img2ds/stats/console.py",),
    "pycld2": ("laion/wat/language.py",),
    "ftfy": ("laion/wat/text.py",),
    "deflate": ("laion/wat/archive.py",),
    "xxhash": ("laion/candidate.py",),
    "open_clip": ("laion/clip/model.py",),
    "matplotlib": ("laion/release/figures.py", "laion/dalle/figures.py"),
    "wandb": ("img2ds/stats/wandb.py",),
    "ray": ("img2ds/distributors/ray.py",),
    "pyspark": ("img2ds/distributors/spark_session.py",),
    "faiss": ("laion/knn/ann.py",),
    "starlette": ("laion/web/",),
    "uvicorn": ("laion/web/serve.py",),
    "yaml": ("laion/run/config.py",),
    "jinja2": ("laion/run/report.py",),
}

#: What a stage of laion may import of its other stages: nothing but this.
LAION_ALLOWED: dict[str, set[str]] = {
    "wat": set(),
    "dedup": set(),
    "fetch": set(),
    "clip": set(),
    "tag": {"clip"},  # prompts are embedded by the model that scored the pairs
    "crawl": {"wat", "fetch", "clip", "tag"},  # it is these stages in one
    "release": set(),
    "dalle": {"clip"},  # shards are read, and samples ranked, as for a score
    "knn": {"clip"},
    "web": {"knn"},
    "run": set(),  # it knows the stages by their commands' names alone
}

SOURCES = sorted(path for package in ("img2ds", "laion") for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(dotted: str) -> str | None:
    """`net` for `img2ds.net.pool`; None for the package itself and for others."""
    words = dotted.split(".")
    return words[1] if words[0] == "img2ds" and len(words) > 1 else None


def home(path: Path) -> str:
    """`net` for `img2ds/net/pool.py`, `job` for `img2ds/job.py`."""
    return path.relative_to(ROOT).parts[1].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_where_they_may(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    for dotted in imports(path):
        if name.startswith("img2ds/"):
            assert not dotted.startswith("laion"), f"{name} imports {dotted}"
            wanted = part(dotted)
            if wanted in ALLOWED and wanted != home(path):
                assert wanted in ALLOWED[home(path)], f"{name} may not import {dotted}"
        for library, homes in HOMES.items():
            if dotted.split(".")[0] == library:
                assert name.startswith(homes), f"{name} imports {library}"


def test_every_module_has_its_place() -> None:
    stages = {path.name for path in (ROOT / "laion").iterdir() if (path / "__init__.py").exists()}
    assert stages | {"fetch"} == set(LAION_ALLOWED)
    assert {home(path) for path in SOURCES if path.is_relative_to(ROOT / "img2ds")} == set(ALLOWED)


def test_the_table_runs_one_way() -> None:
    done: set[str] = set()
    left = {name: set(allowed) for name, allowed in ALLOWED.items()}
    # A protocol and its implementations, `writer` and `writers`, know each other.
    left["writers"].discard("writer")
    left["distributors"].discard("distributor")
    while left:
        free = {name for name, allowed in left.items() if allowed - {name} <= done}
        assert free, f"a ring among {sorted(left)}"
        done |= free
        for name in free:
            del left[name]


LAION = [path for path in SOURCES if path.is_relative_to(ROOT / "laion")]


@pytest.mark.parametrize("path", LAION, ids=lambda path: str(path.relative_to(ROOT)))
def test_laion_reaches_img2ds_job_through_fetch_alone(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    if name == "laion/fetch.py":
        return
    allowed = set().union(
        *(also for start, also in JOB_SIDE_ALSO.items() if name.startswith(start))
    )
    for dotted in imports(path):
        assert part(dotted) not in JOB_SIDE - allowed, f"{name} may not import {dotted}"


@pytest.mark.parametrize("path", LAION, ids=lambda path: str(path.relative_to(ROOT)))
def test_stages_import_of_each_other_what_they_may(path: Path) -> None:
    stage = home(path)
    for dotted in imports(path):
        words = dotted.split(".")
        if words[0] == "laion" and len(words) > 1 and words[1] in LAION_ALLOWED:
            allowed = {stage} | LAION_ALLOWED.get(stage, set(LAION_ALLOWED))
            assert words[1] in allowed, f"{path.relative_to(ROOT)} may not import {dotted}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_can_be_read_in_one_sitting(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 400
    assert not lines or lines[0].startswith(('"""', "'")), "a file opens with its contract"
    assert path.stem not in {"utils", "helpers", "common"}
